import { type Eviction, Links, List } from './eviction.ts'
import { Ghost } from './ghost.ts'

/** State: uses seen, up to 3, and whether it is in the main queue. */
const USES = 3
const MAIN = 4

/**
 * S3-FIFO (Yang, Zhang et al., SOSP 2023): new ones pass through a small queue, from which only those that were used again reach
 * the main queue; a ghost list remembers who left too early. Scans cannot wash the cache out. The paper's shares: a tenth for the small
 * queue, and as much history as the main queue holds; both of what is there, since the bound may be one of entries as well as of bytes.
 */
export class S3Fifo implements Eviction {
  readonly #links: Links = new Links()
  readonly #small: List = new List(this.#links)
  readonly #main: List = new List(this.#links)
  readonly #ghost: Ghost = new Ghost()

  insert (slot: number, hash: number, cost: number): void {
    this.#links.add(slot, hash, cost, this.#ghost.take(hash) ? MAIN : 0)
    this.#listOf(slot).push(slot)
  }

  touch (slot: number): void {
    const state = this.#links.state(slot)
    if ((state & USES) < USES) this.#links.setState(slot, state + 1)
  }

  remove (slot: number): void {
    this.#listOf(slot).unlink(slot)
  }

  resize (slot: number, cost: number): void {
    this.#listOf(slot).resize(slot, cost)
  }

  cost (slot: number): number {
    return this.#links.cost(slot)
  }

  evict (): number {
    const links = this.#links
    for (;;) {
      const fromSmall = this.#small.tail !== -1 && (this.#main.tail === -1 || this.#small.cost * 9 > this.#main.cost)
      const slot = fromSmall ? this.#small.tail : this.#main.tail
      if (slot === -1) return -1
      this.remove(slot)
      const state = links.state(slot)
      if (fromSmall) {
        if (state === 0) {
          const cost = links.cost(slot)
          this.#ghost.remember(links.hash(slot), cost, (this.#small.cost + this.#main.cost) * 0.9)
          return slot
        }
        links.setState(slot, MAIN)
      } else {
        if (state === MAIN) return slot
        links.setState(slot, state - 1)
      }
      this.#main.push(slot)
    }
  }

  #listOf (slot: number): List {
    return (this.#links.state(slot) & MAIN) === 0 ? this.#small : this.#main
  }
}
