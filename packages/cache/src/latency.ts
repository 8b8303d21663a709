const SAMPLES = 128

/** How long an origin takes to the head of its responses: the 95th percentile of its last 128, looked at anew every 16. */
export class Latency {
  readonly #samples: Float64Array = new Float64Array(SAMPLES)
  #count = 0
  #p95 = Number.POSITIVE_INFINITY

  /** Milliseconds; infinite until 16 responses have come. */
  get p95 (): number { return this.#p95 }

  add (ms: number): void {
    this.#samples[this.#count++ % SAMPLES] = ms
    if (this.#count % 16 !== 0) return
    const sorted = this.#samples.slice(0, Math.min(this.#count, SAMPLES)).sort()
    this.#p95 = sorted[Math.floor(sorted.length * 0.95)]!
  }
}
