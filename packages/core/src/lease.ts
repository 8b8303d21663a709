import type { Pool } from './pool.ts'
import type { Upstream } from './upstream.ts'

/**
 * How one attempt ended. `ok`: a complete answer, of whatever status. `failed-before-send`: nothing of the request was
 * written. `failed-after-send`: written, then no (whole) answer. `timed-out`: a deadline of ours passed. `aborted`: the client
 * left. `shed`: we gave it up ourselves (limits, shutdown).
 */
export type Outcome = 'ok' | 'failed-before-send' | 'failed-after-send' | 'timed-out' | 'aborted' | 'shed'

/**
 * What made the pool take an upstream. `policy`: the policy's first choice. `alternative`: its next one, as the first was full or
 * already tried. `affinity`: the client belongs there. `trial`: an ejected upstream is tried out. `last-resort`: nobody is ready.
 */
export type Choice = 'policy' | 'alternative' | 'affinity' | 'trial' | 'last-resort'

/**
 * One attempt's claim on one upstream: taken by {@link Pool.pick}, released exactly once with an outcome. Load, passive
 * health, the half-open trial, channels and metrics all read that one outcome.
 */
export class Lease {
  readonly upstream: Upstream
  /** Clock time of the pick. */
  readonly startedAt: number
  /** 1 for a request's first attempt. */
  readonly attempt: number
  /** Clock time of the response head; −1 before it. */
  headAt = -1
  /** Clock time of the release; −1 before it. */
  endedAt = -1
  /** The response's status; 0 before the head. */
  status = 0
  /** How it ended, and why in a word; '' before the end. */
  outcome: Outcome | '' = ''
  reason = ''
  /** What made the pool take this upstream. */
  readonly choice: Choice
  /** Bytes of bodies that passed, counted by whoever sends. */
  sent = 0
  received = 0
  /** The request's method, set by whoever sends; '' at layer 4. */
  method = ''
  #proven = false
  readonly pool: Pool

  constructor (pool: Pool, upstream: Upstream, startedAt: number, choice: Choice, attempt: number) {
    this.pool = pool
    this.upstream = upstream
    this.startedAt = startedAt
    this.choice = choice
    this.attempt = attempt
  }

  /** This attempt decides whether an ejected upstream comes back. */
  get trial (): boolean { return this.choice === 'trial' }
  get released (): boolean { return this.endedAt !== -1 }

  /** The response head is here; `headers` is its flat list of names and values, where there is one. */
  head (status: number, now: number, headers?: readonly string[]): void {
    this.status = status
    this.headAt = now
    this.pool.answered(this, headers)
  }

  /** The response has ended with trailer fields; a flat list of names and values. Called before the release. */
  trailers (trailers: readonly string[]): void {
    this.pool.trailed(this, trailers)
  }

  /**
   * The upstream has shown that it is back, though the exchange goes on, perhaps for hours: a trial need not wait for its end.
   * Called by layer 4 when a connection stands.
   */
  prove (): void {
    if (this.#proven || this.released) return
    this.#proven = true
    this.pool.proved(this)
  }

  get proven (): boolean { return this.#proven }

  /** Gives the claim back. Later calls do nothing and return false: the first outcome counts. */
  release (outcome: Outcome, reason = ''): boolean {
    if (this.endedAt !== -1) return false
    this.outcome = outcome
    this.reason = reason
    this.pool.released(this, outcome, reason)
    return true
  }
}
