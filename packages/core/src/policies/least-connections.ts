import type { Candidate, PickContext, Policy, Selector } from './contract.ts'
import { SlotHeap } from './heap.ts'
import { highestSlot } from './slots.ts'

/**
 * Fewest requests in flight per weight; among equals whoever's turn is next in proportion to weights, so that an idle pool is
 * used as by weighted round robin and not its first member alone.
 */
class LeastConnections<T extends Candidate> implements Selector<T> {
  /** `key`: in flight / weight; `tie`: virtual time of the next turn. */
  readonly #heap = new SlotHeap()
  #ready: readonly T[] = []
  readonly #bySlot: (T | undefined)[] = []
  /** Virtual time: advances by one when every unit of weight had one turn. */
  #now = 0
  #totalWeight = 1

  rebuild (ready: readonly T[]): void {
    this.#ready = ready
    this.#heap.reach(highestSlot(ready))
    this.#totalWeight = 0
    const { key, tie } = this.#heap
    for (let k = 0; k < ready.length; k++) {
      const candidate = ready[k]!
      const { slot } = candidate
      this.#totalWeight += candidate.weight
      key[slot] = candidate.load.inFlight / candidate.weight
      // Newcomers queue up within the present period, in configured order.
      if (this.#bySlot[slot] !== candidate) tie[slot] = this.#now + k / ready.length / candidate.weight
      this.#bySlot[slot] = candidate
    }
    this.#heap.fill(ready)
  }

  select (_context: PickContext): T {
    return this.#bySlot[this.#heap.top]!
  }

  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    const { key, tie } = this.#heap
    let best: T | undefined
    for (const candidate of this.#ready) {
      const { slot } = candidate
      const better = best === undefined || key[slot]! < key[best.slot]! || (key[slot] === key[best.slot] && tie[slot]! < tie[best.slot]!)
      if (better && usable(candidate)) best = candidate
    }
    return best
  }

  started (candidate: T): void {
    const { slot, weight } = candidate
    if (!this.#heap.has(slot)) return
    const { tie } = this.#heap
    this.#now += 1 / this.#totalWeight
    // Turns that it missed while busy count for one period at most: else it would take a burst when it is idle again.
    tie[slot] = Math.max(tie[slot]!, this.#now - 1 / weight) + 1 / weight
    this.#count(candidate)
  }

  finished (candidate: T): void {
    this.#count(candidate)
  }

  left (candidate: T): void {
    if (this.#bySlot[candidate.slot] === candidate) this.#bySlot[candidate.slot] = undefined
  }

  #count (candidate: T): void {
    const { slot } = candidate
    if (!this.#heap.has(slot)) return
    this.#heap.key[slot] = candidate.load.inFlight / candidate.weight
    this.#heap.update(slot)
  }
}

/** Fewest requests in flight per weight, of all. */
export const leastConnections: Policy = {
  name: 'least-connections',
  describe: 'The one with the fewest requests in flight per weight; in turn among equals.',
  create: <T extends Candidate> () => new LeastConnections<T>()
}
