const BUCKETS = 10

/** Counts of what happened in the last `length` ms, in ten buckets: off by at most a tenth of its length. */
export class SlidingWindow {
  readonly #width: number
  readonly #totals = new Uint32Array(BUCKETS)
  readonly #failures = new Uint32Array(BUCKETS)
  #current = -1
  total = 0
  failed = 0

  /** `length` in milliseconds. */
  constructor (length: number) {
    this.#width = length / BUCKETS
  }

  add (now: number, failed: boolean): void {
    this.#turn(now)
    const at = this.#current % BUCKETS
    this.#totals[at]!++
    this.total++
    if (failed) {
      this.#failures[at]!++
      this.failed++
    }
  }

  clear (): void {
    this.#totals.fill(0)
    this.#failures.fill(0)
    this.total = this.failed = 0
  }

  #turn (now: number): void {
    const bucket = Math.floor(now / this.#width)
    if (bucket === this.#current) return
    if (this.#current === -1 || bucket - this.#current >= BUCKETS) this.clear()
    else {
      for (let old = this.#current + 1; old <= bucket; old++) {
        const at = old % BUCKETS
        this.total -= this.#totals[at]!
        this.failed -= this.#failures[at]!
        this.#totals[at] = this.#failures[at] = 0
      }
    }
    this.#current = bucket
  }
}
