import type { Environment } from '../clock.ts'
import type { Candidate, PickContext, Policy, Selector } from './contract.ts'
import { Walk } from './sample.ts'

const CHOICES = 32
/** Milliseconds in which an unheard-of estimate, and a failure, fall by e: the exploration that keeps anybody from starving. */
const FADE = 5000
/** Milliseconds in which the weight of old answers falls by e: one that is tried again is judged by what it does now. */
const AGE = 5000
/** The cost is multiplied by 1 + this × failure rate. */
const FAILURE_COST = 100

interface Estimate {
  owner: Candidate
  mean: number
  /** Weight of the answers in `mean`, and the time of the last. */
  answers: number
  heard: number
  failing: number
  /** Time of the last pick or answer. */
  touched: number
  turn: number
}

class LeastTime<T extends Candidate> implements Selector<T> {
  readonly #environment: Environment
  readonly #walk = new Walk()
  readonly #estimates: (Estimate | undefined)[] = []
  #ready: readonly T[] = []
  #mean = 0
  #turn = 0

  constructor (environment: Environment) {
    this.#environment = environment
  }

  rebuild (ready: readonly T[]): void {
    this.#ready = ready
    for (const candidate of ready) if (this.#estimates[candidate.slot]?.owner !== candidate) this.joined(candidate)
    this.#walk.resize(ready.length, this.#environment.random)
  }

  select (_context: PickContext): T {
    const ready = this.#ready
    const n = ready.length
    let at = 0
    let stride = 1
    if (n > CHOICES) {
      this.#walk.draw(this.#environment.random)
      at = this.#walk.start
      stride = this.#walk.stride
    }
    const now = this.#environment.clock.now()
    let best = ready[at]!
    let low = this.#cost(best, now)
    for (let left = Math.min(n, CHOICES) - 1; left > 0; left--) {
      at += stride
      if (at >= n) at -= n
      const candidate = ready[at]!
      const cost = this.#cost(candidate, now)
      if (cost > low || (cost === low && this.#estimates[candidate.slot]!.turn >= this.#estimates[best.slot]!.turn)) continue
      best = candidate
      low = cost
    }
    return best
  }

  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    const now = this.#environment.clock.now()
    let best: T | undefined
    let low = Infinity
    for (const candidate of this.#ready) {
      const cost = this.#cost(candidate, now)
      if (!(cost < low || best === undefined) || !usable(candidate)) continue
      best = candidate
      low = cost
    }
    return best
  }

  started (candidate: T, now: number): void {
    const estimate = this.#estimates[candidate.slot]
    if (estimate?.owner !== candidate) return
    estimate.touched = now
    estimate.turn = ++this.#turn
  }

  finished (candidate: T, now: number, _startedAt: number, latency: number, ok: boolean | undefined): void {
    const estimate = this.#estimates[candidate.slot]
    if (ok === undefined || estimate?.owner !== candidate) return
    // Failures say nothing of speed: counted apart, they cannot make the estimate look good.
    estimate.failing = (estimate.failing + ((ok ? 0 : 1) - estimate.failing) / 20) * Math.exp((estimate.touched - now) / FADE)
    estimate.touched = now
    if (!ok) return
    this.#mean = this.#mean === 0 ? latency : this.#mean + (latency - this.#mean) / 100
    estimate.answers = Math.min(20, estimate.answers * Math.exp((estimate.heard - now) / AGE) + 1)
    estimate.heard = now
    estimate.mean += (latency - estimate.mean) / estimate.answers
  }

  /** A joiner stands at the pool's mean until its first answer. */
  joined (candidate: T): void {
    const touched = this.#environment.clock.now()
    this.#estimates[candidate.slot] = { owner: candidate, mean: this.#mean, answers: 0, heard: touched, failing: 0, touched, turn: 0 }
  }

  left (candidate: T): void {
    if (this.#estimates[candidate.slot]?.owner === candidate) this.#estimates[candidate.slot] = undefined
  }

  recovered (candidate: T): void {
    if (this.#estimates[candidate.slot]?.owner === candidate) this.joined(candidate)
  }

  #cost (candidate: T, now: number): number {
    const { mean, failing, touched } = this.#estimates[candidate.slot]!
    const quiet = now - touched
    const fading = quiet > 100 ? Math.exp(-quiet / FADE) : 1
    return (mean || 1) * fading * (candidate.load.inFlight + 1) / candidate.weight * (1 + FAILURE_COST * failing * fading)
  }
}

/** Lowest moving mean of response times × (in flight + 1) / weight. */
export const leastTime: Policy = {
  name: 'least-time',
  describe: 'Lowest mean response time times requests in flight per weight; failures cost, old figures fade.',
  create: <T extends Candidate> (environment: Environment) => new LeastTime<T>(environment)
}
