import type { Duplex } from 'node:stream'
import {
  type AttemptHandler, type Attempt, Deadline, Lease, type Location, type MirrorMessage, type Outcome, type PoolContext, type TransportError, hash32
} from '@headgate/core'
import type { FastifyRequest } from 'fastify'
import { begins } from '../accounting.ts'
import { requestHeaders } from '../headers.ts'
import type { RouteSettings } from '../options.ts'
import { clientLocationOf, hashKeyOf } from '../pool-questions.ts'
import { Answer } from './answer.ts'
import type { Mirror } from './mirror.ts'

/**
 * One request's copy: waits for the body where there is one, is sent once, and is read to its end. It is never queued and never
 * repeated, and nothing that happens to it reaches the client.
 */
export class Copy extends Deadline implements AttemptHandler, PoolContext {
  /** What the client's own request is answered, to be filled in by whoever forwards it; `undefined`: not compared. */
  readonly primary: Answer | undefined
  readonly shadow: Answer | undefined
  readonly affinity = undefined
  readonly repeatable = false
  attempts = 0
  readonly request: FastifyRequest
  readonly target: string
  readonly #mirror: Mirror
  readonly #settings: RouteSettings
  readonly #body: Buffer | null
  readonly #awaited: boolean
  readonly #chunks: Buffer[] = []
  readonly #startedAt: number
  #size = 0
  #lease: Lease | undefined
  #attempt: Attempt | undefined
  #result: MirrorMessage['result'] | undefined
  #done = false

  /** `body`: one that is all there. `awaited`: one is still to come. */
  constructor (mirror: Mirror, request: FastifyRequest, settings: RouteSettings, target: string, body: Buffer | null, awaited: boolean, compared: boolean) {
    super()
    this.#mirror = mirror
    this.request = request
    this.#settings = settings
    this.target = target
    this.#body = body
    this.#awaited = awaited
    this.#startedAt = mirror.now()
    if (!compared) return
    this.primary = new Answer(mirror.compareLimit, this.#over)
    this.shadow = new Answer(mirror.compareLimit, this.#over)
  }

  get context (): PoolContext { return this }
  get clientAddress (): string { return this.request.ip ?? '' }
  get clientLocation (): Location | undefined { return clientLocationOf(this.request, this.#mirror.pool) }
  get keyHash (): number { return hash32(hashKeyOf(this.request, this.#mirror.pool.settings.hashOn)) }
  hasTried (): boolean { return false }

  /** Begins to listen to the body, before whoever forwards it does: what is read from it goes to both. */
  listen (): void {
    if (!this.#awaited) return
    const { raw } = this.request
    // Listening alone would make it flow, and the first pieces would be missed by the one for whom they are.
    raw.pause()
    raw.on('data', this.#onBody)
    raw.on('end', this.#onBodyEnd)
    raw.on('close', this.#onBodyBroken)
  }

  /** Sends it, or lets it wait for its body. */
  start (): void {
    if (this.#awaited) this.#mirror.limit(this)
    else this.#send(this.#body)
  }

  /** Ends it, whatever it is doing. */
  stop (): void {
    if (this.#done) return
    if (this.#result === undefined && this.#lease !== undefined) this.#drop('shed', 'closing')
    if (!this.#done) this.drop('closing')
  }

  // What the transport tells.

  onSent (): void {}
  onInformational (): void {}
  onDrain (): void {}

  onHead (status: number, _reason: string, headers: readonly string[]): void {
    const now = this.#mirror.now()
    this.#lease!.head(status, now, headers)
    this.shadow?.head(status, headers, now - this.#startedAt)
  }

  onData (chunk: Buffer): boolean {
    this.#lease!.received += chunk.length
    this.shadow?.data(chunk)
    return true
  }

  onComplete (): void {
    this.#settle('answered', 'ok')
  }

  onUpgrade (_headers: readonly string[], socket: Duplex): void {
    socket.destroy()
    this.#settle('failed', 'failed-after-send', 'malformed')
  }

  onError ({ code, phase, stale }: TransportError): void {
    this.#settle('failed', stale || code === 'no-sockets' ? 'shed' : phase === 'connect' ? 'failed-before-send' : 'failed-after-send', code)
  }

  /** Its own time is over, or that of the client's answer which it waits for. */
  expired (): void {
    if (this.#done) return
    if (this.#result !== undefined) return this.primary!.end()
    if (this.#lease === undefined) return this.drop('body-too-slow')
    this.#drop('timed-out', 'timeout')
  }

  /** It is not sent after all. */
  drop (reason: string): void {
    this.#deafen()
    if (this.#result === undefined) this.#mirror.report('dropped', reason, undefined)
    this.#result = 'dropped'
    this.#finish()
  }

  #send (body: Buffer | null): void {
    const lease = this.#mirror.pool.pick(this)
    if (!(lease instanceof Lease)) return this.drop(lease)
    const { raw } = this.request
    const { upstream } = lease
    this.#lease = lease
    this.attempts = 1
    const headers = requestHeaders(this.request, this.#settings, upstream.target.host, upstream.url)
    this.#mirror.mark(headers)
    begins(lease, this.request, raw.method!, this.target, headers, body?.length ?? 0)
    this.#attempt = upstream.transport.dispatch({
      method: raw.method!,
      path: this.target,
      headers,
      body: body?.length === 0 ? null : body,
      emptyBody: body?.length === 0 || raw.headers['content-length'] === '0',
      upgrade: undefined,
      expectContinue: false,
      // It is not repeated, so it needs a connection of which is known that it stands.
      once: true
    }, this)
    this.#mirror.limit(this)
  }

  #drop (outcome: Outcome, reason: string): void {
    const attempt = this.#attempt
    this.#settle(outcome === 'timed-out' ? 'timed-out' : 'dropped', outcome, reason)
    attempt?.abort()
  }

  #settle (result: MirrorMessage['result'], outcome: Outcome, reason = ''): void {
    const lease = this.#lease
    this.#attempt = undefined
    this.#result = result
    lease?.release(outcome, reason)
    this.#mirror.report(result, reason, lease)
    if (this.shadow === undefined) return this.#finish()
    // The client's own answer may take as long again.
    if (!this.primary!.over) this.#mirror.limit(this)
    this.shadow.end(result === 'answered')
  }

  /** One of the answers has ended: with the second one they can be compared, when nobody is in a hurry any more. */
  readonly #over = (): void => {
    if (this.#done || !this.primary!.over || !this.shadow!.over) return
    this.#done = true
    this.#mirror.judge(this)
  }

  #finish (): void {
    this.#done = true
    this.#mirror.ended(this)
    // Nothing more of the client's answer is kept.
    this.primary?.end()
  }

  readonly #onBody = (chunk: Buffer): void => {
    this.#size += chunk.length
    if (this.#size > this.#mirror.bodyLimit || this.#size > this.#settings.bodyLimit) return this.drop('body-too-large')
    this.#chunks.push(chunk)
  }

  readonly #onBodyEnd = (): void => {
    const body = Buffer.concat(this.#chunks)
    this.#deafen()
    this.#send(body)
  }

  readonly #onBodyBroken = (): void => { this.drop('body-broken') }

  #deafen (): void {
    if (!this.#awaited) return
    const { raw } = this.request
    raw.off('data', this.#onBody)
    raw.off('end', this.#onBodyEnd)
    raw.off('close', this.#onBodyBroken)
    this.#chunks.length = 0
  }
}
