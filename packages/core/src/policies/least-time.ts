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

/**
 * What is known of an upstream stands in a row of numbers, as long as a line of the processor's cache: a pick looks at 32 of them, and each
 * object that it had to follow would be one wait for memory more.
 */
/** What it costs when something was heard of it lately, as nearly always. */
const PRICE = 0
/** Time of the last pick or answer. */
const TOUCHED = 1
const TURN = 2
/** The price of one that does not fail. */
const BASE = 3
const FAILING = 4
const MEAN = 5
/** Weight of the answers in the mean, and the time of the last. */
const ANSWERS = 6
const HEARD = 7
const ROW = 8

class LeastTime<T extends Candidate> implements Selector<T> {
  readonly #environment: Environment
  readonly #walk = new Walk()
  /** By slot. */
  readonly #owners: (T | undefined)[] = []
  #rows = new Float64Array(0)
  #ready: readonly T[] = []
  /** Where the rows of those begin. */
  #places = new Uint32Array(0)
  #mean = 0
  #turn = 0

  constructor (environment: Environment) {
    this.#environment = environment
  }

  rebuild (ready: readonly T[]): void {
    this.#ready = ready
    this.#places = Uint32Array.from(ready, ({ slot }) => slot * ROW)
    for (const candidate of ready) {
      if (this.#owners[candidate.slot] !== candidate) this.joined(candidate)
      this.#price(candidate)
    }
    this.#walk.resize(ready.length, this.#environment.random)
  }

  select (_context: PickContext): T {
    const rows = this.#rows
    const places = this.#places
    const n = places.length
    let at = 0
    let stride = 1
    if (n > CHOICES) {
      this.#walk.draw(this.#environment.random)
      at = this.#walk.start
      stride = this.#walk.stride
    }
    const now = this.#environment.clock.now()
    let best = at
    let low = costOf(rows, places[at]!, now)
    for (let left = Math.min(n, CHOICES) - 1; left > 0; left--) {
      // No branch: which way it goes could not be foreseen.
      at += stride - n
      at += n & (at >> 31)
      const cost = costOf(rows, places[at]!, now)
      if (cost > low || (cost === low && rows[places[at]! + TURN]! >= rows[places[best]! + TURN]!)) continue
      best = at
      low = cost
    }
    return this.#ready[best]!
  }

  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    const now = this.#environment.clock.now()
    let best: T | undefined
    let low = Infinity
    for (const candidate of this.#ready) {
      const cost = costOf(this.#rows, candidate.slot * ROW, now)
      if (!(cost < low || best === undefined) || !usable(candidate)) continue
      best = candidate
      low = cost
    }
    return best
  }

  started (candidate: T, now: number): void {
    if (this.#owners[candidate.slot] !== candidate) return
    const row = candidate.slot * ROW
    this.#rows[row + TOUCHED] = now
    this.#rows[row + TURN] = ++this.#turn
    this.#price(candidate)
  }

  finished (candidate: T, now: number, _startedAt: number, latency: number, ok: boolean | undefined): void {
    if (this.#owners[candidate.slot] !== candidate) return
    if (ok !== undefined) this.#learn(candidate.slot * ROW, now, latency, ok)
    this.#price(candidate)
  }

  #learn (row: number, now: number, latency: number, ok: boolean): void {
    const rows = this.#rows
    // Failures say nothing of speed: counted apart, they cannot make the estimate look good.
    rows[row + FAILING] = (rows[row + FAILING]! + ((ok ? 0 : 1) - rows[row + FAILING]!) / 20) * Math.exp((rows[row + TOUCHED]! - now) / FADE)
    rows[row + TOUCHED] = now
    if (!ok) return
    this.#mean = this.#mean === 0 ? latency : this.#mean + (latency - this.#mean) / 100
    const answers = rows[row + ANSWERS] = Math.min(20, rows[row + ANSWERS]! * Math.exp((rows[row + HEARD]! - now) / AGE) + 1)
    rows[row + HEARD] = now
    rows[row + MEAN] = rows[row + MEAN]! + (latency - rows[row + MEAN]!) / answers
  }

  /** A joiner stands at the pool's mean until its first answer. */
  joined (candidate: T): void {
    const { slot } = candidate
    const row = slot * ROW
    if (row >= this.#rows.length) {
      const rows = new Float64Array(2 * row + ROW)
      rows.set(this.#rows)
      this.#rows = rows
    }
    const now = this.#environment.clock.now()
    this.#owners[slot] = candidate
    this.#rows.fill(0, row, row + ROW)
    this.#rows[row + MEAN] = this.#mean
    this.#rows[row + TOUCHED] = this.#rows[row + HEARD] = now
    this.#price(candidate)
  }

  left (candidate: T): void {
    if (this.#owners[candidate.slot] === candidate) this.#owners[candidate.slot] = undefined
  }

  recovered (candidate: T): void {
    if (this.#owners[candidate.slot] === candidate) this.joined(candidate)
  }

  #price ({ slot, load, weight }: T): void {
    const rows = this.#rows
    const row = slot * ROW
    rows[row + BASE] = (rows[row + MEAN]! || 1) * (load.inFlight + 1) / weight
    rows[row + PRICE] = faded(rows, row, 1)
  }
}

function costOf (rows: Float64Array, row: number, now: number): number {
  const quiet = now - rows[row + TOUCHED]!
  return quiet > 100 ? faded(rows, row, Math.exp(-quiet / FADE)) : rows[row + PRICE]!
}

function faded (rows: Float64Array, row: number, fading: number): number {
  return rows[row + BASE]! * fading * (1 + FAILURE_COST * rows[row + FAILING]! * fading)
}

/** Lowest moving mean of response times × (in flight + 1) / weight. */
export const leastTime: Policy = {
  name: 'least-time',
  describe: 'Lowest mean response time times requests in flight per weight; failures cost, old figures fade.',
  create: <T extends Candidate> (environment: Environment) => new LeastTime<T>(environment)
}
