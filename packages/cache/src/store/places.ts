import type { Entry } from '../entry.ts'
import type { Eviction } from './eviction.ts'
import { hashOf } from './key-hash.ts'
import { Slots } from './slots.ts'

export interface Bounds {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly eviction: Eviction
}

/** An entry with the slot by which the eviction knows it. */
export class Place {
  readonly entry: Entry
  readonly slot: number

  constructor (entry: Entry, slot: number) {
    this.entry = entry
    this.slot = slot
  }
}

/** Where the places of entries are kept. */
export interface PlaceMap {
  find (entry: Entry): Place | undefined
  put (place: Place): void
  take (place: Place): void
}

/** The plain way. */
export function byEntry (): PlaceMap {
  const places = new Map<Entry, Place>()
  return {
    find: (entry) => places.get(entry),
    put: (place) => { places.set(place.entry, place) },
    take: (place) => { places.delete(place.entry) }
  }
}

/** Entries under a bound of bytes and of their number: what goes beyond it makes others go, which `dropped` is told of. */
export class Places {
  readonly #map: PlaceMap
  readonly #bounds: Bounds
  readonly #dropped: (entry: Entry, evicted: boolean) => void
  readonly #slots: Slots = new Slots()
  readonly #bySlot: (Place | undefined)[] = []
  #bytes = 0

  constructor (map: PlaceMap, bounds: Bounds, dropped: (entry: Entry, evicted: boolean) => void) {
    this.#map = map
    this.#bounds = bounds
    this.#dropped = dropped
  }

  get bytes (): number { return this.#bytes }
  get size (): number { return this.#slots.used }

  has (entry: Entry): boolean {
    return this.#map.find(entry) !== undefined
  }

  touch (entry: Entry): void {
    const place = this.#map.find(entry)
    if (place !== undefined) this.#bounds.eviction.touch(place.slot)
  }

  /** `key` is what it is known by when it comes again. */
  add (entry: Entry, key: string, cost: number): void {
    const place = new Place(entry, this.#slots.take())
    this.#bySlot[place.slot] = place
    this.#map.put(place)
    this.#bounds.eviction.insert(place.slot, hashOf(key), cost)
    this.#bytes += cost
    this.#shrink()
  }

  resize (entry: Entry, cost: number): void {
    const place = this.#map.find(entry)
    if (place === undefined) return
    this.#bytes += cost - this.#bounds.eviction.cost(place.slot)
    this.#bounds.eviction.resize(place.slot, cost)
    this.#shrink()
  }

  /** `evicted`: for want of room. */
  remove (entry: Entry, evicted: boolean = false): boolean {
    const place = this.#map.find(entry)
    if (place === undefined) return false
    this.#bounds.eviction.remove(place.slot)
    this.#forget(place, evicted)
    return true
  }

  #shrink (): void {
    while (this.#bytes > this.#bounds.maxBytes || this.size > this.#bounds.maxEntries) {
      const victim = this.#bounds.eviction.evict()
      if (victim === -1) break
      this.#forget(this.#bySlot[victim]!, true)
    }
  }

  #forget (place: Place, evicted: boolean): void {
    this.#bytes -= this.#bounds.eviction.cost(place.slot)
    this.#bySlot[place.slot] = undefined
    this.#slots.give(place.slot)
    this.#map.take(place)
    this.#dropped(place.entry, evicted)
  }
}
