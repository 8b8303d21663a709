import { type Eviction, Links, List } from './eviction.ts'

/** SIEVE (Zhang et al., NSDI 2024): one queue, one bit, and a hand that spares what was used since it last passed. */
export class Sieve implements Eviction {
  readonly #links: Links = new Links()
  readonly #queue: List = new List(this.#links)
  #hand = -1

  insert (slot: number, hash: number, cost: number): void {
    this.#links.add(slot, hash, cost, 0)
    this.#queue.push(slot)
  }

  touch (slot: number): void {
    this.#links.setState(slot, 1)
  }

  remove (slot: number): void {
    if (this.#hand === slot) this.#hand = this.#links.previous(slot)
    this.#queue.unlink(slot)
  }

  resize (slot: number, cost: number): void {
    this.#queue.resize(slot, cost)
  }

  cost (slot: number): number {
    return this.#links.cost(slot)
  }

  evict (): number {
    const [links, queue] = [this.#links, this.#queue]
    let slot = this.#hand === -1 ? queue.tail : this.#hand
    while (slot !== -1 && links.state(slot) === 1) {
      links.setState(slot, 0)
      const previous = links.previous(slot)
      slot = previous === -1 ? queue.tail : previous
    }
    if (slot === -1) return -1
    this.#hand = links.previous(slot)
    queue.unlink(slot)
    return slot
  }
}
