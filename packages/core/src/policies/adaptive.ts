import type { Environment } from '../clock.ts'
import type { Candidate, PickContext, Policy, Selector } from './contract.ts'
import { fading } from './fading.ts'
import { Failures, faded } from './failures.ts'
import { SlotHeap } from './heap.ts'
import { Likeness } from './likeness.ts'
import { Walk } from './sample.ts'
import { highestSlot, reaching } from './slots.ts'

/**
 * Candidates looked at; all of them when there are no more. Two would cost a third more at p99, eight 2 %, sixteen 1 %. Of more, these
 * many and the one with the fewest in flight of all: with 1,000 alike the best of 32 is 1 % behind that.
 */
const CHOICES = 32
/** Weight of a new answer in the latency estimate, and how many it takes until it has no more than that. */
const SAMPLES = 30
/** Weight of a new sample in the usual number in flight, which stands for an upstream's capacity. */
const CAPACITY = 1 / 20
/** An overdue request still in flight counts for this part of an answered one. */
const OVERDUE = 1 / 20
/**
 * Milliseconds in which the estimate of one neither picked nor heard of falls by e: so everybody is tried again in the end.
 * A longer time costs healed upstreams their return, a shorter one tries those that are still slow more often.
 */
const FADE = 7000
/**
 * As long as so many of its fair turns, where that is longer: to one proxy of many, with little traffic of its own, each try of
 * a slow upstream is a larger part of its requests. But never longer than this many milliseconds.
 */
const FADE_TURNS = 100
const FADE_MOST = 30_000
/** Weight of one pick in the mean time between picks. A pause counts as no more than `FADE`. */
const PACE = 0.01
/** Milliseconds in which the weight of old answers falls by e: the first after a pause count for much. */
const AGE = 5000
/** A joiner counts as this many times the pool's latency until its first answer. */
const UNKNOWN = 2
/** Milliseconds over which the proxies' first tries of a joiner spread. */
const SPREAD = 2000
/** The cost is multiplied by 1 + this × the failure rate above what is the pool's own. */
const FAILURE_COST = 300
/**
 * Part of its own spread within which an upstream's latency differs from the pool's by chance, as a variance: such a difference is taken
 * for smaller than it looks, a larger one for what it is.
 */
const DOUBT = 0.25
/** In a larger pool nobody is ranked: the heap would not fit in a processor's cache, and cost more than all the rest of a pick. */
const RANKED = 4096
/** Milliseconds in which the number of answers that an upstream is known by falls by e: one that is tried seldom stays known as slow. */
const KNOWN = 30_000

// What a pick reads lies in one cache line per slot, what only an answer reads in another.
const WIDTH = 8
/** Latency estimate in ms; minus the multiple of the pool's that stands in for it, before the first answer and where it is alike. */
const LATENCY = 0
/** Requests in flight. */
const FLYING = 1
/** Those of them that wait for a response head, and the sum of their start times. */
const WAITING = 2
const BEGAN = 3
/** Time of the last pick or answer. */
const TOUCHED = 4
/** 1 / (weight × sqrt(1 + usual in flight / weight)), times the same root of the pool's usual number: 1 / weight where it is alike. */
const SCALE = 5
/** Share of failures as it was at the time of the last one; and that time. */
const FAILURE_SHARE = 6
const FAILED_AT = 7

// By place among the ready ones: the cost as it was last worked out, and behind it, as an integer, in which millisecond. A pick reads little
// else, so that those of 10,000 fit in a processor's cache.
const PRICES = 2
/** In integers. */
const PRICED_AT = 2
/** Room for the number of the last pick behind a cost in single precision; when that is used up the count begins anew. */
const TURNS = 2 ** 22
/**
 * Milliseconds that a cost is believed when nothing happened to its upstream: what fades is the same after so short a time, and
 * one that hangs is noticed that much later. Under load, most of the candidates looked at need not be worked out anew.
 */
const PRICE_AGE = 1
/** Stands for no millisecond: the cost has to be worked out. (Once in 49 days, when the count begins anew, it is one.) */
const UNPRICED = -(2 ** 31)

