import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import {
  type AffinityHint, type Attempt, type AttemptHandler, Deadline, type Deadlines, type Explanation, Lease, type Location, type NoLease, type Outcome, type Pool,
  type PoolContext, type PoolWaiter, type Ticket, type Timer, type TransportError, type TransportRequest, channels, explainPick, isUnreached
} from '@headgate/core'
import { BodyTooLargeError, NoSocketsError, NoneReadyError, OverloadedError, SlowBodyError, UpstreamFailedError, UpstreamTimeoutError } from './errors.ts'
import { dueAt } from './due.ts'
import type { RouteSettings } from './options.ts'
import { type Repeatability, backoff, isRepeatable, isRetryStatus, mayRepeat } from './repeat.ts'
import type { BodyOwner, RequestBody } from './request-body.ts'
import type { ResponseSink } from './response-sink.ts'
import { Resumption } from './resume.ts'

/** What of a route's settings decides about attempts. */
export type ExchangeSettings = Pick<RouteSettings,
  'headersTimeout' | 'idleTimeout' | 'tryTimeout' | 'continueTimeout' | 'retries' | 'retryStatuses' | 'retryMethods' | 'retryByKey' | 'resume' | 'explain'>

/** Why no upstream was asked. */
export type ShedReason = 'queue-timeout' | 'queue-full' | 'none-ready' | 'no-sockets'

/**
 * One request's life upstream: pick, send, account, retry, deadline, abort, report. It is the transport's handler, the pick
 * context, the queue's waiter and the deadline at once: one object per request. Whose request it is, and where the answer goes,
 * is the subclasses' part.
 */
export abstract class Exchange extends Deadline implements AttemptHandler, PoolContext, PoolWaiter, Repeatability, BodyOwner {
  readonly startedAt: number
  /** One for each attempt so far. */
  readonly leases: Lease[] = []
  /** What each pick had to choose from, where the route wants to know. */
  readonly explanations: Explanation[] = []
  attempts = 0
  protected readonly settings: ExchangeSettings
  protected readonly deadlines: Deadlines
  /** The request's body, where it is still to be read. Set by the subclass's constructor, as the next two. */
  protected body: RequestBody | undefined
  /** The body waits for the upstream's 100. */
  withheld = false
  /** Milliseconds for the whole request; 0: none. */
  protected timeout = 0
  protected hint: AffinityHint | undefined
  /** The running attempt's. */
  protected lease: Lease | undefined
  protected sink: ResponseSink | undefined
  protected done = false
  readonly #pools: readonly Pool[]
  #pool: Pool
  #keyHash = -1
  #attempt: Attempt | undefined
  #ticket: Ticket | undefined
  #backoff: Timer = undefined
  #resumption: Resumption | undefined
  /** An attempt for the rest of a broken response has not brought its head yet. */
  #resuming = false
  /** Whoever gets the answer has not taken what was written. */
  #blocked = false
  #activity: number
  #retries = 0
  /** Upstreams passed over: where nobody else is left, whom it did not reach either is not asked again as well. */
  #passed = 0

  constructor (pools: readonly Pool[], settings: ExchangeSettings, deadlines: Deadlines) {
    super()
    this.settings = settings
    this.deadlines = deadlines
    this.#pools = pools
    this.#pool = pools[0]!
    this.startedAt = this.#activity = this.#pool.environment.clock.now()
  }

  start (): void {
    this.#pool.retryBudget.request(this.startedAt)
    this.ask()
  }

  // What subclasses know of their request, and do with the answer.

  abstract get method (): string
  abstract get keyed (): boolean
  abstract get clientAddress (): string
  abstract get clientLocation (): Location | undefined
  protected abstract get log (): FastifyBaseLogger
  /** The hash of the request's key in the present pool: asked once for each. */
  protected abstract hash (): number
  /** What an attempt sends. */
  protected abstract request (lease: Lease): TransportRequest
  /** An interim response that is not the 100 of a body that waits. */
  protected abstract interim (status: number, headers: readonly string[]): void
  /** Begins the answer with an upstream's; `undefined`: it was ended otherwise. */
  protected abstract open (status: number, reason: string, headers: readonly string[], length: number, complete: boolean, now: number): ResponseSink | undefined
  /** There will be no upstream's answer. */
  protected abstract refuse (error: Error, reason: string, cause: Error | undefined): void
  /** The protocol was switched. The lease is the tunnel's from here. */
  protected abstract tunnel (lease: Lease, headers: readonly string[], socket: Duplex, head: Buffer): void

