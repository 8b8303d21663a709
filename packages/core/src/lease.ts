import type { Pool } from './pool.ts'
import type { Upstream } from './upstream.ts'

/**
 * How one attempt ended. `ok`: a complete answer, of whatever status. `failed-before-send`: nothing of the request was
 * written. `failed-after-send`: written, then no (whole) answer. `timed-out`: a deadline of ours passed. `aborted`: the client
 * left. `shed`: we gave it up ourselves (limits, shutdown).
 */
export type Outcome = 'ok' | 'failed-before-send' | 'failed-after-send' | 'timed-out' | 'aborted' | 'shed'

/**
 * One attempt's claim on one upstream: taken by {@link Pool.pick}, released exactly once with an outcome. Load, passive
 * health, the half-open trial, channels and metrics all read that one outcome.
 */
export class Lease {
  readonly upstream: Upstream
  /** Clock time of the pick. */
  readonly startedAt: number
  /** This attempt decides whether an ejected upstream comes back. */
  readonly trial: boolean
  /** 1 for a request's first attempt. */
  readonly attempt: number
  /** Clock time of the response head; −1 before it. */
  headAt = -1
  /** The response's status; 0 before the head. */
  status = 0
  readonly #pool: Pool
  #released = false

  constructor (pool: Pool, upstream: Upstream, startedAt: number, trial: boolean, attempt: number) {
    this.#pool = pool
    this.upstream = upstream
    this.startedAt = startedAt
    this.trial = trial
    this.attempt = attempt
  }

  get released (): boolean { return this.#released }

  /** The response head is here. */
  head (status: number, now: number): void {
    this.status = status
    this.headAt = now
    this.#pool.answered(this)
  }

  /** Gives the claim back. Later calls do nothing and return false: the first outcome counts. */
  release (outcome: Outcome, reason = ''): boolean {
    if (this.#released) return false
    this.#released = true
    this.#pool.released(this, outcome, reason)
    return true
  }
}
