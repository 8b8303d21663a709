import type { Clock, Environment } from '../clock.ts'
import { hash32, mix32 } from '../hash.ts'
import type { Candidate, PickContext, Policy, Selector } from './contract.ts'
import { Maglev } from './maglev.ts'

export interface HashOptions {
  /**
   * Nobody gets more than this many times its fair share of what is in flight, 1.05–100; `false`: no bound. Keys beyond it
   * go to their next choice. Leave it off where a key must not move at any price.
   * @default 1.25
   */
  readonly boundedLoad?: number | false
}

export const hashSchema: Readonly<Record<keyof HashOptions, object>> = {
  boundedLoad: { anyOf: [{ const: false }, { type: 'number', minimum: 1.05, maximum: 100 }] }
}

/** Up to this many are ranked per pick, exactly and without excess movement; above, a table is cheaper. */
const RANKED = 64
/** Requests at once, per average weight, that the bound always allows: an idle pool must not scatter its keys. */
const ALWAYS = 8
/** Next choices drawn from the table before the rest are taken in order. */
const DRAWS = 64

/** Consistent choice by a 32-bit key: weighted rendezvous for small sets, Maglev for large ones; with bounded load. */
export class HashSelector<T extends Candidate> implements Selector<T> {
  readonly #bound: number
  readonly #keyOf: (context: PickContext) => number
  readonly #maglev: Maglev<T>
  #ready: readonly T[] = []
  #first: Uint32Array<ArrayBuffer> = new Uint32Array(0)
  #second: Uint32Array<ArrayBuffer> = new Uint32Array(0)
  readonly #bySlot: (T | undefined)[] = []
  /** All weights are the same. */
  #equal = true
  /** 1 / weight / 2^32, in the order of the ready. */
  #lightness: Float64Array<ArrayBuffer> = new Float64Array(0)
  #tabled = false
  #flying = 0
  #totalWeight = 0

  constructor (clock: Clock, bound: number, keyOf: (context: PickContext) => number) {
    this.#maglev = new Maglev<T>(clock)
    this.#bound = bound
    this.#keyOf = keyOf
  }

  rebuild (ready: readonly T[]): void {
    for (const candidate of this.#ready) this.#bySlot[candidate.slot] = undefined
    this.#ready = ready
    this.#flying = this.#totalWeight = 0
    this.#equal = true
    for (const candidate of ready) {
      this.#bySlot[candidate.slot] = candidate
      if (candidate.weight !== ready[0]!.weight) this.#equal = false
      this.#flying += candidate.load.inFlight
      this.#totalWeight += candidate.weight
    }
    // The other scheme moves nearly all keys: a set that wavers around the limit keeps the one it has.
    this.#tabled = ready.length > (this.#tabled ? RANKED / 2 : RANKED)
    if (this.#tabled) return this.#maglev.rebuild(ready)
    this.#first = Uint32Array.from(ready, ({ id }) => hash32(id, 1))
    this.#second = Uint32Array.from(ready, ({ id }) => hash32(id, 2))
    this.#lightness = Float64Array.from(ready, ({ weight }) => 1 / weight / 4294967296)
  }

  select (context: PickContext): T {
    const key = this.#keyOf(context)
    if (!this.#tabled) {
      const favourite = this.#best(key, undefined)!
      return this.#hasRoom(favourite) ? favourite : this.#best(key, this.#underBound) ?? favourite
    }
    let hash = key
    for (let draw = 0; draw < DRAWS; draw++) {
      const candidate = this.#maglev.at(hash)
      if (candidate !== undefined && this.#bySlot[candidate.slot] === candidate && this.#hasRoom(candidate)) return candidate
      hash = next(hash)
    }
    return this.#inOrder(key, this.#underBound) ?? this.#ready[key % this.#ready.length]!
  }

  alternative (context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    const key = this.#keyOf(context)
    if (!this.#tabled) return this.#best(key, usable)
    let hash = key
    for (let draw = 0; draw < DRAWS; draw++) {
      const candidate = this.#maglev.at(hash)
      if (candidate !== undefined && this.#bySlot[candidate.slot] === candidate && usable(candidate)) return candidate
      hash = next(hash)
    }
    return this.#inOrder(key, usable)
  }

  started (candidate: T): void { if (this.#bySlot[candidate.slot] === candidate) this.#flying++ }
  finished (candidate: T): void { if (this.#bySlot[candidate.slot] === candidate) this.#flying-- }

  readonly #underBound = (candidate: T): boolean => this.#hasRoom(candidate)

  #hasRoom ({ load, weight }: T): boolean {
    if (this.#bound === Infinity) return true
    const share = weight / this.#totalWeight
    const most = Math.max(ALWAYS * share * this.#ready.length, Math.ceil(this.#bound * (this.#flying + 1) * share))
    return load.inFlight < most
  }

  /**
   * Weighted rendezvous: the lowest −ln(h) / weight; with equal weights that is the highest h. As −ln(h) is at least 1 − h, only
   * those few that may be the lowest by that have their logarithm taken.
   */
  #best (key: number, usable: ((candidate: T) => boolean) | undefined): T | undefined {
    const ready = this.#ready
    const first = this.#first
    const second = this.#second
    const lightness = this.#lightness
    const equal = this.#equal
    let best = -1
    let low = Infinity
    for (let k = 0; k < ready.length; k++) {
      // Two hashes of the id, since two ids may share one.
      const hash = mix32((key ^ first[k]!) + second[k]!)
      let score = -hash
      if (!equal) {
        score = (4294967295.5 - hash) * lightness[k]!
        if (score < low) score = -Math.log((hash + 0.5) / 4294967296) * 4294967296 * lightness[k]!
      }
      if (score >= low || (usable !== undefined && !usable(ready[k]!))) continue
      best = k
      low = score
    }
    return best < 0 ? undefined : ready[best]!
  }

  #inOrder (key: number, usable: (candidate: T) => boolean): T | undefined {
    const n = this.#ready.length
    for (let k = 0; k < n; k++) {
      const candidate = this.#ready[(key + k) % n]!
      if (usable(candidate)) return candidate
    }
    return undefined
  }
}

/** Next choices lie anywhere in the table: what one gives up spreads over all, not over its neighbour on a ring. */
function next (hash: number): number { return mix32(hash + 0x9e3779b9) }

/** Checks the option; `Infinity` stands for no bound. */
export function boundOf ({ boundedLoad = 1.25 }: HashOptions): number {
  if (boundedLoad === false) return Infinity
  if (!(boundedLoad >= 1.05 && boundedLoad <= 100)) throw new RangeError(`boundedLoad must be false or within 1.05–100, not ${boundedLoad}`)
  return boundedLoad
}

/** Consistent hashing on the request's key. */
export function hash (options: HashOptions = {}): Policy {
  const bound = boundOf(options)
  return {
    name: 'hash',
    describe: "Consistent hashing of the request's key, with bounded load: few keys move when the pool changes.",
    create: <T extends Candidate> ({ clock }: Environment) => new HashSelector<T>(clock, bound, (context) => context.keyHash)
  }
}
