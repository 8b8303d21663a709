import type { Entry } from '../entry.ts'
import { type Eviction, Place } from './eviction.ts'

export interface Bounds {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly eviction: Eviction<Entry>
}

/** Where the places of entries are kept. */
export interface PlaceMap {
  find (entry: Entry): Place<Entry> | undefined
  put (place: Place<Entry>): void
  take (place: Place<Entry>): void
}

/** The plain way. */
export function byEntry (): PlaceMap {
  const places = new Map<Entry, Place<Entry>>()
  return {
    find: (entry) => places.get(entry),
    put: (place) => { places.set(place.value, place) },
    take: (place) => { places.delete(place.value) }
  }
}

/** Entries under a bound of bytes and of their number: what goes beyond it makes others go, which `dropped` is told of. */
export class Places {
  readonly #map: PlaceMap
  readonly #bounds: Bounds
  readonly #dropped: (entry: Entry, evicted: boolean) => void
  #bytes = 0
  #size = 0

  constructor (map: PlaceMap, bounds: Bounds, dropped: (entry: Entry, evicted: boolean) => void) {
    this.#map = map
    this.#bounds = bounds
    this.#dropped = dropped
  }

  get bytes (): number { return this.#bytes }
  get size (): number { return this.#size }

  has (entry: Entry): boolean {
    return this.#map.find(entry) !== undefined
  }

  touch (entry: Entry): void {
    const place = this.#map.find(entry)
    if (place !== undefined) this.#bounds.eviction.touch(place)
  }

  /** `key` is what it is known by when it comes again. */
  add (entry: Entry, key: string, cost: number): void {
    const place = new Place(entry, key, cost)
    this.#map.put(place)
    this.#size++
    this.#bounds.eviction.insert(place)
    this.#bytes += cost
    this.#shrink()
  }

  resize (entry: Entry, cost: number): void {
    const place = this.#map.find(entry)
    if (place === undefined) return
    this.#bytes += cost - place.cost
    this.#bounds.eviction.resize(place, cost)
    this.#shrink()
  }

  /** `evicted`: for want of room. */
  remove (entry: Entry, evicted: boolean = false): boolean {
    const place = this.#map.find(entry)
    if (place === undefined) return false
    this.#bounds.eviction.remove(place)
    this.#forget(place, evicted)
    return true
  }

  #shrink (): void {
    while (this.#bytes > this.#bounds.maxBytes || this.#size > this.#bounds.maxEntries) {
      const victim = this.#bounds.eviction.evict()
      if (victim === undefined) break
      this.#forget(victim, true)
    }
  }

  #forget (place: Place<Entry>, evicted: boolean): void {
    this.#map.take(place)
    this.#size--
    this.#bytes -= place.cost
    this.#dropped(place.value, evicted)
  }
}
