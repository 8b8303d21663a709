import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  type AffinityHint, type Attempt, type AttemptHandler, Deadline, type Deadlines, type Explanation, Lease, type Location, type NoLease, type Outcome, type Pool,
  type PoolContext, type PoolWaiter, type Ticket, type Timer, type TransportError, channels, explainPick, hash32
} from '@headgate/core'
import { BodyTooLargeError, NoneReadyError, OverloadedError, SlowBodyError, UpstreamFailedError, UpstreamTimeoutError } from './errors.ts'
import { begins } from './accounting.ts'
import { awaitsContinue } from './expect-continue.ts'
import { describeChoice } from './choice-log.ts'
import { remember } from './decision.ts'
import { dueAt } from './due.ts'
import { callTimeout, grpcTrailers, isGrpc, isGrpcStatus, passGrpcTimeout, sendGrpcError } from './grpc.ts'
import { requestHeaders, responseHeaders } from './headers.ts'
import { endEarly, isAnswered } from './http2.ts'
import { clientLocationOf, hashKeyOf } from './pool-questions.ts'
import { forwardInterim } from './interim.ts'
import type { RouteSettings } from './options.ts'
import type { Answer } from './mirror/answer.ts'
import { intercepted } from './pages/intercept.ts'
import { parsedBody } from './parsed-body.ts'
import { describeFailure } from './problem.ts'
import { type Repeatability, backoff, isRepeatable, isRetryStatus, mayRepeat } from './repeat.ts'
import { type BodyOwner, RequestBody } from './request-body.ts'
import { type ResponseSink, mergeHeaders, sinkFor } from './response-sink.ts'
import { Resumption } from './resume.ts'
import { rewriteResponse } from './rewrite-response.ts'
import { serverTiming } from './server-timing.ts'
import { joinTunnel } from './tunnel.ts'
import { openClient } from './tunnel-client.ts'
import { upgradeOf } from './upgrade.ts'

/**
 * One client request's life upstream: pick, send, account, retry, deadline, abort, report. It is the transport's handler, the
 * pick context, the queue's waiter and the deadline at once: one object per request.
 */
export class Exchange extends Deadline implements AttemptHandler, PoolContext, PoolWaiter, Repeatability, BodyOwner {
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #route: RouteSettings
  readonly #deadlines: Deadlines
  readonly #target: string
  readonly startedAt: number
  readonly #body: RequestBody | undefined
  readonly #parsedBody: Buffer | null
  readonly #emptyBody: boolean
  readonly #upgrade: string | undefined
  readonly #grpc: boolean
  /** Milliseconds for the whole request; 0: none. */
  readonly #timeout: number
  /** One for each attempt so far. */
  readonly leases: Lease[] = []
  /** What each pick had to choose from, where the route wants to know. */
  readonly explanations: Explanation[] = []
  readonly #pools: readonly Pool[]
  #pool: Pool
  #keyHash = -1
  #hint: AffinityHint | undefined
  #lease: Lease | undefined
  #attempt: Attempt | undefined
  #ticket: Ticket | undefined
  #backoff: Timer = undefined
  #sink: ResponseSink | undefined
  #resumption: Resumption | undefined
  /** An attempt for the rest of a broken response has not brought its head yet. */
  #resuming = false
  /** The body waits for the upstream's 100. */
  #withheld: boolean
  /** The client has not taken what was written to it. */
  #blocked = false
  #activity: number
  #retries = 0
  #done = false
  attempts = 0
  /** Keeps what the client is answered, to compare a mirror's answer with it. */
  witness: Answer | undefined

  constructor (request: FastifyRequest, reply: FastifyReply, pools: readonly Pool[], route: RouteSettings, target: string, deadlines: Deadlines) {
    super()
    this.#request = request
    this.#reply = reply
    this.#route = route
    this.#target = target
    this.#deadlines = deadlines
    this.#pools = pools
    this.#pool = pools[0]!
    this.startedAt = this.#activity = this.#pool.environment.clock.now()
    this.#emptyBody = request.raw.headers['content-length'] === '0'
    this.#upgrade = upgradeOf(request.raw)
    this.#parsedBody = parsedBody(request)
    this.#body = this.#parsedBody === null && this.#upgrade === undefined ? RequestBody.of(request.raw, route, this) : undefined
    this.#withheld = this.#body !== undefined && awaitsContinue(request.raw)
    this.#grpc = isGrpc(request)
    this.#timeout = this.#grpc ? callTimeout(request, route.timeout) : route.timeout
  }

