import type { Clock, Environment } from '../clock.ts'
import type { Candidate, Policy, Selector } from './contract.ts'
import { BestOfTwo } from './two.ts'

/** Milliseconds in which an estimate falls by e. */
const FADE = 10_000
/** A failure counts as an answer that took this many times the pool's mean: failing fast must not attract. */
const FAILURE = 20

interface Estimate { owner: Candidate; peak: number; at: number }

/** Finagle's Peak EWMA: an answer slower than the estimate replaces it at once, a faster one pulls it down over 10 s. */
class PeakEwma<T extends Candidate> extends BestOfTwo<T> implements Selector<T> {
  readonly #clock: Clock
  readonly #estimates: (Estimate | undefined)[] = []
  #mean = 0

  constructor (environment: Environment) {
    super(environment.random)
    this.#clock = environment.clock
  }

  override rebuild (ready: readonly T[]): void {
    for (const candidate of ready) {
      if (this.#estimates[candidate.slot]?.owner !== candidate) this.#begin(candidate)
    }
    super.rebuild(ready)
  }

  finished (candidate: T, now: number, _startedAt: number, latency: number, ok: boolean | undefined): void {
    const estimate = this.#estimates[candidate.slot]
    if (ok === undefined || estimate?.owner !== candidate) return
    if (ok) this.#mean = this.#mean === 0 ? latency : this.#mean + (latency - this.#mean) / 100
    const sample = ok ? latency : Math.max(latency, this.#mean * FAILURE)
    const kept = Math.exp((estimate.at - now) / FADE)
    const present = estimate.peak * kept
    estimate.peak = sample > present ? sample : sample + (estimate.peak - sample) * kept
    estimate.at = now
  }

  left (candidate: T): void {
    if (this.#estimates[candidate.slot]?.owner === candidate) this.#estimates[candidate.slot] = undefined
  }

  recovered (candidate: T): void {
    if (this.#estimates[candidate.slot]?.owner === candidate) this.#begin(candidate)
  }

  protected cost (candidate: T): number {
    const { peak, at } = this.#estimates[candidate.slot]!
    // Fades while nothing is heard, so that one once slow is tried again.
    return (peak * Math.exp((at - this.#clock.now()) / FADE) || 1) * (candidate.load.inFlight / candidate.weight + 1)
  }

  /** Unknown ones stand at the pool's mean. */
  #begin (candidate: T): void {
    this.#estimates[candidate.slot] = { owner: candidate, peak: this.#mean, at: this.#clock.now() }
  }
}

/** Peak EWMA over two choices. */
export const peakEwma: Policy = {
  name: 'peak-ewma',
  describe: 'Of two drawn by weight, the lower peak-sensitive latency times requests in flight.',
  create: <T extends Candidate> (environment: Environment) => new PeakEwma<T>(environment)
}
