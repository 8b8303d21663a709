import { type Histogram, quantile } from '@headgate/metrics'
import type { Figures } from './model.ts'

/** What is tracked: counters that only grow. */
export interface Source {
  readonly count: number
  readonly errors: number
  readonly latencies: Histogram
}

/** Share of a second's figures that is left after another second: what is shown is a mean over the last few. */
const FADE = 0.8

/** Turns counters that grow from 0 into rates and percentiles, second by second. */
export class Track {
  readonly #source: Source
  readonly #last: Float64Array
  readonly #fading: Float64Array
  readonly #delta: Float64Array
  #count = 0
  #errors = 0
  #seconds = 0
  /** Attempts and errors of the last step, per second. */
  rate = 0
  errors = 0
  #rate = 0
  #errorRate = 0

  constructor (source: Source) {
    this.#source = source
    const { counts } = source.latencies
    this.#last = new Float64Array(counts.length)
    this.#fading = new Float64Array(counts.length)
    this.#delta = new Float64Array(counts.length)
  }

  /** `seconds` have passed since the last step. */
  step (seconds: number): void {
    const { count, errors, latencies } = this.#source
    this.rate = (count - this.#count) / seconds
    this.errors = (errors - this.#errors) / seconds
    this.#count = count
    this.#errors = errors
    // Without the bias of an empty past: the first seconds count fully.
    this.#seconds = Math.min(1000, this.#seconds + 1)
    const share = Math.max(1 - FADE, 1 / this.#seconds)
    this.#rate += (this.rate - this.#rate) * share
    this.#errorRate += (this.errors - this.#errorRate) * share
    for (let i = 0; i < this.#last.length; i++) {
      this.#delta[i] = latencies.counts[i]! - this.#last[i]!
      this.#last[i] = latencies.counts[i]!
      const rest = this.#fading[i]! * FADE
      this.#fading[i] = (rest < 0.01 ? 0 : rest) + this.#delta[i]!
    }
  }

  /** What has come to the source since the last step was there before: it belongs to no second. */
  settle (): void {
    const { count, errors, latencies } = this.#source
    this.#count = count
    this.#errors = errors
    this.#last.set(latencies.counts)
  }

  /** A percentile of the last step alone. */
  last (q: number): number | null {
    return rounded(quantile(this.#source.latencies.bounds, this.#delta, q))
  }

  figures (): Figures {
    const { bounds } = this.#source.latencies
    return {
      rate: rounded(this.#rate) ?? 0,
      errorRate: rounded(this.#errorRate) ?? 0,
      p50: rounded(quantile(bounds, this.#fading, 0.5)),
      p95: rounded(quantile(bounds, this.#fading, 0.95)),
      p99: rounded(quantile(bounds, this.#fading, 0.99))
    }
  }
}

/** Three digits are enough to read, and what does not change is not sent again. */
export function rounded (value: number): number | null {
  if (Number.isNaN(value)) return null
  if (Math.abs(value) < 0.005) return 0
  return Number(value.toPrecision(3))
}
