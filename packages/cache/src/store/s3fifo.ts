import { List, type Eviction, type Place } from './eviction.ts'

/**
 * S3-FIFO (Yang, Zhang et al., SOSP 2023): new ones pass through a small queue, from which only those that were used again reach
 * the main queue; a ghost list remembers who left too early. Scans cannot wash the cache out.
 */
export class S3Fifo<T> implements Eviction<T> {
  readonly #small: List<T> = new List()
  readonly #main: List<T> = new List()
  /** Insertion order is age, so a Map serves as the queue. */
  readonly #ghost: Map<string, number> = new Map()
  #ghostCost = 0
  readonly #smallTarget: number
  readonly #ghostTarget: number

  /** The paper's shares: a tenth for the small queue, and as much history as the main queue holds. */
  constructor (capacity: number) {
    this.#smallTarget = capacity / 10
    this.#ghostTarget = capacity - this.#smallTarget
  }

  insert (place: Place<T>): void {
    place.uses = 0
    const before = this.#ghost.get(place.hash)
    place.main = before !== undefined
    if (before !== undefined) {
      this.#ghost.delete(place.hash)
      this.#ghostCost -= before
    }
    (place.main ? this.#main : this.#small).push(place)
  }

  touch (place: Place<T>): void {
    if (place.uses < 3) place.uses++
  }

  remove (place: Place<T>): void {
    (place.main ? this.#main : this.#small).unlink(place)
  }

  resize (place: Place<T>, cost: number): void {
    (place.main ? this.#main : this.#small).resize(place, cost)
  }

  evict (): Place<T> | undefined {
    for (;;) {
      const fromSmall = this.#small.tail !== undefined && (this.#small.cost > this.#smallTarget || this.#main.tail === undefined)
      const place = fromSmall ? this.#small.tail : this.#main.tail
      if (place === undefined) return undefined
      this.remove(place)
      if (fromSmall) {
        if (place.uses === 0) {
          this.#remember(place)
          return place
        }
        place.main = true
        place.uses = 0
        this.#main.push(place)
      } else {
        if (place.uses === 0) return place
        place.uses--
        this.#main.push(place)
      }
    }
  }

  #remember ({ hash, cost }: Place<T>): void {
    this.#ghostCost += cost - (this.#ghost.get(hash) ?? 0)
    this.#ghost.delete(hash)
    this.#ghost.set(hash, cost)
    for (const [oldest, oldCost] of this.#ghost) {
      if (this.#ghostCost <= this.#ghostTarget && this.#ghost.size <= 100_000) break
      this.#ghost.delete(oldest)
      this.#ghostCost -= oldCost
    }
  }
}
