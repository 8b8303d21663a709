import type { Entry } from '../entry.ts'
import { type Eviction, Place } from './eviction.ts'

export interface Bounds {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly eviction: Eviction<Entry>
}

/** Entries under a bound of bytes and of their number: what goes beyond it makes others go, which `dropped` is told of. */
export class Places {
  readonly #places: Map<Entry, Place<Entry>> = new Map()
  readonly #bounds: Bounds
  readonly #dropped: (entry: Entry, evicted: boolean) => void
  #bytes = 0

  constructor (bounds: Bounds, dropped: (entry: Entry, evicted: boolean) => void) {
    this.#bounds = bounds
    this.#dropped = dropped
  }

  get bytes (): number { return this.#bytes }
  get size (): number { return this.#places.size }

  has (entry: Entry): boolean {
    return this.#places.has(entry)
  }

  values (): Iterable<Entry> {
    return this.#places.keys()
  }

  touch (entry: Entry): void {
    const place = this.#places.get(entry)
    if (place !== undefined) this.#bounds.eviction.touch(place)
  }

  /** `key` is what it is known by when it comes again. */
  add (entry: Entry, key: string, cost: number): void {
    const place = new Place(entry, key, cost)
    this.#places.set(entry, place)
    this.#bounds.eviction.insert(place)
    this.#bytes += cost
    this.#shrink()
  }

  resize (entry: Entry, cost: number): void {
    const place = this.#places.get(entry)
    if (place === undefined) return
    this.#bytes += cost - place.cost
    this.#bounds.eviction.resize(place, cost)
    this.#shrink()
  }

  /** `evicted`: for want of room. */
  remove (entry: Entry, evicted: boolean = false): boolean {
    const place = this.#places.get(entry)
    if (place === undefined) return false
    this.#bounds.eviction.remove(place)
    this.#forget(place, evicted)
    return true
  }

  #shrink (): void {
    while (this.#bytes > this.#bounds.maxBytes || this.#places.size > this.#bounds.maxEntries) {
      const victim = this.#bounds.eviction.evict()
      if (victim === undefined) break
      this.#forget(victim, true)
    }
  }

  #forget (place: Place<Entry>, evicted: boolean): void {
    this.#places.delete(place.value)
    this.#bytes -= place.cost
    this.#dropped(place.value, evicted)
  }
}
