import { Floats, Integers } from './columns.ts'

/** Decides who goes when a store is full. Entries are known by slots, small numbers that are used again; costs are bytes. */
export interface Eviction {
  /** `hash`: 32 bits of the key, by which it is known when it comes again. */
  insert (slot: number, hash: number, cost: number): void
  /** Hot: called for each hit. */
  touch (slot: number): void
  remove (slot: number): void
  /** It costs something else now. */
  resize (slot: number, cost: number): void
  /** What it costs. */
  cost (slot: number): number
  /** Takes the next victim out; −1 when nothing is left. */
  evict (): number
}

const NONE = -1
const [PREVIOUS, NEXT, STATE] = [0, 1, 2]

/** What policies with lists keep of each slot, without an object of its own: that of a million is a million to trace for the collector. */
export class Links {
  readonly #links: Integers = new Integers(3)
  readonly #hashes: Integers = new Integers(1)
  readonly #costs: Floats = new Floats()

  add (slot: number, hash: number, cost: number, state: number): void {
    this.#links.grow(slot)
    this.#hashes.grow(slot)
    this.#costs.grow(slot)
    this.#links.set(slot, STATE, state)
    this.#hashes.set(slot, 0, hash)
    this.#costs.set(slot, cost)
  }

  previous (slot: number): number { return this.#links.get(slot, PREVIOUS) }
  next (slot: number): number { return this.#links.get(slot, NEXT) }
  /** The policy's own number. */
  state (slot: number): number { return this.#links.get(slot, STATE) }
  hash (slot: number): number { return this.#hashes.get(slot, 0) }
  cost (slot: number): number { return this.#costs.get(slot) }
  setPrevious (slot: number, to: number): void { this.#links.set(slot, PREVIOUS, to) }
  setNext (slot: number, to: number): void { this.#links.set(slot, NEXT, to) }
  setState (slot: number, state: number): void { this.#links.set(slot, STATE, state) }
  setCost (slot: number, cost: number): void { this.#costs.set(slot, cost) }
}

/** Doubly linked list of slots: newest at the head. −1 stands for none. */
export class List {
  readonly #links: Links
  head: number = NONE
  tail: number = NONE
  cost = 0

  constructor (links: Links) {
    this.#links = links
  }

  push (slot: number): void {
    const links = this.#links
    links.setPrevious(slot, NONE)
    links.setNext(slot, this.head)
    if (this.head !== NONE) links.setPrevious(this.head, slot)
    this.head = slot
    if (this.tail === NONE) this.tail = slot
    this.cost += links.cost(slot)
  }

  unlink (slot: number): void {
    const links = this.#links
    const [previous, next] = [links.previous(slot), links.next(slot)]
    if (previous === NONE) this.head = next
    else links.setNext(previous, next)
    if (next === NONE) this.tail = previous
    else links.setPrevious(next, previous)
    this.cost -= links.cost(slot)
  }

  resize (slot: number, cost: number): void {
    this.cost += cost - this.#links.cost(slot)
    this.#links.setCost(slot, cost)
  }
}
