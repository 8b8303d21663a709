import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import {
  type AffinityHint, type Attempt, type AttemptHandler, Deadline, type Deadlines, Lease, type Location, type NoLease, type Outcome, type Pool,
  type PoolContext, type PoolWaiter, type Ticket, type TransportError, type Upstream, channels, hash32
} from '@headgate/core'
import { NoneReadyError, OverloadedError, UpstreamFailedError, UpstreamTimeoutError } from './errors.ts'
import { requestHeaders, responseHeaders } from './headers.ts'
import { hashKeyOf } from './hash-key.ts'
import type { RouteSettings } from './options.ts'
import { RequestBody } from './request-body.ts'
import { mergeHeaders, RawSink, ReplySink, type ResponseSink } from './response-sink.ts'
import { rewriteResponse } from './rewrite-response.ts'
import { hasOnSend } from './route-context.ts'
import { headOf, tunnel } from './upgrade.ts'

/**
 * One client request's life upstream: pick, send, account, retry, deadline, abort, report. It is the transport's handler, the
 * pick context, the queue's waiter and the deadline at once: one object per request.
 */
export class Exchange extends Deadline implements AttemptHandler, PoolContext, PoolWaiter {
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #route: RouteSettings
  readonly #deadlines: Deadlines
  readonly #target: string
  readonly #startedAt: number
  readonly #body: RequestBody | undefined
  readonly #parsedBody: Buffer | null
  readonly #emptyBody: boolean
  readonly #upgrade: string | undefined
  readonly #tried: Upstream[] = []
  #pools: readonly Pool[]
  #pool: Pool
  #keyHash = -1
  #hint: AffinityHint | undefined
  #lease: Lease | undefined
  #attempt: Attempt | undefined
  #ticket: Ticket | undefined
  #sink: ResponseSink | undefined
  #activity: number
  #done = false
  attempts = 0

  constructor (request: FastifyRequest, reply: FastifyReply, pools: readonly Pool[], route: RouteSettings, target: string, deadlines: Deadlines) {
    super()
    this.#request = request
    this.#reply = reply
    this.#route = route
    this.#target = target
    this.#deadlines = deadlines
    this.#pools = pools
    this.#pool = pools[0]!
    this.#startedAt = this.#activity = this.#pool.environment.clock.now()
    const { headers, method } = request.raw
    const length = headers['content-length']
    this.#emptyBody = length === '0'
    this.#upgrade = headOf(request.raw) === undefined ? undefined : headers.upgrade
    this.#parsedBody = parsedBody(request)
    const streamed = this.#parsedBody === null && this.#upgrade === undefined && method !== 'TRACE' &&
      ((length !== undefined && length !== '0') || headers['transfer-encoding'] !== undefined || (request.raw.httpVersionMajor >= 2 && !request.raw.readableEnded && method !== 'GET' && method !== 'HEAD'))
    this.#body = streamed ? new RequestBody(request.raw, length === undefined ? undefined : Number(length), route.replayLimit, this.#progress) : undefined
  }

