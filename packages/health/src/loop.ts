import { Deadline, type Deadlines } from '@headgate/core'
import { failed, type ProbeResult, failedBy } from './probes/contract.ts'

/** Milliseconds: a time limit that is noticed later than this, and what a turn gets on top then. */
const LATE = 500
const GRACE = 250

/**
 * Something that is done again and again, never twice at a time: each turn has a time limit and ends with a result, and says
 * when the next is due. It waits in the schedule that all loops share, and is its own time limit while it runs.
 */
export abstract class Loop<R extends ProbeResult = ProbeResult> extends Deadline {
  readonly #deadlines: Deadlines
  #turn = 0
  #startedAt = -Infinity
  #controller: AbortController | undefined
  /** A turn that was cut off but has not let go yet. */
  #hanging = false
  #stopped = true
  #graced = false

  constructor (deadlines: Deadlines) {
    super()
    this.#deadlines = deadlines
  }

  /** Milliseconds that a turn may take. */
  protected abstract readonly limit: number
  protected abstract now (): number
  /** Does one turn. What it throws is its result too. */
  protected abstract run (signal: AbortSignal): R | Promise<R>
  /** Called once for each turn. */
  protected abstract ended (result: R | ProbeResult, latency: number): void
  /** Milliseconds from the start of the last turn to that of the next; a turn that takes longer is followed at once. */
  protected abstract interval (): number
  /** Clock time until which a turn that is due may wait; at or before `now`: it may not. */
  protected postponedUntil (now: number): number { return now }

  get running (): boolean { return this.#controller !== undefined }
  /** Clock time at which the last turn began; −Infinity before the first. */
  get startedAt (): number { return this.#startedAt }

  /** Begins the first turn in `delay` ms. */
  start (delay: number): void {
    this.#stopped = false
    this.#deadlines.schedule(this, this.now() + delay)
  }

  /** Cuts off what runs; nothing is called any more. */
  stop (): void {
    this.#stopped = true
    this.#deadlines.cancel(this)
    this.#controller?.abort()
    this.#controller = undefined
  }

  /** Brings the next turn forward to `at`, clock time. */
  protected bringForward (at: number): void {
    if (!this.#stopped && !this.running) this.#deadlines.schedule(this, at)
  }

  expired (now: number): void {
    if (this.#stopped) return
    if (this.running) {
      // Late itself, this process may not have read yet what came in time: it gets a moment for that, once.
      if (now - this.#startedAt - this.limit > LATE && !this.#graced) {
        this.#graced = true
        return this.#deadlines.schedule(this, now + GRACE)
      }
      this.#hanging = true
      this.#controller!.abort()
      return this.#end(this.#turn, failed(`no answer within ${this.limit} ms`))
    }
    const later = this.postponedUntil(now)
    if (later > now) this.#deadlines.schedule(this, later)
    else this.#begin(now)
  }

  #begin (now: number): void {
    this.#startedAt = now
    this.#graced = false
    const turn = ++this.#turn
    const controller = this.#controller = new AbortController()
    if (this.#hanging) return this.#end(turn, failed('the previous check goes on after its time was over'))
    this.#deadlines.schedule(this, now + this.limit)
    try {
      const result = this.run(controller.signal)
      if (!(result instanceof Promise)) return this.#end(turn, result)
      result.then(
        (value) => { this.#settled(turn, value) },
        (error: unknown) => { this.#settled(turn, failedBy(error)) }
      )
    } catch (error) {
      this.#end(turn, failedBy(error))
    }
  }

  #settled (turn: number, result: R | ProbeResult): void {
    this.#hanging = false
    this.#end(turn, result)
  }

  #end (turn: number, result: R | ProbeResult): void {
    // A turn that was cut off has had its result.
    if (turn !== this.#turn || !this.running) return
    const now = this.now()
    this.#controller = undefined
    if (this.#stopped) return
    this.ended(result, now - this.#startedAt)
    // What came of it may have stopped this loop.
    if (!this.#stopped) this.#deadlines.schedule(this, Math.max(now, this.#startedAt + this.interval()))
  }
}
