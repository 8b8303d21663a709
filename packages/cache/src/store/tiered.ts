import type { Readable } from 'node:stream'
import type { Entry } from '../entry.ts'
import { evictions, type EvictionName } from './bounded.ts'
import type { CacheStore, EntryWriter, MaybePromise, StoreStats } from './contract.ts'
import { type Eviction, Place } from './eviction.ts'

export interface TieredStoreOptions {
  /** Bytes of bodies kept in memory. @default 64 MiB */
  readonly maxBytes?: number
  /** Bodies at most. @default no bound but their bytes */
  readonly maxEntries?: number
  /** Longest body that is kept there, in bytes. @default 1 MiB */
  readonly maxEntryBytes?: number
  /** Who goes when it is full. @default 's3-fifo' */
  readonly eviction?: EvictionName
}

/** Keeps the bodies that are in use in memory, over a store that has them all elsewhere. */
export class TieredStore implements CacheStore {
  readonly #below: CacheStore
  readonly #maxBytes: number
  readonly #maxEntries: number
  readonly #maxEntryBytes: number
  readonly #eviction: Eviction<Entry>
  readonly #places: Map<Entry, Place<Entry>> = new Map()
  #bytes = 0
  onEvict: ((entry: Entry) => void) | undefined

  constructor (below: CacheStore, options: TieredStoreOptions = {}) {
    this.#below = below
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024
    this.#maxEntries = options.maxEntries ?? Number.POSITIVE_INFINITY
    this.#maxEntryBytes = Math.min(options.maxEntryBytes ?? 1024 * 1024, this.#maxBytes)
    this.#eviction = new evictions[options.eviction ?? 's3-fifo'](this.#maxBytes)
    below.onEvict = (entry) => {
      this.#release(entry)
      this.onEvict?.(entry)
    }
  }

  get ready (): Promise<void> | undefined { return this.#below.ready }
  get stats (): StoreStats { return this.#below.stats }
  /** Bytes of bodies in memory. */
  get resident (): number { return this.#bytes }
  get onFailure (): ((error: Error) => void) | undefined { return this.#below.onFailure }
  set onFailure (listener: ((error: Error) => void) | undefined) { this.#below.onFailure = listener }

  get (key: string): MaybePromise<readonly Entry[]> { return this.#below.get(key) }
  getUrl (url: string): MaybePromise<readonly Entry[]> { return this.#below.getUrl(url) }

  touch (entry: Entry): void {
    const place = this.#places.get(entry)
    if (place !== undefined) this.#eviction.touch(place)
    this.#below.touch(entry)
  }

  create (entry: Entry, size: number): EntryWriter | undefined {
    const writer = this.#below.create(entry, size)
    if (writer === undefined || size > this.#maxEntryBytes) return writer
    return new Tee(writer, this.#maxEntryBytes, (body) => { this.#keep(entry, body) }, (entries) => { for (const other of entries) this.#release(other) })
  }

  update (entry: Entry): void { this.#below.update(entry) }

  delete (entry: Entry): void {
    this.#release(entry)
    this.#below.delete(entry)
  }

  read (entry: Entry, start: number, end: number): MaybePromise<Buffer | Readable | undefined> {
    const found = this.#below.read(entry, start, end)
    if (end - start + 1 !== entry.size || entry.size > this.#maxEntryBytes) return found
    const keep = (body: Buffer | Readable | undefined): typeof body => {
      if (Buffer.isBuffer(body)) this.#keep(entry, body)
      return body
    }
    return found instanceof Promise ? found.then(keep) : keep(found)
  }

  entries (): Iterable<Entry> | AsyncIterable<Entry> { return this.#below.entries() }
  settled (): MaybePromise<void> { return this.#below.settled?.() }
  close (): MaybePromise<void> { return this.#below.close() }

  #keep (entry: Entry, body: Buffer): void {
    if (this.#places.has(entry)) return
    const place = new Place(entry, entry.id, body.length + 64)
    this.#places.set(entry, place)
    this.#eviction.insert(place)
    this.#bytes += place.cost
    entry.body = body
    this.#shrink()
  }

  grown (entry: Entry): void {
    const place = this.#places.get(entry)
    if (place === undefined) return
    let cost = entry.size + 64
    for (const { body } of entry.encoded?.values() ?? []) cost += body.length
    this.#bytes += cost - place.cost
    this.#eviction.resize(place, cost)
    this.#shrink()
  }

  #shrink (): void {
    while (this.#bytes > this.#maxBytes || this.#places.size > this.#maxEntries) {
      const victim = this.#eviction.evict()
      if (victim === undefined) break
      this.#forget(victim)
    }
  }

  #release (entry: Entry): void {
    const place = this.#places.get(entry)
    if (place === undefined) return
    this.#eviction.remove(place)
    this.#forget(place)
  }

  #forget (place: Place<Entry>): void {
    this.#places.delete(place.value)
    this.#bytes -= place.cost
    place.value.body = place.value.encoded = undefined
  }
}

/** Writes below, and keeps a body that stays short enough. */
class Tee implements EntryWriter {
  readonly #below: EntryWriter
  readonly #limit: number
  readonly #keep: (body: Buffer) => void
  readonly #release: (entries: readonly Entry[]) => void
  #chunks: Buffer[] | undefined = []
  #size = 0

  constructor (below: EntryWriter, limit: number, keep: (body: Buffer) => void, release: (entries: readonly Entry[]) => void) {
    this.#below = below
    this.#limit = limit
    this.#keep = keep
    this.#release = release
  }

  get alive (): boolean { return this.#below.alive }
  get onDrain (): (() => void) | undefined { return this.#below.onDrain }
  set onDrain (listener: (() => void) | undefined) { this.#below.onDrain = listener }

  write (chunk: Buffer): boolean {
    this.#size += chunk.length
    if (this.#size > this.#limit) this.#chunks = undefined
    else this.#chunks?.push(chunk)
    return this.#below.write(chunk)
  }

  commit (replaces: readonly Entry[]): MaybePromise<boolean> {
    const keep = (stored: boolean): boolean => {
      this.#release(replaces)
      // A buffer of its own: a chunk may be a small view that keeps a whole pool alive.
      if (stored && this.#chunks !== undefined) {
        const body = Buffer.allocUnsafeSlow(this.#size)
        let at = 0
        for (const chunk of this.#chunks) at += chunk.copy(body, at)
        this.#keep(body)
      }
      return stored
    }
    const stored = this.#below.commit(replaces)
    return stored instanceof Promise ? stored.then(keep) : keep(stored)
  }

  abort (): void {
    this.#chunks = undefined
    this.#below.abort()
  }
}