  start (): void {
    const { raw } = this.#reply
    raw.on('close', this.#onClientClose)
    this.#pool.retryBudget.request(this.#startedAt)
    this.#ask()
  }

  // What the pool and its policy read.

  get context (): PoolContext { return this }
  get affinity (): AffinityHint | undefined { return this.#hint }
  get clientAddress (): string { return this.#request.ip ?? '' }
  get clientLocation (): Location | undefined { return undefined }
  get repeatable (): boolean { return this.#route.retryMethods.has(this.#request.method) && (this.#body?.replayable ?? true) }

  get keyHash (): number {
    if (this.#keyHash === -1) this.#keyHash = hash32(hashKeyOf(this.#request, this.#pool.settings.hashOn))
    return this.#keyHash
  }

  hasTried (upstream: { readonly id: string }): boolean {
    for (const tried of this.#tried) if (tried.id === upstream.id) return true
    return false
  }

  // What the queue tells.

  granted (lease: Lease): void {
    this.#ticket = undefined
    this.#send(lease)
  }

  refused (reason: 'queue-timeout' | 'none-ready'): void {
    this.#ticket = undefined
    this.#shed(reason)
  }

  // What the transport tells.

  onSent (): void {
    if (this.#attempt !== undefined) this.#body?.attach(this.#attempt)
  }

  onInformational (status: number, headers: readonly string[]): void {
    if (status !== 103 || this.#reply.raw.headersSent) return
    const link: string[] = []
    for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === 'link') link.push(headers[i + 1]!)
    if (link.length > 0) this.#reply.raw.writeEarlyHints?.({ link })
  }

  onHead (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    const now = this.#now()
    this.#activity = now
    this.#lease!.head(status, now, headers)
    if (this.#route.retryStatuses.has(status) && this.repeatable && this.#mayRetry(`status-${status}`)) {
      const attempt = this.#attempt
      this.#release('ok', `status-${status}`)
      attempt?.abort()
      return this.#next()
    }
    const list = responseHeaders(headers)
    if (this.#route.rewriteLocation || this.#route.rewritesCookies) rewriteResponse(list, this.#route, this.#tried.at(-1)!.url)
    this.#request.affinity?.answered?.(this.#lease!.upstream, status, list)
    this.#describe(now)
    const drained = (): void => {
      this.#activity = this.#now()
      this.#attempt?.resume()
    }
    const raw = this.#upgrade !== undefined || !hasOnSend(this.#request)
    this.#sink = raw
      ? new RawSink(this.#reply, status, reason, list, drained)
      : new ReplySink(this.#reply, status, list, length, complete, drained)
  }

  onData (chunk: Buffer, last: boolean): boolean {
    this.#activity = this.#now()
    if (this.#lease !== undefined) this.#lease.received += chunk.length
    return this.#sink === undefined || this.#sink.write(chunk, last)
  }

  onComplete (trailers: readonly string[] | undefined): void {
    // A retried answer's end comes after its lease was given back.
    if (this.#sink === undefined) return
    this.#release('ok')
    this.#sink.end(trailers)
    this.#end()
  }

  onDrain (): void {
    this.#body?.drained()
  }

  onUpgrade (headers: readonly string[], socket: Duplex, head: Buffer): void {
    const now = this.#now()
    this.#lease!.head(101, now)
    const list = headers.slice()
    this.#request.affinity?.answered?.(this.#lease!.upstream, 101, list)
    this.#describe(now)
    this.#deadlines.cancel(this)
    this.#attempt = undefined
    this.#reply.hijack()
    this.#reply.raw.off('close', this.#onClientClose)
    const lease = this.#lease!
    this.#lease = undefined
    this.#done = true
    tunnel(this.#request.raw, this.#reply.raw, mergeHeaders(this.#reply.getHeaders(), list), socket, head, () => {
      lease.sent = (socket as Socket).bytesWritten ?? 0
      lease.received = (socket as Socket).bytesRead ?? 0
      lease.release('ok')
    })
  }

  onError (error: TransportError): void {
    const { phase, stale, code } = error
    if (this.#sink !== undefined) {
      this.#release('failed-after-send', code)
      this.#request.log.warn({ err: error, upstream: this.#lastUrl() }, 'the upstream broke off its response')
      this.#sink.fail(error)
      return this.#end()
    }
    const again = (phase === 'connect' ? this.#body?.replayable ?? true : this.repeatable) && (stale || this.#mayRetry(code))
    // The keep-alive race is no fault of the upstream: neither counted nor a reason to avoid it.
    if (stale) this.#tried.pop()
    this.#release(stale ? 'shed' : phase === 'connect' ? 'failed-before-send' : 'failed-after-send', code)
    if (again) return this.#next()
    this.#request.log.warn({ err: error, attempts: this.attempts }, 'the upstream failed')
    this.#answer(code === 'connect-timeout' ? new UpstreamTimeoutError() : new UpstreamFailedError())
  }

  /** The deadline's turn: looks at what is due, as activity only moves a field. */
  expired (now: number): void {
    if (this.#done) return
    const due = this.#due()
    if (now < due) return this.#deadlines.schedule(this, due)
    const whole = this.#route.timeout > 0 && now >= this.#startedAt + this.#route.timeout
    const attempt = this.#attempt
    this.#ticket?.leave()
    this.#ticket = undefined
    const again = !whole && this.#sink === undefined && this.repeatable && this.#mayRetry('headers-timeout')
    this.#release('timed-out', this.#sink === undefined ? 'headers-timeout' : 'idle-timeout')
    attempt?.abort()
    if (again) return this.#next()
    if (this.#sink !== undefined) {
      this.#sink.fail(new UpstreamTimeoutError())
      return this.#end()
    }
    this.#answer(new UpstreamTimeoutError())
  }

  /** Asks whom the client belongs to in this pool, then picks. */
  #ask (): void {
    const asked = this.#request.affinity?.propose(this.#pool)
    if (asked instanceof Promise) void this.#wait(asked)
    else {
      this.#hint = asked
      this.#next()
    }
  }

  async #wait (asked: Promise<AffinityHint | undefined>): Promise<void> {
    try {
      this.#hint = await asked
      if (!this.#done) this.#next()
    } catch (error) {
      this.#answer(error as Error)
    }
  }

  #next (): void {
    const lease = this.#pool.pick(this)
    if (lease instanceof Lease) return this.#send(lease)
    this.#without(lease)
  }

  #without (why: NoLease): void {
    const rest = this.#hint?.strict === true ? [] : this.#pools.slice(this.#pools.indexOf(this.#pool) + 1)
    if (rest.length > 0) {
      this.#pool = rest[0]!
      this.#keyHash = -1
      return this.#ask()
    }
    if (why === 'none-ready') return this.#shed('none-ready')
    this.#ticket = this.#pool.wait(this)
    if (this.#ticket === undefined) this.#shed('queue-full')
  }

  #send (lease: Lease): void {
    const { upstream } = lease
    this.#lease = lease
    this.#tried.push(upstream)
    this.attempts++
    this.#request.upstream = upstream
    this.#activity = lease.startedAt
    const raw = this.#request.raw
    const body = this.#parsedBody ?? (this.#body === undefined ? null : { length: this.#body.length })
    const headers = requestHeaders(this.#request, this.#route, upstream.target.host)
    lease.method = raw.method!
    lease.sent = this.#parsedBody?.length ?? 0
    if (channels.dispatch.hasSubscribers) {
      channels.dispatch.publish({ lease, source: this.#pool, request: this.#request, method: raw.method!, path: this.#target, headers })
    }
    this.#request.affinity?.sending?.(upstream, headers)
    this.#attempt = upstream.transport.dispatch({
      method: raw.method!,
      path: this.#target,
      headers,
      body,
      emptyBody: this.#emptyBody,
      upgrade: this.#upgrade,
      expectContinue: false,
      trailerNames: body !== null && !Buffer.isBuffer(body) && body.length === undefined ? raw.headers.trailer : undefined
    }, this)
    this.#deadlines.schedule(this, this.#due())
  }

  #due (): number {
    const next = this.#activity + (this.#sink === undefined ? this.#route.headersTimeout : this.#route.idleTimeout)
    return this.#route.timeout > 0 ? Math.min(next, this.#startedAt + this.#route.timeout) : next
  }

  #mayRetry (reason: string): boolean {
    if (this.attempts > this.#route.retries) return false
    const allowed = this.#pool.retryBudget.take()
    if (channels.retry.hasSubscribers) channels.retry.publish({ pool: this.#pool.name, reason: allowed ? reason : 'budget', refused: !allowed, source: this.#pool })
    return allowed
  }

  #release (outcome: Outcome, reason = ''): void {
    const lease = this.#lease
    this.#lease = undefined
    this.#attempt = undefined
    if (this.#body !== undefined) {
      if (lease !== undefined) lease.sent = this.#body.sent
      this.#body.detach()
    }
    lease?.release(outcome, reason)
  }

  #shed (reason: 'queue-timeout' | 'queue-full' | 'none-ready'): void {
    if (channels.shed.hasSubscribers) channels.shed.publish({ pool: this.#pool.name, reason, source: this.#pool })
    this.#reply.header('retry-after', '1')
    this.#answer(reason === 'none-ready' ? new NoneReadyError() : new OverloadedError())
  }

  #answer (error: Error): void {
    this.#end()
    this.#body?.discard()
    if (!this.#reply.sent) this.#reply.send(error)
  }

  #end (): void {
    this.#done = true
    this.#deadlines.cancel(this)
    this.#reply.raw.off('close', this.#onClientClose)
  }

  /** Puts the choice into the request's log line; a child logger costs, so only where the line will be written. */
  #describe (now: number): void {
    const log = this.#reply.log as FastifyBaseLogger & { isLevelEnabled? (level: string): boolean }
    if (log.isLevelEnabled?.('info') !== true) return
    this.#reply.log = log.child({ upstream: this.#lastUrl(), attempts: this.attempts, upstreamTime: now - this.#startedAt })
  }

  #lastUrl (): string {
    return this.#tried.at(-1)?.url ?? ''
  }

  #now (): number {
    return this.#pool.environment.clock.now()
  }

  readonly #progress = (): void => {
    this.#activity = this.#now()
  }

  readonly #onClientClose = (): void => {
    if (this.#done) return
    // All was handed over before the client left: nothing to abort.
    if (this.#reply.raw.writableFinished) return
    const attempt = this.#attempt
    this.#ticket?.leave()
    this.#release('aborted', 'client-closed')
    attempt?.abort()
    this.#end()
    if (this.#sink !== undefined) this.#sink.fail(new Error('the client closed the connection'))
  }
}

/** A body that the app's own parser has already read: sent again as JSON or as it is; `null` when it is still to be read. */
function parsedBody (request: FastifyRequest): Buffer | null {
  const { body } = request
  if (body === undefined || body === null || body === request.raw) return null
  if (Buffer.isBuffer(body)) return body
  if (typeof body === 'string') return Buffer.from(body)
  if (typeof body === 'object' && 'pipe' in body) return null
  return Buffer.from(JSON.stringify(body))
}