/** Moving mean of the number in flight that new requests find. */
const USUAL = 0
/** Moving mean of the square roots of latencies, the weight of what is in it, and when it last changed. */
const ROOT = 1
const SAMPLE_COUNT = 2
const HEARD_AT = 3
/** Number of its last pick. */
const TURN = 4
const WEIGHT = 5
/** How far what sets it apart is believed, 0–1; and the answers it is known by. */
const TRUST = 6
const ANSWERS = 7

/**
 * In latencies of the pool, so that those alike cost exactly the same. `typical`: latency of the pool; `free`: failure rate that costs
 * nothing; `fade`: as `FADE`.
 */
function costOf (hot: Float64Array, base: number, now: number, typical: number, free: number, fade: number): number {
  let latency = hot[base + LATENCY]!
  if (latency <= 0) latency = latency < 0 ? -latency * typical : typical
  const quiet = now - hot[base + TOUCHED]!
  if (quiet > 100) latency *= fading(quiet / fade)
  const waiting = hot[base + WAITING]!
  if (waiting > 0) {
    const overdue = waiting * (now - latency) - hot[base + BEGAN]! // the sum of age − latency
    if (overdue > 0) latency += overdue * OVERDUE
  }
  const cost = latency / typical * (hot[base + FLYING]! + 1) * hot[base + SCALE]!
  const failing = hot[base + FAILURE_SHARE]!
  if (failing <= free) return cost
  const excess = failing * faded(now - hot[base + FAILED_AT]!) - free
  return excess > 0 ? cost * (1 + FAILURE_COST * excess) : cost
}

const single = new Float32Array(1)
const bits = new Int32Array(single.buffer)

/**
 * A cost, above zero, in single precision with the number of the last pick behind it: where upstreams are alike many cost the same, which
 * no processor foresees, and one comparison is to find the lowest of them that was unpicked for longest.
 */
function priced (cost: number, turn: number): number {
  single[0] = cost
  return bits[0]! * TURNS + turn
}

/**
 * Expected latency × (in flight + 1) / capacity, priced up for failures; the lowest of up to 32 candidates.
 *
 * The latency estimate is a mean of square roots: single slow answers of heavy-tailed work do not mislead it, an upstream
 * that is 20 times slower still shows. Dividing by sqrt(1 + usual in flight) lets upstreams with more workers carry more; a
 * power of 0.6 or above runs away in large pools. Where upstreams are alike both terms are the same for all, and what is left is the
 * fewest in flight, the longest unpicked among equals. Failures count only above the pool's own rate: neither errors everywhere
 * nor a burst of rejections empties the pool.
 */
class Adaptive<T extends Candidate> implements Selector<T> {
  readonly #environment: Environment
  readonly #walk = new Walk()
  #ready: readonly T[] = []
  /** Slots of the ready ones: one number instead of an object to look at per candidate. */
  #slots: Int32Array<ArrayBuffer> = new Int32Array(0)
  /** By slot: the place among the ready ones; −1 for others. */
  #places: Int32Array<ArrayBuffer> = new Int32Array(0)
  #hot: Float64Array<ArrayBuffer> = new Float64Array(0)
  #cold: Float64Array<ArrayBuffer> = new Float64Array(0)
  #prices: Float64Array<ArrayBuffer> = new Float64Array(0)
  /** The same memory. */
  #priceTimes: Int32Array<ArrayBuffer> = new Int32Array(this.#prices.buffer)
  /** By slot: whom its numbers belong to. */
  readonly #owner: (T | undefined)[] = []
  readonly #likeness = new Likeness()
  readonly #failures = new Failures()
  /** Of more than are looked at, the one that the pick should not miss: fewest in flight, among those not known as bad. */
  readonly #heap = new SlotHeap()
  #ranked = false
  #turn = 0
  /** Mean milliseconds between picks, and when the last one was. */
  #pace = 0
  #lastPick = -1

  constructor (environment: Environment) {
    this.#environment = environment
  }