  // What the pool and its policy read.

  get context (): PoolContext { return this }
  get affinity (): AffinityHint | undefined { return this.hint }
  get repeatable (): boolean { return isRepeatable(this, this.settings) }

  get pool (): Pool { return this.#pool }

  get keyHash (): number {
    if (this.#keyHash === -1) this.#keyHash = this.hash()
    return this.#keyHash
  }

  hasTried (upstream: { readonly id: string }): boolean {
    for (const { upstream: { id }, outcome } of this.leases) if (id === upstream.id && outcome !== 'shed') return true
    return false
  }

  // What decides about repetition.

  get replayable (): boolean { return this.body?.replayable ?? true }

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

  bodyProgress (): void { this.#activity = this.now() }

  bodyTooLarge (): void {
    if (this.sink === undefined) this.giveUp('client-body', new BodyTooLargeError())
    else this.#breakOff('aborted', 'client-body', new BodyTooLargeError())
  }

  // What the transport tells.

  onSent (): void { if (this.#attempt !== undefined && !this.withheld) this.body?.attach(this.#attempt) }

  onInformational (status: number, headers: readonly string[]): void {
    if (status === 100) this.#release100()
    else if (this.sink === undefined) this.interim(status, headers)
  }

  onHead (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    const now = this.now()
    this.#activity = now
    this.lease!.head(status, now, headers)
    if (this.sink === undefined && this.isAnswered) return this.leave('answered')
    if (this.#resuming) {
      this.#resuming = !this.#resumption!.accepts(status, headers, complete ? 0 : length)
      if (!this.#resuming) return
      this.#drop('ok')
      this.log.warn({ upstream: this.lastUrl, status }, 'the rest of a broken response does not match')
      return this.#failSink(new UpstreamFailedError())
    }
    const unwanted = this.unwanted(status, headers, complete)
    if (unwanted !== '' && this.#mayRetry(unwanted)) {
      this.#drop('ok', unwanted)
      return this.#again()
    }
    // A final answer without the body: it is not wanted any more.
    this.withheld = false
    if (this.settings.resume && !complete && this.method === 'GET' && this.body === undefined) this.#resumption = Resumption.of(status, headers, length)
    this.sink = this.open(status, reason, headers, length, complete, now)
  }

  onData (chunk: Buffer, last: boolean): boolean {
    if (this.lease !== undefined) this.lease.received += chunk.length
    if (this.sink === undefined) return true
    this.#resumption?.received(chunk.length)
    const more = this.sink.write(chunk, last)
    if (!last || !more) this.#activity = this.now()
    this.#blocked = !more
    return more
  }

  onComplete (trailers: readonly string[] | undefined): void {
    // A retried answer's end comes after its lease was given back.
    if (this.sink === undefined) return
    if (trailers !== undefined) this.lease?.trailers(trailers)
    this.#release('ok')
    this.completing()
    this.sink.end(trailers)
    this.end(true)
  }

  onDrain (): void { this.body?.drained() }

  onUpgrade (headers: readonly string[], socket: Duplex, head: Buffer): void {
    const lease = this.lease!
    lease.head(101, this.now())
    this.#attempt = this.lease = undefined
    this.end()
    this.tunnel(lease, headers, socket, head)
  }

  onError (error: TransportError): void {
    const { phase, stale, code } = error
    // Our own lack: no upstream is to blame, and another one is no better.
    const ours = code === 'no-sockets'
    const outcome = ours ? 'shed' : phase === 'connect' ? 'failed-before-send' : 'failed-after-send'
    if (this.sink !== undefined) return this.#breakOff(outcome, code, error)
    if (ours) {
      this.#release(outcome, code)
      this.log.error({ err: error }, 'this process can open no more connections: raise its limit of open files, or lower maxConnections')
      return this.shed(code)
    }
    const repeat = mayRepeat(this, phase)
    if (stale && repeat) {
      // The keep-alive race is no fault of the upstream: neither counted nor a reason to avoid it.
      this.#release('shed', code)
      return this.next()
    }
    const again = repeat && this.#mayRetry(code, phase === 'connect')
    this.#release(stale ? 'shed' : outcome, code)
    if (again) return this.#again()
    this.log.warn({ err: error, attempts: this.attempts }, 'the upstream failed')
    this.answer(code === 'connect-timeout' ? new UpstreamTimeoutError() : new UpstreamFailedError(), code, error)
  }

  /** The deadline's turn: looks at what is due, as activity only moves a field. */
  expired (now: number): void {
    if (this.done) return
    if (this.withheld && this.#attempt !== undefined && now >= this.#activity + this.settings.continueTimeout) this.#release100()
    if (now < this.#due()) return this.#schedule()
    if (this.timeout > 0 && now >= this.startedAt + this.timeout) {
      if (this.sink !== undefined) return this.#breakOff('timed-out', 'timeout', new UpstreamTimeoutError(), false)
      this.log.warn({ upstream: this.lastUrl, attempts: this.attempts }, 'the whole time of the request is over')
      return this.giveUp('timeout', new UpstreamTimeoutError(), 'timed-out')
    }
    if (this.#answered) {
      // A client that does not read is no fault of the upstream, and nothing that another one could mend.
      if (this.#blocked || this.body?.starved === true) return this.#breakOff('aborted', 'client-idle', new Error('the client is idle'), false)
      return this.#breakOff('timed-out', 'idle-timeout', new UpstreamTimeoutError())
    }
    if (this.body?.starved === true && now >= this.#activity + this.settings.idleTimeout) return this.giveUp('client-idle', new SlowBodyError())
    const reason = now >= this.#activity + this.settings.headersTimeout ? 'headers-timeout' : 'try-timeout'
    if (this.#resuming) return this.#breakOff('timed-out', reason, new UpstreamTimeoutError())
    const again = this.repeatable && this.#mayRetry(reason)
    this.#drop('timed-out', reason)
    if (again) return this.#again()
    this.log.warn({ upstream: this.lastUrl, attempts: this.attempts, reason }, 'the upstream did not answer in time')
    this.answer(new UpstreamTimeoutError(), reason)
  }

  /** Whom the transport tells. */
  protected get handler (): AttemptHandler { return this }

  /** A new pool's turn. */
  protected ask (): void { this.next() }

  /** The answer has begun without us. */
  protected get isAnswered (): boolean { return false }

  /** Why an answer is better asked for elsewhere; '' when it is not. */
  protected unwanted (status: number, headers: readonly string[], _complete: boolean): string {
    return isRetryStatus(status, headers, this.settings, this.#pool, this) && this.repeatable ? `status-${status}` : ''
  }

  /** All of the answer is here, its end is about to be given. */
  protected completing (): void {}

  /** Breaks the answer that has begun. */
  protected fail (error: Error): void {
    this.sink!.fail(error)
  }

  protected next (): void {
    if (this.settings.explain) this.explanations.push(explainPick(this.#pool, this))
    const lease = this.#pool.pick(this)
    if (lease instanceof Lease) return this.#send(lease)
    this.#without(lease)
  }

  /** The fields to send: `headers`, or what asks for the rest of a broken response. */
  protected fields (headers: string[]): string[] {
    return this.#resuming ? this.#resumption!.request(headers) : headers
  }

  protected shed (reason: ShedReason): void {
    if (channels.shed.hasSubscribers) channels.shed.publish({ pool: this.#pool.name, reason, source: this.#pool })
    this.answer(reason === 'none-ready' ? new NoneReadyError() : reason === 'no-sockets' ? new NoSocketsError() : new OverloadedError(), reason)
  }

  /** Ends everything that runs, for a reason that is not the upstream's. */
  protected giveUp (reason: string, error: Error, outcome: Outcome = 'aborted'): void {
    this.#drop(outcome, reason)
    this.answer(error, reason)
  }

  protected answer (error: Error, reason: string, cause?: Error): void {
    this.end()
    this.refuse(error, reason, cause)
  }

  /** Nobody waits for the upstream's answer any more. */
  protected leave (reason: string): void {
    this.#drop('aborted', reason)
    this.end()
  }

  /** `complete`: with the whole of an upstream's answer. */
  protected end (_complete = false): void {
    this.done = true
    this.deadlines.cancel(this)
    // Where the answer did not wait for all of it, the client goes on sending and must be able to.
    this.body?.discard()
    this.#ticket?.leave()
    this.#ticket = undefined
    if (this.#backoff !== undefined) this.#pool.environment.clock.clearTimeout(this.#backoff)
    this.#backoff = undefined
  }

  protected get lastUrl (): string { return this.leases.at(-1)?.upstream.url ?? '' }

  protected now (): number { return this.#pool.environment.clock.now() }

  /** Whoever gets the answer has taken what was written. */
  protected readonly drained = (): void => {
    this.#activity = this.now()
    this.#blocked = false
    this.#attempt?.resume()
  }

  /** Another attempt: at once where somebody is untried, else after a pause. */
  #again (): void {
    if (this.#pool.ready.length === 0 || this.#pool.hasNext(this)) return this.next()
    const { clock, random } = this.#pool.environment
    this.#backoff = clock.setTimeout(() => {
      this.#backoff = undefined
      this.next()
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
  #elsewhere (why: ShedReason): void {
    const rest = this.hint?.strict === true ? undefined : this.#pools[this.#pools.indexOf(this.#pool) + 1]
    if (rest === undefined) return this.shed(why)
    this.#pool = rest
    this.#keyHash = -1
    this.ask()
  }

  #send (lease: Lease): void {
    this.lease = lease
    this.leases.push(lease)
    this.attempts++
    this.#activity = lease.startedAt
    this.#attempt = lease.upstream.transport.dispatch(this.request(lease), this.handler)
    this.#schedule(lease.startedAt)
  }

  #schedule (now: number = this.now()): void {
    const due = this.#due()
    // Meanwhile the head may come, or it may become the client's turn: then the time without a byte is what counts.
    if (this.lease !== undefined) this.deadlines.schedule(this, Math.min(due, now + this.settings.idleTimeout), now)
    else if (due !== Infinity) this.deadlines.schedule(this, due, now)
  }

  /** The running attempt's response head is here. */
  get #answered (): boolean {
    return this.sink !== undefined && !this.#resuming
  }

  #due (): number {
    return dueAt(
      this.settings, this.startedAt, this.#activity, this.lease?.startedAt, this.#answered, this.body?.starved === true, this.withheld, this.timeout
    )
  }

  /** The upstream wants the body, or waited long enough for it. */
  #release100 (): void {
    if (!this.withheld) return
    this.withheld = false
    this.#activity = this.now()
    if (this.#attempt !== undefined) this.body!.attach(this.#attempt)
  }

  /** `free`: no upstream has seen the request, so that another attempt multiplies nobody's load. */
  #mayRetry (reason: string, free = false): boolean {
    const { retries } = this.settings
    const unreached = isUnreached(reason)
    const passes = retries > 0 && unreached && this.#pool.passesOver(this)
    if (!passes && this.#retries + (unreached ? this.#passed : 0) >= retries) return false
    const allowed = free || this.#pool.retryBudget.take()
    if (passes) this.#passed++
    else if (allowed) this.#retries++
    this.#tellRetry(allowed ? reason : 'budget', !allowed)
    return allowed
  }

  #tellRetry (reason: string, refused: boolean): void {
    if (channels.retry.hasSubscribers) channels.retry.publish({ pool: this.#pool.name, reason, refused, source: this.#pool })
  }

  #release (outcome: Outcome, reason = ''): void {
    const { lease } = this
    this.lease = undefined
    this.#attempt = undefined
    if (this.body !== undefined) {
      if (lease !== undefined) lease.sent = this.body.sent
      this.body.detach()
    }
    lease?.release(outcome, reason)
  }

  /** The response broke off after its head: gone on with elsewhere where that is possible, else the answer breaks too. */
  #breakOff (outcome: Outcome, reason: string, error: Error, resumable = outcome !== 'aborted'): void {
    this.#drop(outcome, reason)
    this.log.warn({ err: error, upstream: this.lastUrl, reason }, 'the response broke off')
    const resumption = resumable ? this.#resumption : undefined
    const passes = isUnreached(reason) && this.#pool.passesOver(this)
    if (resumption === undefined || !(passes || (resumption.take() && this.#pool.retryBudget.take()))) return this.#failSink(error)
    this.#tellRetry(`resume-${reason}`, false)
    this.#resuming = true
    this.#retries++
    this.#again()
  }

  #failSink (error: Error): void {
    this.end()
    this.fail(error)
  }

  /** Ends the attempt from our side. */
  #drop (outcome: Outcome, reason = ''): void {
    const attempt = this.#attempt
    this.#release(outcome, reason)
    attempt?.abort()
  }
}