  start (): void {
    this.#reply.raw.on('close', this.#onClientClose)
    remember(this.#request, this)
    this.#pool.retryBudget.request(this.startedAt)
    this.#ask()
  }

  // What the pool and its policy read.

  get context (): PoolContext { return this }
  get affinity (): AffinityHint | undefined { return this.#hint }
  get clientAddress (): string { return this.#request.ip ?? '' }
  get clientLocation (): Location | undefined { return clientLocationOf(this.#request, this.#pool) }
  get repeatable (): boolean { return isRepeatable(this, this.#route) }

  get pool (): Pool { return this.#pool }

  get keyHash (): number {
    if (this.#keyHash === -1) this.#keyHash = hash32(hashKeyOf(this.#request, this.#pool.settings.hashOn))
    return this.#keyHash
  }

  hasTried (upstream: { readonly id: string }): boolean {
    for (const { upstream: { id }, outcome } of this.leases) if (id === upstream.id && outcome !== 'shed') return true
    return false
  }

  // What decides about repetition.

  get method (): string { return this.#request.method }
  get replayable (): boolean { return this.#body?.replayable ?? true }
  get withheld (): boolean { return this.#withheld }
  get keyed (): boolean { return this.#request.headers['idempotency-key'] !== undefined }

  // What the queue tells.

  granted (lease: Lease): void {
    this.#ticket = undefined
    this.#send(lease)
  }

  refused (reason: 'queue-timeout' | 'none-ready'): void {
    this.#ticket = undefined
    if (this.#resuming) return this.#failSink(new UpstreamFailedError())
    this.#elsewhere(reason)
  }

  // What the request's body tells.

  bodyProgress (): void { this.#activity = this.#now() }

  bodyTooLarge (): void {
    if (this.#sink === undefined) this.#giveUp('client-body', new BodyTooLargeError())
    else this.#breakOff('aborted', 'client-body', new BodyTooLargeError())
  }

  // What the transport tells.

  onSent (): void { if (this.#attempt !== undefined && !this.#withheld) this.#body?.attach(this.#attempt) }

  onInformational (status: number, headers: readonly string[]): void {
    if (status === 100) this.#release100()
    else if (this.#sink === undefined) forwardInterim(this.#request, this.#reply, status, headers)
  }

  onHead (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    const now = this.#now()
    this.#activity = now
    this.#lease!.head(status, now, headers)
    // A hook, or Fastify's handlerTimeout, has answered meanwhile.
    if (this.#sink === undefined && (this.#reply.sent || this.#reply.raw.headersSent)) return this.#leave('answered')
    if (this.#resuming) {
      this.#resuming = !this.#resumption!.accepts(status, headers, complete ? 0 : length)
      if (!this.#resuming) return
      this.#drop('ok')
      this.#request.log.warn({ upstream: this.#lastUrl(), status }, 'the rest of a broken response does not match')
      return this.#failSink(new UpstreamFailedError())
    }
    const unwanted = isRetryStatus(status, headers, this.#route, this.#pool, this) && this.repeatable ? `status-${status}`
      // Nothing of an answer was given: the head is all there is (Trailers-Only).
      : this.#grpc && complete && this.replayable && isGrpcStatus(headers, this.#route.retryGrpc) ? 'grpc-status' : ''
    if (unwanted !== '' && this.#mayRetry(unwanted)) {
      this.#drop('ok', unwanted)
      return this.#again()
    }
    this.witness?.head(status, headers, now - this.startedAt)
    const instead = intercepted(this.#request, this.#reply, this.#route, status, headers, this.#lease!.upstream)
    if (instead !== undefined) return this.#giveUp(`status-${status}`, instead, 'ok')
    // A final answer without the body: it is not wanted any more.
    this.#withheld = false
    const list = responseHeaders(headers, this.#request.raw.httpVersionMajor >= 2 || (length === -1 && this.#request.raw.httpVersion === '1.1'))
    if (this.#route.rewritesResponse) rewriteResponse(list, this.#request, this.#route, this.#lastUrl())
    this.#request.affinity?.answered?.(this.#lease!.upstream, status, list)
    if (this.#route.serverTiming) list.push('Server-Timing', serverTiming(this, now))
    describeChoice(this.#reply, this.#lastUrl(), this.attempts, now - this.startedAt)
    if (this.#route.resume && !complete && this.method === 'GET' && this.#body === undefined) this.#resumption = Resumption.of(status, headers, length)
    this.#sink = sinkFor(this.#reply, status, reason, list, length, complete, this.#upgrade !== undefined, this.#onDrained)
  }

  onData (chunk: Buffer, last: boolean): boolean {
    if (this.#lease !== undefined) this.#lease.received += chunk.length
    if (this.#sink === undefined) return true
    this.witness?.data(chunk)
    this.#resumption?.received(chunk.length)
    const more = this.#sink.write(chunk, last)
    if (!last || !more) this.#activity = this.#now()
    this.#blocked = !more
    return more
  }

  onComplete (trailers: readonly string[] | undefined): void {
    // A retried answer's end comes after its lease was given back.
    if (this.#sink === undefined) return
    if (trailers !== undefined) this.#lease?.trailers(trailers)
    this.#release('ok')
    endEarly(this.#request.raw, this.#reply.raw, this.#body)
    this.#sink.end(trailers)
    this.#end(true)
  }

  onDrain (): void { this.#body?.drained() }

  onUpgrade (headers: readonly string[], socket: Duplex, head: Buffer): void {
    const now = this.#now()
    this.#lease!.head(101, now)
    const list = headers.slice()
    this.#request.affinity?.answered?.(this.#lease!.upstream, 101, list)
    describeChoice(this.#reply, this.#lastUrl(), this.attempts, now - this.startedAt)
    const lease = this.#lease!
    this.#attempt = this.#lease = undefined
    this.#end()
    this.#reply.hijack()
    const client = openClient(this.#request.raw, this.#reply.raw, mergeHeaders(this.#reply.getHeaders(), list), socket)
    joinTunnel(client, socket, head, this.#deadlines, this.#route.tunnelTimeout, lease)
  }

  onError (error: TransportError): void {
    const { phase, stale, code } = error
    const outcome = phase === 'connect' ? 'failed-before-send' : 'failed-after-send'
    if (this.#sink !== undefined) return this.#breakOff(outcome, code, error)
    const repeat = mayRepeat(this, phase, this.#route)
    if (stale && repeat) {
      // The keep-alive race is no fault of the upstream: neither counted nor a reason to avoid it.
      this.#release('shed', code)
      return this.#next()
    }
    const again = repeat && this.#mayRetry(code, phase === 'connect')
    this.#release(stale ? 'shed' : outcome, code)
    if (again) return this.#again()
    this.#request.log.warn({ err: error, attempts: this.attempts }, 'the upstream failed')
    this.#answer(code === 'connect-timeout' ? new UpstreamTimeoutError() : new UpstreamFailedError(), code, error.message)
  }

  /** The deadline's turn: looks at what is due, as activity only moves a field. */
  expired (now: number): void {
    if (this.#done) return
    if (this.#withheld && this.#attempt !== undefined && now >= this.#activity + this.#route.continueTimeout) this.#release100()
    if (now < this.#due()) return this.#schedule()
    if (this.#timeout > 0 && now >= this.startedAt + this.#timeout) {
      if (this.#sink !== undefined) return this.#breakOff('timed-out', 'timeout', new UpstreamTimeoutError(), false)
      this.#request.log.warn({ upstream: this.#lastUrl(), attempts: this.attempts }, 'the whole time of the request is over')
      return this.#giveUp('timeout', new UpstreamTimeoutError(), 'timed-out')
    }
    if (this.#answered) {
      // A client that does not read is no fault of the upstream, and nothing that another one could mend.
      if (this.#blocked || this.#body?.starved === true) return this.#breakOff('aborted', 'client-idle', new Error('the client is idle'), false)
      return this.#breakOff('timed-out', 'idle-timeout', new UpstreamTimeoutError())
    }
    if (this.#body?.starved === true && now >= this.#activity + this.#route.idleTimeout) return this.#giveUp('client-idle', new SlowBodyError())
    const reason = now >= this.#activity + this.#route.headersTimeout ? 'headers-timeout' : 'try-timeout'
    if (this.#resuming) return this.#breakOff('timed-out', reason, new UpstreamTimeoutError())
    const again = this.repeatable && this.#mayRetry(reason)
    this.#drop('timed-out', reason)
    if (again) return this.#again()
    this.#request.log.warn({ upstream: this.#lastUrl(), attempts: this.attempts, reason }, 'the upstream did not answer in time')
    this.#answer(new UpstreamTimeoutError(), reason)
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
      this.#answer(error as Error, 'affinity')
    }
  }

  #next (): void {
    if (this.#route.explain) this.explanations.push(explainPick(this.#pool, this))
    const lease = this.#pool.pick(this)
    if (lease instanceof Lease) return this.#send(lease)
    this.#without(lease)
  }

  /** Another attempt: at once where somebody is untried, else after a pause. */
  #again (): void {
    if (this.#pool.ready.length === 0 || this.#pool.hasUntried(this)) return this.#next()
    const { clock, random } = this.#pool.environment
    this.#backoff = clock.setTimeout(() => {
      this.#backoff = undefined
      this.#next()
    }, backoff(this.#retries, random), true)
  }

  #without (why: NoLease): void {
    if (this.#resuming) return this.#failSink(new UpstreamFailedError())
    if (why === 'none-ready') return this.#elsewhere(why)
    this.#ticket = this.#pool.wait(this)
    if (this.#ticket === undefined) this.#elsewhere('queue-full')
    else this.#schedule()
  }

  /** This pool gives nobody: the next one of the chain is asked. */
  #elsewhere (why: 'queue-timeout' | 'queue-full' | 'none-ready'): void {
    const rest = this.#hint?.strict === true ? undefined : this.#pools[this.#pools.indexOf(this.#pool) + 1]
    if (rest === undefined) return this.#shed(why)
    this.#pool = rest
    this.#keyHash = -1
    this.#ask()
  }

  #send (lease: Lease): void {
    const { upstream } = lease
    const { raw } = this.#request
    this.#lease = lease
    this.leases.push(lease)
    this.attempts++
    this.#request.upstream = upstream
    this.#activity = lease.startedAt
    if (this.#withheld && upstream.target.protocol === 'app:') this.#withheld = false
    const body = this.#parsedBody ?? (this.#body === undefined ? null : { length: this.#body.length })
    const requested = requestHeaders(this.#request, this.#route, upstream.target.host, upstream.url)
    const headers = this.#resuming ? this.#resumption!.request(requested) : requested
    begins(lease, this.#request, this.#target, headers, this.#parsedBody?.length ?? 0)
    if (this.#grpc && this.#timeout > 0) passGrpcTimeout(headers, this.startedAt + this.#timeout - lease.startedAt)
    this.#request.affinity?.sending?.(upstream, headers)
    this.#attempt = upstream.transport.dispatch({
      method: raw.method!,
      path: this.#target,
      headers,
      body,
      emptyBody: this.#emptyBody,
      upgrade: this.#upgrade,
      expectContinue: this.#withheld,
      once: !this.repeatable || this.#body?.outgrows === true,
      trailerNames: body !== null && !Buffer.isBuffer(body) && body.length === undefined ? raw.headers.trailer : undefined
    }, this)
    this.#schedule(lease.startedAt)
  }

  #schedule (now: number = this.#now()): void {
    const due = this.#due()
    // Meanwhile the head may come, or it may become the client's turn: then the time without a byte is what counts.
    if (this.#lease !== undefined) this.#deadlines.schedule(this, Math.min(due, now + this.#route.idleTimeout), now)
    else if (due !== Infinity) this.#deadlines.schedule(this, due, now)
  }

  /** The running attempt's response head is here. */
  get #answered (): boolean {
    return this.#sink !== undefined && !this.#resuming
  }

  #due (): number {
    return dueAt(
      this.#route, this.startedAt, this.#activity, this.#lease?.startedAt, this.#answered, this.#body?.starved === true, this.#withheld,
      this.#timeout
    )
  }

  /** The upstream wants the body, or waited long enough for it. */
  #release100 (): void {
    if (!this.#withheld) return
    this.#withheld = false
    this.#activity = this.#now()
    if (this.#attempt !== undefined) this.#body!.attach(this.#attempt)
  }

  /** `free`: no upstream has seen the request, so that another attempt multiplies nobody's load. */
  #mayRetry (reason: string, free = false): boolean {
    if (this.#retries >= this.#route.retries) return false
    const allowed = free || this.#pool.retryBudget.take()
    if (allowed) this.#retries++
    this.#tellRetry(allowed ? reason : 'budget', !allowed)
    return allowed
  }

  #tellRetry (reason: string, refused: boolean): void {
    if (channels.retry.hasSubscribers) channels.retry.publish({ pool: this.#pool.name, reason, refused, source: this.#pool })
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

  /** The response broke off after its head: gone on with elsewhere where that is possible, else the client's transfer breaks too. */
  #breakOff (outcome: Outcome, reason: string, error: Error, resumable = outcome !== 'aborted'): void {
    this.#drop(outcome, reason)
    this.#request.log.warn({ err: error, upstream: this.#lastUrl(), reason }, 'the response broke off')
    if (!resumable || this.#resumption?.take() !== true || !this.#pool.retryBudget.take()) return this.#failSink(error)
    this.#tellRetry(`resume-${reason}`, false)
    this.#resuming = true
    this.#retries++
    this.#again()
  }

  #failSink (error: Error): void {
    this.#end()
    // A status that is not OK tells a gRPC client, in its own terms, that what it has is not all.
    if (this.#grpc) this.#sink!.end(grpcTrailers(error))
    else this.#sink!.fail(error)
  }

  /** Ends the attempt from our side. */
  #drop (outcome: Outcome, reason = ''): void {
    const attempt = this.#attempt
    this.#release(outcome, reason)
    attempt?.abort()
  }

  #shed (reason: 'queue-timeout' | 'queue-full' | 'none-ready'): void {
    if (channels.shed.hasSubscribers) channels.shed.publish({ pool: this.#pool.name, reason, source: this.#pool })
    this.#reply.header('retry-after', '1')
    this.#answer(reason === 'none-ready' ? new NoneReadyError() : new OverloadedError(), reason)
  }

  /** Ends everything that runs, for a reason that is not the upstream's. */
  #giveUp (reason: string, error: Error, outcome: Outcome = 'aborted'): void {
    this.#drop(outcome, reason)
    this.#answer(error, reason)
  }

  #answer (error: Error, reason: string, cause?: string): void {
    this.#end()
    if (this.#reply.sent) return
    if (this.#grpc) return sendGrpcError(this.#reply, error)
    describeFailure(error, this.#request, this.#route, { reason, cause, attempts: this.attempts, hop: this.leases.at(-1)?.upstream.target.host })
    void this.#reply.send(error)
  }

  /** `complete`: with the whole of an upstream's answer. */
  #end (complete = false): void {
    this.#done = true
    this.witness?.end(complete)
    this.#deadlines.cancel(this)
    // Where the answer did not wait for all of it, the client goes on sending and must be able to.
    this.#body?.discard()
    this.#ticket?.leave()
    this.#ticket = undefined
    if (this.#backoff !== undefined) this.#pool.environment.clock.clearTimeout(this.#backoff)
    this.#backoff = undefined
    this.#reply.raw.off('close', this.#onClientClose)
  }

  #lastUrl (): string { return this.leases.at(-1)?.upstream.url ?? '' }

  #now (): number { return this.#pool.environment.clock.now() }

  readonly #onDrained = (): void => {
    this.#activity = this.#now()
    this.#blocked = false
    this.#attempt?.resume()
  }

  /** Nobody waits for the upstream's answer any more. */
  #leave (reason: string): void {
    this.#drop('aborted', reason)
    this.#end()
  }

  readonly #onClientClose = (): void => {
    const answered = isAnswered(this.#reply.raw)
    // All was handed over before the client left: nothing to abort.
    if (this.#done || (this.#sink !== undefined && answered)) return
    this.#leave(answered ? 'answered' : 'client-closed')
    this.#sink?.fail(new Error('the client closed the connection'))
  }
}
