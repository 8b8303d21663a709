import { AsyncResource } from 'node:async_hooks'
import { IncomingMessage } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import { type Deadlines, type Lease, type Location, type Pool, type TransportRequest, channels, hash32 } from '@headgate/core'
import type { Dispatcher } from 'undici'
import { begins, tunnelled } from '../accounting.ts'
import { Exchange, type ExchangeSettings } from '../exchange.ts'
import { fieldOf } from '../fields.ts'
import { RequestBody } from '../request-body.ts'
import type { ResponseSink } from '../response-sink.ts'
import { Delivery, type DeliveryOwner } from './delivery.ts'
import { outgoingKey } from './key.ts'
import type { Outgoing } from './outgoing.ts'
import type { Receiver } from './receiver.ts'

/** Where a dispatcher's requests go, and how. */
export interface DispatcherSettings extends ExchangeSettings {
  readonly preserveHost: boolean
  readonly host: string | undefined
  readonly timeout: number
  readonly replayLimit: number
  readonly bodyLimit: number
}

/** What all exchanges of a dispatcher share. */
export interface DispatchSite {
  readonly pool: Pool
  readonly settings: DispatcherSettings
  readonly key: ((options: Dispatcher.DispatchOptions) => string) | undefined
  readonly deadlines: Deadlines
  readonly log: FastifyBaseLogger
  /** What a receiver is told that aborts without a reason. */
  readonly abortError: () => Error
  /** Called once for each. */
  readonly ended: (exchange: DispatchedExchange) => void
}

/** The exchange of a request that undici was asked to make. */
export class DispatchedExchange extends Exchange implements DeliveryOwner {
  readonly #site: DispatchSite
  readonly #options: Dispatcher.DispatchOptions
  readonly #outgoing: Outgoing
  readonly #delivery: Delivery
  readonly #source: Readable | undefined
  /** Whoever hears of an attempt hears it in the caller's scope, though another request's end may have made room for it. */
  readonly #scope: AsyncResource | undefined = channels.dispatch.hasSubscribers ? new AsyncResource('HeadgateDispatch') : undefined
  #key: string | undefined

  constructor (site: DispatchSite, options: Dispatcher.DispatchOptions, outgoing: Outgoing, receiver: Receiver) {
    const { headersTimeout, bodyTimeout, body } = outgoing
    super([site.pool], headersTimeout === undefined && bodyTimeout === undefined
      ? site.settings
      : { ...site.settings, headersTimeout: headersTimeout ?? site.settings.headersTimeout, idleTimeout: bodyTimeout ?? site.settings.idleTimeout },
    site.deadlines)
    this.#site = site
    this.#options = options
    this.#outgoing = outgoing
    this.#delivery = new Delivery(receiver, this, site.abortError)
    this.timeout = site.settings.timeout
    if (body === null || Buffer.isBuffer(body)) return
    this.#source = body.stream
    this.body = new RequestBody(body.stream, outgoing.length, site.settings, this)
    body.stream.on('error', this.#onBodyError)
    body.stream.on('close', this.#onBodyClose)
  }

  override start (): void {
    if (this.#delivery.start()) super.start()
  }

  /** Ends it, and tells whoever waits for the answer. */
  break (error: Error): void {
    this.#delivery.abort(error)
  }

  get method (): string { return this.#outgoing.method }
  get keyed (): boolean { return fieldOf(this.#outgoing.fields.list, 'idempotency-key') !== undefined }
  get clientAddress (): string { return this.#ownKey() }
  get clientLocation (): Location | undefined { return undefined }
  protected get log (): FastifyBaseLogger { return this.#site.log }

  // What the receiver wants.

  resumed (): void { this.drained() }

  aborted (): void {
    if (!this.done) this.leave('client-closed')
  }

  protected hash (): number {
    const { hashOn } = this.pool.settings
    return hash32((typeof hashOn === 'string' ? outgoingKey(this.#outgoing, hashOn) : undefined) ?? this.#ownKey())
  }

  protected request (lease: Lease): TransportRequest {
    const { method, target, fields, body, length, upgrade } = this.#outgoing
    const headers = this.fields(['Host', this.#hostFor(lease.upstream.target.host), ...fields.list])
    const complete = body === null || Buffer.isBuffer(body)
    const begin = (): void => { begins(lease, this.#options, method, target, headers, complete ? body?.length ?? 0 : 0) }
    if (this.#scope === undefined) begin()
    else this.#scope.runInAsyncScope(begin)
    return {
      method,
      path: target,
      headers,
      body: complete ? body : { length },
      emptyBody: body === null && fields.length === 0,
      upgrade,
      expectContinue: false,
      once: !this.repeatable || this.body?.outgrows === true
    }
  }

  protected interim (status: number, headers: readonly string[]): void {
    this.#delivery.interim(status, headers, '')
  }

  protected open (status: number, reason: string, headers: readonly string[]): ResponseSink {
    this.#delivery.head(status, headers, reason)
    return this.#delivery
  }

  protected refuse (error: Error, _reason: string, cause: Error | undefined): void {
    error.cause ??= cause
    this.#delivery.fail(error)
  }

  protected tunnel (lease: Lease, headers: readonly string[], socket: Duplex, head: Buffer): void {
    socket.on('close', () => { tunnelled(lease, socket) })
    // As undici's own sockets are: whoever takes one need not know that the other side may end alone.
    socket.allowHalfOpen = false
    if (head.length > 0) socket.unshift(head)
    this.#delivery.upgrade(headers, socket)
  }

  protected override end (complete = false): void {
    super.end(complete)
    // A client's request has to be read to its end, which is seen to; of anything else no more is wanted.
    if (this.#source !== undefined && !(this.#source instanceof IncomingMessage)) this.#source.destroy()
    this.#site.ended(this)
  }

  #ownKey (): string {
    this.#key ??= this.#site.key?.(this.#options) ?? String(this.pool.environment.random())
    return this.#key
  }

  #hostFor (upstreamHost: string): string {
    const { host, preserveHost } = this.#site.settings
    if (host !== undefined) return host
    if (!preserveHost) return upstreamHost
    const { origin } = this.#options
    return this.#outgoing.fields.host ?? (origin === undefined ? upstreamHost : new URL(origin).host)
  }

  readonly #onBodyError = (error: Error): void => { this.#delivery.abort(error) }

  readonly #onBodyClose = (): void => {
    if (!this.#source!.readableEnded) this.#delivery.abort(new Error('the request body broke off'))
  }
}
