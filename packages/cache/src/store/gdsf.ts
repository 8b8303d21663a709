import { Floats, Integers } from './columns.ts'
import type { Eviction } from './eviction.ts'

const [AT, USES] = [0, 1]

/**
 * GreedyDual-Size-Frequency (Cherkasova, 1998): keeps many small, often used ones; best object hit ratio, at the price of large
 * ones. A binary heap by priority = clock + uses / cost, where the clock is the priority of the last victim.
 */
export class Gdsf implements Eviction {
  /** Slots, in a heap; where each is in it, and how often it was used. */
  readonly #heap: Integers = new Integers(1)
  readonly #counts: Integers = new Integers(2)
  readonly #priorities: Floats = new Floats()
  readonly #costs: Floats = new Floats()
  #length = 0
  #clock = 0

  insert (slot: number, _hash: number, cost: number): void {
    this.#counts.grow(slot)
    this.#priorities.grow(slot)
    this.#costs.grow(slot)
    this.#heap.grow(this.#length)
    this.#counts.set(slot, USES, 1)
    this.#costs.set(slot, cost)
    this.#priorities.set(slot, this.#clock + 1 / cost)
    this.#up(this.#length++, slot)
  }

  touch (slot: number): void {
    const uses = this.#counts.get(slot, USES) + 1
    this.#counts.set(slot, USES, uses)
    this.#priorities.set(slot, this.#clock + uses / this.#costs.get(slot))
    this.#down(this.#counts.get(slot, AT), slot)
  }

  remove (slot: number): void {
    const at = this.#counts.get(slot, AT)
    const last = this.#heap.get(--this.#length, 0)
    if (last === slot) return
    this.#up(at, last)
    this.#down(this.#counts.get(last, AT), last)
  }

  resize (slot: number, cost: number): void {
    this.#costs.set(slot, cost)
    this.#priorities.set(slot, this.#clock + this.#counts.get(slot, USES) / cost)
    this.#up(this.#counts.get(slot, AT), slot)
    this.#down(this.#counts.get(slot, AT), slot)
  }

  cost (slot: number): number {
    return this.#costs.get(slot)
  }

  evict (): number {
    if (this.#length === 0) return -1
    const slot = this.#heap.get(0, 0)
    this.#clock = this.#priorities.get(slot)
    this.remove(slot)
    return slot
  }

  #set (at: number, slot: number): void {
    this.#heap.set(at, 0, slot)
    this.#counts.set(slot, AT, at)
  }

  #priorityAt (at: number): number {
    return this.#priorities.get(this.#heap.get(at, 0))
  }

  /** Puts a slot at a place, or nearer to the top. */
  #up (from: number, slot: number): void {
    const priority = this.#priorities.get(slot)
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (this.#priorityAt(parent) <= priority) break
      this.#set(at, this.#heap.get(parent, 0))
      at = parent
    }
    this.#set(at, slot)
  }

  #down (from: number, slot: number): void {
    const priority = this.#priorities.get(slot)
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#length) break
      if (child + 1 < this.#length && this.#priorityAt(child + 1) < this.#priorityAt(child)) child++
      if (this.#priorityAt(child) >= priority) break
      this.#set(at, this.#heap.get(child, 0))
      at = child
    }
    this.#set(at, slot)
  }
}
