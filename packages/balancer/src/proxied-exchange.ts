import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { type AffinityHint, type AttemptHandler, type Deadlines, type Lease, type Location, type Pool, type TransportRequest, hash32 } from '@headgate/core'
import { begins } from './accounting.ts'
import { describeChoice } from './choice-log.ts'
import { remember } from './decision.ts'
import { UpstreamFailedError } from './errors.ts'
import { Exchange, type ShedReason } from './exchange.ts'
import { awaitsContinue } from './expect-continue.ts'
import { callTimeout, grpcTrailers, isGrpc, isGrpcStatus, passGrpcTimeout, sendGrpcError } from './grpc.ts'
import { requestHeaders, responseHeaders } from './headers.ts'
import { endEarly, isAnswered, isGone } from './http2.ts'
import { forwardInterim } from './interim.ts'
import type { Answer } from './mirror/answer.ts'
import type { RouteSettings } from './options.ts'
import { intercepted } from './pages/intercept.ts'
import { parsedBody } from './parsed-body.ts'
import { clientLocationOf, hashKeyOf } from './pool-questions.ts'
import { describeFailure } from './problem.ts'
import { RequestBody } from './request-body.ts'
import { type ResponseSink, mergeHeaders, sinkFor } from './response-sink.ts'
import { rewriteResponse } from './rewrite-response.ts'
import { hasErrorHandler, isObserved } from './route-context.ts'
import { Scope, ScopedHandler, runIn } from './scope.ts'
import { serverTiming } from './server-timing.ts'
import { joinTunnel } from './tunnel.ts'
import { openClient } from './tunnel-client.ts'
import { upgradeOf } from './upgrade.ts'

const hasApps = (pool: Pool): boolean => pool.hasApps

/** The exchange of a request that came to the Fastify app. */
export class ProxiedExchange extends Exchange {
  /** Keeps what the client is answered, to compare a mirror's answer with it. */
  witness: Answer | undefined
  readonly method: string
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #route: RouteSettings
  readonly #target: string
  readonly #parsedBody: Buffer | null
  readonly #emptyBody: boolean
  readonly #upgrade: string | undefined
  readonly #grpc: boolean
  /** For all that comes of it; `undefined` where nobody would look. */
  readonly #scope: Scope | undefined
  /** For an error handler, while the answer has not begun: after that one is called only where all is in the scope. */
  readonly #failureScope: Scope | undefined

  constructor (request: FastifyRequest, reply: FastifyReply, pools: readonly Pool[], route: RouteSettings, target: string, deadlines: Deadlines) {
    super(pools, route, deadlines)
    this.#request = request
    this.#reply = reply
    this.#route = route
    this.#target = target
    this.method = request.method
    this.#emptyBody = request.raw.headers['content-length'] === '0'
    this.#upgrade = upgradeOf(request.raw)
    this.#parsedBody = parsedBody(request)
    this.body = this.#parsedBody === null && this.#upgrade === undefined ? RequestBody.of(request.raw, route, this) : undefined
    this.withheld = this.body !== undefined && awaitsContinue(request.raw)
    this.#grpc = isGrpc(request)
    this.#scope = isObserved(request) || pools.some(hasApps) ? new Scope() : undefined
    this.#failureScope = this.#scope ?? (hasErrorHandler(request) ? new Scope() : undefined)
    this.timeout = this.#grpc ? callTimeout(request, route.timeout) : route.timeout
  }