  rebuild (ready: readonly T[]): void {
    const now = this.#environment.clock.now()
    this.#likeness.resize(ready.length)
    for (let k = 0; k < this.#ready.length; k++) this.#places[this.#slots[k]!] = -1
    this.#ready = ready
    this.#reach(highestSlot(ready))
    if (this.#slots.length < ready.length) {
      this.#slots = new Int32Array(ready.length * 2)
      this.#prices = new Float64Array(ready.length * 2 * PRICES)
      this.#priceTimes = new Int32Array(this.#prices.buffer)
    }
    this.#priceTimes.fill(UNPRICED, 0, ready.length * PRICES * 2)
    for (let k = 0; k < ready.length; k++) {
      const candidate = ready[k]!
      const { slot } = candidate
      this.#slots[k] = slot
      this.#places[slot] = k
      if (this.#owner[slot] !== candidate) this.#begin(candidate, 1, now)
      else if (this.#cold[slot * WIDTH + WEIGHT] !== candidate.weight) this.#scale(candidate)
    }
    this.#walk.resize(ready.length, this.#environment.random)
    this.#fill()
  }

  select (_context: PickContext): T {
    const now = this.#environment.clock.now()
    const n = this.#ready.length
    const slots = this.#slots
    const hot = this.#hot
    const cold = this.#cold
    const typical = this.#typical()
    const free = this.#failures.free
    const fade = this.#fade()
    let left = n
    let at = 0
    let stride = 1
    if (n > CHOICES) {
      this.#walk.draw(this.#environment.random)
      left = CHOICES
      at = this.#walk.start
      stride = this.#walk.stride
    }
    const prices = this.#prices
    const priceTimes = this.#priceTimes
    const millisecond = Math.floor(now) | 0
    let best = -1
    let low = Infinity
    for (; left > 0; left--) {
      const price = at * PRICES
      if ((millisecond - priceTimes[price * 2 + PRICED_AT]!) >>> 0 >= PRICE_AGE) {
        const base = slots[at]! * WIDTH
        prices[price] = priced(costOf(hot, base, now, typical, free, fade), cold[base + TURN]!)
        priceTimes[price * 2 + PRICED_AT] = millisecond
      }
      const cost = prices[price]!
      if (cost < low) {
        low = cost
        best = at
      }
      at += stride
      // Less n when it has passed it, without a branch: where a stride wraps cannot be foreseen.
      at -= n & ((n - 1 - at) >> 31)
    }
    if (this.#ranked) {
      const top = this.#heap.top
      if (priced(costOf(hot, top * WIDTH, now, typical, free, fade), cold[top * WIDTH + TURN]!) < low) best = this.#places[top]!
    }
    return this.#ready[best]!
  }

  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    const now = this.#environment.clock.now()
    const typical = this.#typical()
    const free = this.#failures.free
    const fade = this.#fade()
    let best: T | undefined
    let low = Infinity
    for (const candidate of this.#ready) {
      const cost = costOf(this.#hot, candidate.slot * WIDTH, now, typical, free, fade)
      const better = best === undefined || cost < low || (cost === low && this.#longerUnpicked(candidate.slot, best.slot))
      if (!better || !usable(candidate)) continue
      best = candidate
      low = cost
    }
    return best
  }

  joined (candidate: T): void {
    this.#reach(candidate.slot)
    this.#begin(candidate, UNKNOWN, this.#soon())
  }

  recovered (candidate: T): void {
    if (this.#owner[candidate.slot] !== candidate) return
    const base = candidate.slot * WIDTH
    this.#hot[base + LATENCY] = -UNKNOWN
    this.#hot[base + TOUCHED] = this.#soon()
    this.#hot[base + FAILURE_SHARE] = 0
    this.#cold.fill(0, base + ROOT, base + HEARD_AT + 1)
    this.#cold[base + TRUST] = 1
    this.#cold[base + ANSWERS] = 0
    this.#failures.clear(candidate.slot)
    this.#changed(candidate.slot)
  }

  left (candidate: T): void {
    const { slot } = candidate
    if (this.#owner[slot] !== candidate) return
    this.#owner[slot] = undefined
    this.#likeness.flies(-this.#hot[slot * WIDTH + FLYING]!)
    this.#hot[slot * WIDTH + FLYING] = 0
  }

  started (candidate: T, now: number): void {
    const { slot } = candidate
    if (this.#owner[slot] !== candidate) return
    const base = slot * WIDTH
    const hot = this.#hot
    const cold = this.#cold
    cold[base + USUAL]! += (hot[base + FLYING]! - cold[base + USUAL]!) * CAPACITY
    if (this.#turn === TURNS - 1) this.#beginTurns()
    cold[base + TURN] = ++this.#turn
    this.#likeness.picked(hot[base + FLYING]! / candidate.weight)
    if (this.#lastPick >= 0) this.#pace += (Math.min(FADE, now - this.#lastPick) - this.#pace) * Math.max(1 / (this.#turn - 1), PACE)
    this.#lastPick = now
    this.#scale(candidate)
    hot[base + FLYING]!++
    this.#likeness.flies(1)
    hot[base + WAITING]!++
    hot[base + BEGAN]! += now
    hot[base + TOUCHED] = now
    this.#changed(slot)
  }

  answered (candidate: T, _now: number, startedAt: number): void {
    if (this.#owner[candidate.slot] !== candidate) return
    this.#waitsNoMore(candidate.slot * WIDTH, startedAt)
    this.#reprice(candidate.slot)
  }

  finished (candidate: T, now: number, startedAt: number, latency: number, ok: boolean | undefined, answered = false): void {
    if (this.#owner[candidate.slot] !== candidate) return
    const base = candidate.slot * WIDTH
    if (this.#hot[base + FLYING]! > 0) {
      this.#hot[base + FLYING]!--
      this.#likeness.flies(-1)
    }
    if (!answered) this.#waitsNoMore(base, startedAt)
    if (ok === true) this.#succeeded(base, now, latency)
    else if (ok === false) this.#failed(base, now)
    this.#changed(candidate.slot)
  }

  #succeeded (base: number, now: number, latency: number): void {
    const hot = this.#hot
    const cold = this.#cold
    hot[base + FAILURE_SHARE] = this.#failures.succeeded(base / WIDTH)
    const likeness = this.#likeness
    const root = Math.sqrt(latency)
    const quiet = now - cold[base + HEARD_AT]!
    const kept = cold[base + SAMPLE_COUNT]! * fading(quiet / AGE)
    likeness.answered(root, cold[base + ROOT]!, kept)
    const samples = cold[base + SAMPLE_COUNT] = Math.min(SAMPLES, kept + 1)
    const answers = cold[base + ANSWERS] = Math.min(SAMPLES, cold[base + ANSWERS]! * fading(quiet / KNOWN) + 1)
    const apart = (cold[base + ROOT]! += (root - cold[base + ROOT]!) / samples) - likeness.typical
    const trust = cold[base + TRUST] = apart === 0 ? 0 : likeness.trust(apart, answers)
    const believed = likeness.typical + trust * apart * apart * apart / (apart * apart + DOUBT * likeness.spread / samples)
    hot[base + LATENCY] = trust > 0 ? believed * believed : -1
    hot[base + TOUCHED] = cold[base + HEARD_AT] = now
  }

  #failed (base: number, now: number): void {
    this.#hot[base + FAILURE_SHARE] = this.#failures.failed(base / WIDTH, now)
    this.#hot[base + FAILED_AT] = now
  }

  #waitsNoMore (base: number, startedAt: number): void {
    const hot = this.#hot
    if (hot[base + WAITING]! <= 0) return
    // With nobody left the sum is exactly 0: rounding errors must not pile up over days.
    hot[base + BEGAN] = --hot[base + WAITING]! === 0 ? 0 : hot[base + BEGAN]! - startedAt
  }

  /** Clears the slot's numbers for `candidate`. `multiple` of the pool's latency stands in for its own. */
  #begin (candidate: T, multiple: number, touched: number): void {
    const base = candidate.slot * WIDTH
    this.#owner[candidate.slot] = candidate
    this.#failures.clear(candidate.slot)
    this.#likeness.flies(candidate.load.inFlight - this.#hot[base + FLYING]!)
    this.#hot.fill(0, base, base + WIDTH)
    this.#cold.fill(0, base, base + WIDTH)
    this.#hot[base + LATENCY] = -multiple
    this.#hot[base + FLYING] = candidate.load.inFlight
    this.#cold[base + TRUST] = multiple === 1 ? 0 : 1
    this.#hot[base + TOUCHED] = touched
    this.#scale(candidate)
  }

  #scale (candidate: T): void {
    const { weight, slot } = candidate
    const base = slot * WIDTH
    const { usual, capacity } = this.#likeness
    this.#cold[base + WEIGHT] = weight
    const own = usual + this.#cold[base + TRUST]! * capacity * (this.#cold[base + USUAL]! / weight - usual)
    this.#hot[base + SCALE] = Math.sqrt((1 + usual) / (1 + own)) / weight
  }

  /** Something happened to it: its cost has to be worked out anew. */
  #reprice (slot: number): void {
    const place = this.#places[slot]!
    if (place >= 0) this.#priceTimes[place * PRICES * 2 + PRICED_AT] = UNPRICED
  }

  /** Its place in the heap as well. */
  #changed (slot: number): void {
    this.#reprice(slot)
    if (!this.#ranked || this.#places[slot]! < 0) return
    this.#rank(slot)
    this.#heap.update(slot)
  }

  #fill (): void {
    const ready = this.#ready
    this.#ranked = ready.length > CHOICES && ready.length <= RANKED
    if (this.#ranked) {
      this.#heap.reach(highestSlot(ready))
      for (const { slot } of ready) this.#rank(slot)
    }
    this.#heap.fill(this.#ranked ? ready : [])
  }

  /**
   * In the heap, a cost without what changes by itself. Nobody is ranked up for being fast: the fastest of many would be the luckiest,
   * and all proxies would meet there.
   */
  #rank (slot: number): void {
    const base = slot * WIDTH
    const hot = this.#hot
    const latency = hot[base + LATENCY]!
    const slowness = Math.max(1, latency <= 0 ? -latency : latency / this.#typical())
    const excess = Math.max(0, hot[base + FAILURE_SHARE]! - this.#failures.free)
    this.#heap.key[slot] = slowness * (hot[base + FLYING]! + 1) * hot[base + SCALE]! * (1 + FAILURE_COST * excess)
    this.#heap.tie[slot] = this.#cold[base + TURN]!
  }

  #typical (): number {
    const latency = this.#likeness.typical * this.#likeness.typical
    return latency > 0 ? latency : 1
  }

  #fade (): number {
    return Math.max(FADE, Math.min(FADE_MOST, FADE_TURNS * this.#pace * this.#ready.length))
  }

  /** All keep their order, and those that were not picked for long become equals. */
  #beginTurns (): void {
    const kept = TURNS / 2
    for (let turn = TURN; turn < this.#cold.length; turn += WIDTH) this.#cold[turn] = Math.max(0, this.#cold[turn]! - kept)
    this.#turn -= kept
    this.#priceTimes.fill(UNPRICED, 0, this.#ready.length * PRICES * 2)
    this.#fill()
  }

  #longerUnpicked (slot: number, than: number): boolean {
    return this.#cold[slot * WIDTH + TURN]! < this.#cold[than * WIDTH + TURN]!
  }

  /** As if last touched a moment ago that differs by proxy: so not all of them try a newcomer at once. */
  #soon (): number {
    return this.#environment.clock.now() - this.#environment.random() * SPREAD
  }

  #reach (slot: number): void {
    this.#hot = reaching(this.#hot, slot * WIDTH + WIDTH - 1)
    this.#cold = reaching(this.#cold, slot * WIDTH + WIDTH - 1)
    this.#failures.reach(slot)
    if (slot < this.#places.length) return
    const grown = new Int32Array(this.#hot.length / WIDTH).fill(-1)
    grown.set(this.#places)
    this.#places = grown
  }
}

/** The default. */
export const adaptive: Policy = {
  name: 'adaptive',
  describe: 'Lowest expected latency by recent answers, requests in flight and failures; tries everybody again in the end.',
  create: <T extends Candidate> (environment: Environment) => new Adaptive<T>(environment)
}
