import type { Clock } from '../clock.ts'
import { hash32 } from '../hash.ts'
import type { Candidate } from './contract.ts'

/** Primes; the table's size must not follow n, or all keys would move. */
const SMALL = 65_537
const LARGE = 655_373
const LARGE_ABOVE = 6500

/**
 * Weighted Maglev table (NSDI 2016). Rebuilding takes milliseconds, so it is made over a base set and members that are not
 * ready just now are left in it: the caller passes over them. It is made anew, at most once a second (the large one: every
 * 5 s), when somebody is missing in it, a weight changed, or more than half of its members are away.
 */
export class Maglev<T extends Candidate> {
  readonly #clock: Clock
  #table: Int32Array<ArrayBuffer> = new Int32Array(0)
  #base: readonly T[] = []
  #weights: Float64Array<ArrayBuffer> = new Float64Array(0)
  readonly #indexes: number[] = []
  #ready: readonly T[] = []
  #stale = false
  #builtAt = -Infinity

  constructor (clock: Clock) {
    this.#clock = clock
  }

  rebuild (ready: readonly T[]): void {
    this.#ready = ready
    this.#stale = ready.length * 2 < this.#base.length
    for (const candidate of ready) {
      const index = this.#indexes[candidate.slot]
      if (index === undefined || this.#base[index] !== candidate || this.#weights[index] !== candidate.weight) this.#stale = true
    }
    if (this.#stale) this.#refresh()
  }

  /** The owner of `hash`, ready or not. */
  at (hash: number): T | undefined {
    if (this.#stale) this.#refresh()
    return this.#base[this.#table[hash % this.#table.length]!]
  }

  #refresh (): void {
    const now = this.#clock.now()
    if (now - this.#builtAt < (this.#table.length === LARGE ? 5000 : 1000)) return
    this.#stale = false
    this.#builtAt = now
    this.#build(this.#ready)
  }

  #build (base: readonly T[]): void {
    const n = base.length
    const large = n > (this.#table.length === LARGE ? LARGE_ABOVE / 2 : LARGE_ABOVE)
    const size = large ? LARGE : SMALL
    const table = this.#table.length === size ? this.#table.fill(-1) : new Int32Array(size).fill(-1)
    const at = new Int32Array(n)
    const skip = new Int32Array(n)
    const credit = new Float64Array(n)
    this.#weights = Float64Array.from(base, ({ weight }) => weight)
    let heaviest = 0
    for (let k = 0; k < n; k++) {
      const { id, slot, weight } = base[k]!
      at[k] = hash32(id, 1) % size
      skip[k] = 1 + hash32(id, 2) % (size - 1)
      this.#indexes[slot] = k
      if (weight > heaviest) heaviest = weight
    }
    // Everybody takes the next free place of its own permutation in turn; a lighter one sits out turns in proportion.
    for (let taken = 0; taken < size;) {
      for (let k = 0; k < n && taken < size; k++) {
        credit[k]! += this.#weights[k]! / heaviest
        if (credit[k]! < 1) continue
        credit[k]!--
        let place = at[k]!
        while (table[place]! >= 0) {
          place += skip[k]!
          if (place >= size) place -= size
        }
        table[place] = k
        at[k] = place
        taken++
      }
    }
    this.#table = table
    this.#base = base
  }
}