  override start (): void {
    const { raw } = this.#reply
    remember(this.#request, this)
    // Who left while hooks ran is not heard of again.
    if (isGone(raw)) return this.leave('client-closed')
    raw.on('close', this.#onClientClose)
    super.start()
  }

  get keyed (): boolean { return this.#request.headers['idempotency-key'] !== undefined }
  get clientAddress (): string { return this.#request.ip ?? '' }
  get clientLocation (): Location | undefined { return clientLocationOf(this.#request, this.pool) }
  protected get log (): FastifyBaseLogger { return this.#request.log }
  /** A hook, or Fastify's handlerTimeout, may answer meanwhile. */
  protected override get isAnswered (): boolean { return this.#reply.sent || this.#reply.raw.headersSent }

  /** As what follows from them happens in the context of whatever brought them about. */
  override granted (lease: Lease): void {
    runIn(this.#scope, super.granted, this, lease)
  }

  override refused (reason: 'queue-timeout' | 'none-ready'): void {
    runIn(this.#scope, super.refused, this, reason)
  }

  override expired (now: number): void {
    runIn(this.#scope, super.expired, this, now)
  }

  override onData (chunk: Buffer, last: boolean): boolean {
    this.witness?.data(chunk)
    return super.onData(chunk, last)
  }

  protected override get handler (): AttemptHandler {
    return this.#scope === undefined ? this : new ScopedHandler(this.#scope, this)
  }

  protected hash (): number {
    return hash32(hashKeyOf(this.#request, this.pool.settings.hashOn))
  }

  /** Asks whom the client belongs to in this pool, then picks. */
  protected override ask (): void {
    const asked = this.#request.affinity?.propose(this.pool)
    if (asked instanceof Promise) void this.#wait(asked)
    else {
      this.hint = asked
      this.next()
    }
  }

  async #wait (asked: Promise<AffinityHint | undefined>): Promise<void> {
    try {
      this.hint = await asked
      if (!this.done) this.next()
    } catch (error) {
      this.answer(error as Error, 'affinity')
    }
  }

  protected request (lease: Lease): TransportRequest {
    const { upstream } = lease
    const { raw } = this.#request
    this.#request.upstream = upstream
    if (this.withheld && upstream.target.protocol === 'app:') this.withheld = false
    const body = this.#parsedBody ?? (this.body === undefined ? null : { length: this.body.length })
    const headers = this.fields(requestHeaders(this.#request, this.#route, upstream.target.host, upstream.url))
    begins(lease, this.#request, this.method, this.#target, headers, this.#parsedBody?.length ?? 0)
    if (this.#grpc && this.timeout > 0) passGrpcTimeout(headers, this.startedAt + this.timeout - lease.startedAt)
    this.#request.affinity?.sending?.(upstream, headers)
    return {
      method: this.method,
      path: this.#target,
      headers,
      body,
      emptyBody: this.#emptyBody,
      upgrade: this.#upgrade,
      expectContinue: this.withheld,
      once: !this.repeatable || this.body?.outgrows === true,
      trailerNames: body !== null && !Buffer.isBuffer(body) && body.length === undefined ? raw.headers.trailer : undefined
    }
  }

  protected interim (status: number, headers: readonly string[]): void {
    forwardInterim(this.#request, this.#reply, status, headers)
  }

  protected override unwanted (status: number, headers: readonly string[], complete: boolean): string {
    const reason = super.unwanted(status, headers, complete)
    if (reason !== '' || !this.#grpc) return reason
    // Nothing of an answer was given: the head is all there is (Trailers-Only).
    return complete && this.replayable && isGrpcStatus(headers, this.#route.retryGrpc) ? 'grpc-status' : ''
  }

  protected open (status: number, reason: string, headers: readonly string[], length: number, complete: boolean, now: number): ResponseSink | undefined {
    const took = now - this.startedAt
    const { upstream } = this.lease!
    this.witness?.head(status, headers, took)
    const instead = intercepted(this.#request, this.#reply, this.#route, status, headers, upstream)
    if (instead !== undefined) {
      this.giveUp(`status-${status}`, instead, 'ok')
      return undefined
    }
    const list = responseHeaders(headers, this.#request.raw.httpVersionMajor >= 2 || (length === -1 && this.#request.raw.httpVersion === '1.1'))
    if (this.#route.rewritesResponse) rewriteResponse(list, this.#request, this.#route, upstream.url)
    this.#request.affinity?.answered?.(upstream, status, list)
    if (this.#route.serverTiming) list.push('Server-Timing', serverTiming(this, now))
    describeChoice(this.#reply, upstream.url, this.attempts, took)
    return sinkFor(this.#reply, status, reason, list, length, complete, this.#upgrade !== undefined, this.drained)
  }

  protected override completing (): void {
    endEarly(this.#request.raw, this.#reply.raw, this.body)
  }

  protected tunnel (lease: Lease, headers: readonly string[], socket: Duplex, head: Buffer): void {
    const list = headers.slice()
    // What stays as long as the tunnel does should not hold all of this.
    this.#reply.raw.off('close', this.#onClientClose)
    this.#request.affinity?.answered?.(lease.upstream, 101, list)
    describeChoice(this.#reply, lease.upstream.url, this.attempts, lease.headAt - this.startedAt)
    this.#reply.hijack()
    const client = openClient(this.#request.raw, this.#reply.raw, mergeHeaders(this.#reply.getHeaders(), list), socket)
    joinTunnel(client, socket, head, this.deadlines, this.#route.tunnelTimeout, lease)
  }

  protected override shed (reason: ShedReason): void {
    this.#reply.header('retry-after', '1')
    super.shed(reason)
  }

  protected refuse (error: Error, reason: string, cause: Error | undefined): void {
    if (this.#reply.sent) return
    if (this.#grpc) return sendGrpcError(this.#reply, error)
    describeFailure(error, this.#request, this.#route, {
      reason, cause: cause?.message, attempts: this.attempts, hop: this.leases.at(-1)?.upstream.target.host
    })
    void runIn(this.#failureScope, this.#reply.send, this.#reply, error)
  }

  /** A status that is not OK tells a gRPC client, in its own terms, that what it has is not all. */
  protected override fail (error: Error): void {
    if (this.#grpc) this.sink!.end(grpcTrailers(error))
    // As long as nothing was sent, Fastify answers with it.
    else super.fail('statusCode' in error ? error : new UpstreamFailedError())
  }

  protected override end (complete = false): void {
    this.witness?.end(complete)
    super.end(complete)
  }

  readonly #onClientClose = (): void => {
    // So it is with most: to take the listener off would cost more.
    if (this.done) return
    const answered = isAnswered(this.#reply.raw)
    // All was handed over before the client left: nothing to abort.
    if (this.sink !== undefined && answered) return
    this.leave(answered ? 'answered' : 'client-closed')
    this.sink?.fail(new Error('the client closed the connection'))
  }
}
