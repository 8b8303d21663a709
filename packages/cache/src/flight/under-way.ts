import type { Fetch } from './fetch.ts'
import type { Flight } from './flight.ts'

/** Flights after which the map is made anew, at least. */
const RENEWED = 1024

/**
 * The flights under way, by their resource: for those who may join them, and for purges.
 *
 * V8 gives a Map a new table every few dozen changes, and the one that is left points to its successor: once one of them has got into the old
 * generation, each collection of the young one keeps all tables after it and what was in them when they were left, until the whole heap is
 * marked. With flights in them, and requests, responses and bodies behind these, that was half of what misses allocate. So the map is replaced
 * before the chain gets long.
 */
export class UnderWay {
  #byUrl: Map<string, Flight[]> = new Map()
  #size = 0
  #added = 0

  get size (): number { return this.#size }

  add (flight: Flight, fetch: Fetch): void {
    const { url } = flight.plan
    flight.fetch = fetch
    this.#size++
    if (++this.#added >= RENEWED && this.#added >= 4 * this.#size) {
      this.#added = 0
      this.#byUrl = new Map(this.#byUrl)
    }
    const list = this.#byUrl.get(url)
    if (list === undefined) this.#byUrl.set(url, [flight])
    else list.push(flight)
  }

  /** False when it was not under way any more. */
  delete (flight: Flight): boolean {
    if (flight.fetch === undefined) return false
    flight.fetch = undefined
    this.#size--
    const { url } = flight.plan
    const list = this.#byUrl.get(url)!
    if (list.length === 1) this.#byUrl.delete(url)
    else list.splice(list.indexOf(flight), 1)
    return true
  }

  /** Those of a resource. */
  of (url: string): readonly Flight[] | undefined {
    return this.#byUrl.get(url)
  }

  * all (): Iterable<Flight> {
    for (const list of this.#byUrl.values()) yield * list
  }
}
