import type { Entry } from '../entry.ts'
import type { Eviction } from './eviction.ts'
import { Gdsf } from './gdsf.ts'
import { Places } from './places.ts'
import { S3Fifo } from './s3fifo.ts'
import { Sieve } from './sieve.ts'

export type EvictionName = 's3-fifo' | 'sieve' | 'gdsf'

export const evictions: Readonly<Record<EvictionName, new (capacity: number) => Eviction<Entry>>> = { 's3-fifo': S3Fifo, sieve: Sieve, gdsf: Gdsf }

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

/** The index of a store: entries by key, under a bound of bytes and of entries. Says who goes; the store lets go of the body. */
export class BoundedIndex {
  readonly #byKey: Map<string, Entry[]> = new Map()
  /** Entries whose key is more than their URL. */
  readonly #byUrl: Map<string, Set<Entry>> = new Map()
  readonly #places: Places

  constructor (maxBytes: number, maxEntries: number, eviction: EvictionName, removed: (entry: Entry, evicted: boolean) => void) {
    this.#places = new Places({ maxBytes, maxEntries, eviction: new evictions[eviction](maxBytes) }, (entry, evicted) => {
      this.#unlink(entry)
      removed(entry, evicted)
    })
  }

  get bytes (): number { return this.#places.bytes }
  get size (): number { return this.#places.size }

  get (key: string): readonly Entry[] {
    return this.#byKey.get(key) ?? NOTHING
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
    const list = this.#byKey.get(entry.key)
    if (list === undefined) this.#byKey.set(entry.key, [entry])
    // A new list, so that one handed out by `get` does not change under its reader.
    else {
      if (list.length >= MAX_VARIANTS) this.#places.remove(list[0]!, true)
      this.#byKey.set(entry.key, [...(this.#byKey.get(entry.key) ?? []), entry])
    }
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
    return this.#places.values()
  }

  #unlink (entry: Entry): void {
    const others = entry.url === entry.key ? undefined : this.#byUrl.get(entry.url)
    if (others?.delete(entry) === true && others.size === 0) this.#byUrl.delete(entry.url)
    const rest = this.#byKey.get(entry.key)!.filter((other) => other !== entry)
    if (rest.length === 0) this.#byKey.delete(entry.key)
    else this.#byKey.set(entry.key, rest)
  }
}
