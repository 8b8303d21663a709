import type { Entry } from '../entry.ts'
import type { Eviction } from './eviction.ts'
import { Gdsf } from './gdsf.ts'
import { KeyMap } from './key-map.ts'
import { Place, type PlaceMap, Places } from './places.ts'
import { S3Fifo } from './s3fifo.ts'
import { Sieve } from './sieve.ts'

export type EvictionName = 's3-fifo' | 'sieve' | 'gdsf'

export const evictions: Readonly<Record<EvictionName, new () => Eviction>> = { 's3-fifo': S3Fifo, sieve: Sieve, gdsf: Gdsf }

/** More variants of one key than this push the oldest out, so that a Vary on a free-text field cannot fill the store. */
export const MAX_VARIANTS = 32
const NOTHING: readonly Entry[] = []

/** Bytes that an entry costs: its bodies, fields, key, and what the engine needs for the objects. */
function cost (entry: Entry): number {
  let bytes = 512 + entry.key.length * 2 + Math.max(0, entry.size)
  for (const text of entry.fields) bytes += text.length + 16
  for (const { body } of entry.encoded?.values() ?? []) bytes += body.length
  return bytes
}

/** Several responses of one key; the lists are made anew, so that one handed out does not change under its reader. */
interface Variants {
  readonly entries: readonly Entry[]
  readonly places: readonly Place[]
}

/** Places by the keys of their entries: the only thing that a store keeps of each entry beside itself. */
class ByKey implements PlaceMap {
  readonly #map: KeyMap<Place | Variants> = new KeyMap()

  get (key: string): readonly Entry[] {
    const found = this.#map.get(key)
    return found === undefined ? NOTHING : found instanceof Place ? [found.entry] : found.entries
  }

  find (entry: Entry): Place | undefined {
    const found = this.#map.get(entry.key)
    if (found instanceof Place) return found.entry === entry ? found : undefined
    return found?.places[found.entries.indexOf(entry)]
  }

  put (place: Place): void {
    this.#set(place.entry.key, [...this.#placesOf(place.entry.key), place])
  }

  take (place: Place): void {
    this.#set(place.entry.key, this.#placesOf(place.entry.key).filter((other) => other !== place))
  }

  * values (): IterableIterator<Entry> {
    for (const found of this.#map.values()) {
      if (found instanceof Place) yield found.entry
      else yield * found.entries
    }
  }

  #placesOf (key: string): readonly Place[] {
    const found = this.#map.get(key)
    return found === undefined ? [] : found instanceof Place ? [found] : found.places
  }

  #set (key: string, places: readonly Place[]): void {
    if (places.length === 0) this.#map.delete(key)
    else this.#map.set(key, places.length === 1 ? places[0]! : { places, entries: places.map(({ entry }) => entry) })
  }
}

/** The index of a store: entries by key, under a bound of bytes and of entries. Says who goes; the store lets go of the body. */
export class BoundedIndex {
  readonly #byKey: ByKey = new ByKey()
  /** Entries whose key is more than their URL. */
  readonly #byUrl: KeyMap<Set<Entry>> = new KeyMap()
  readonly #places: Places

  constructor (maxBytes: number, maxEntries: number, eviction: EvictionName, removed: (entry: Entry, evicted: boolean) => void) {
    this.#places = new Places(this.#byKey, { maxBytes, maxEntries, eviction: new evictions[eviction]() }, (entry, evicted) => {
      this.#unlink(entry)
      removed(entry, evicted)
    })
  }

  get bytes (): number { return this.#places.bytes }
  get size (): number { return this.#places.size }

  get (key: string): readonly Entry[] {
    return this.#byKey.get(key)
  }

  /** All responses of a URL, whatever else their keys hold. */
  getUrl (url: string): readonly Entry[] {
    const more = this.#byUrl.get(url)
    return more === undefined ? this.get(url) : [...this.get(url), ...more]
  }

  has (entry: Entry): boolean {
    return this.#places.has(entry)
  }

  touch (entry: Entry): void {
    this.#places.touch(entry)
  }

  add (entry: Entry): void {
    const list = this.get(entry.key)
    if (list.length >= MAX_VARIANTS) this.#places.remove(list[0]!, true)
    if (entry.url !== entry.key) {
      const others = this.#byUrl.get(entry.url)
      if (others === undefined) this.#byUrl.set(entry.url, new Set([entry]))
      else others.add(entry)
    }
    this.#places.add(entry, entry.key, cost(entry))
  }

  /** Weighs an entry again. */
  resize (entry: Entry): void {
    this.#places.resize(entry, cost(entry))
  }

  remove (entry: Entry): boolean {
    return this.#places.remove(entry)
  }

  values (): Iterable<Entry> {
    return this.#byKey.values()
  }

  #unlink (entry: Entry): void {
    const others = entry.url === entry.key ? undefined : this.#byUrl.get(entry.url)
    if (others?.delete(entry) === true && others.size === 0) this.#byUrl.delete(entry.url)
  }
}
