import type { Clock } from './clock.ts'

export interface RetryBudgetOptions {
  /** Retries allowed per live request, 0–10. @default 0.2 */
  readonly ratio?: number
  /** Retries per second allowed on top, so that small traffic can be retried too; 0–100,000. @default 10 */
  readonly perSecond?: number
}

const SECONDS = 10

/**
 * Keeps retries from multiplying load: over the last 10 seconds, retries ≤ ratio × requests + perSecond × 10 (the rule of
 * Finagle's RetryBudget). A ring of one-second counters: O(1) and without timers.
 */
export class RetryBudget {
  readonly #clock: Clock
  readonly #ratio: number
  readonly #floor: number
  readonly #requests = new Float64Array(SECONDS)
  readonly #retries = new Float64Array(SECONDS)
  #second = -1
  #requestSum = 0
  #retrySum = 0

  constructor (clock: Clock, options: RetryBudgetOptions = {}) {
    this.#clock = clock
    this.#ratio = options.ratio ?? 0.2
    this.#floor = (options.perSecond ?? 10) * SECONDS
  }

  /** A client request came in. */
  request (now: number): void {
    this.#turn(now)
    this.#requests[this.#second % SECONDS]! += 1
    this.#requestSum++
  }

  /** Takes one retry out of the budget; false when there is none left. */
  take (): boolean {
    this.#turn(this.#clock.now())
    if (this.#retrySum + 1 > this.#ratio * this.#requestSum + this.#floor) return false
    this.#retries[this.#second % SECONDS]! += 1
    this.#retrySum++
    return true
  }

  /** Retries that could be taken now. */
  get available (): number {
    this.#turn(this.#clock.now())
    return Math.max(0, Math.floor(this.#ratio * this.#requestSum + this.#floor - this.#retrySum))
  }

  #turn (now: number): void {
    const second = Math.floor(now / 1000)
    if (second === this.#second) return
    const passed = this.#second === -1 ? SECONDS : Math.min(SECONDS, Math.max(0, second - this.#second))
    for (let i = 0; i < passed; i++) {
      const slot = (second - i + SECONDS * 2) % SECONDS
      this.#requestSum -= this.#requests[slot]!
      this.#retrySum -= this.#retries[slot]!
      this.#requests[slot] = this.#retries[slot] = 0
    }
    if (second > this.#second) this.#second = second
  }
}
