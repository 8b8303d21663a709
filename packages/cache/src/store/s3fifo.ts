import { List, type Eviction, type Place } from './eviction.ts'
import { Ghost } from './ghost.ts'

/**
 * S3-FIFO (Yang, Zhang et al., SOSP 2023): new ones pass through a small queue, from which only those that were used again reach
 * the main queue; a ghost list remembers who left too early. Scans cannot wash the cache out. The paper's shares: a tenth for the small
 * queue, and as much history as the main queue holds; both of what is there, since the bound may be one of entries as well as of bytes.
 */
export class S3Fifo<T> implements Eviction<T> {
  readonly #small: List<T> = new List()
  readonly #main: List<T> = new List()
  readonly #ghost: Ghost = new Ghost()

  insert (place: Place<T>): void {
    place.uses = 0
    place.main = this.#ghost.take(place.hash)
    this.#listOf(place).push(place)
  }

  touch (place: Place<T>): void {
    if (place.uses < 3) place.uses++
  }

  remove (place: Place<T>): void {
    this.#listOf(place).unlink(place)
  }

  resize (place: Place<T>, cost: number): void {
    this.#listOf(place).resize(place, cost)
  }

  evict (): Place<T> | undefined {
    for (;;) {
      const fromSmall = this.#small.tail !== undefined && (this.#main.tail === undefined || this.#small.cost * 9 > this.#main.cost)
      const place = fromSmall ? this.#small.tail : this.#main.tail
      if (place === undefined) return undefined
      this.remove(place)
      if (fromSmall) {
        if (place.uses === 0) {
          this.#ghost.remember(place.hash, place.cost, (this.#small.cost + this.#main.cost) * 0.9)
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

  #listOf ({ main }: Place<T>): List<T> {
    return main ? this.#main : this.#small
  }
}
