import type { Readable } from 'node:stream'
import type { Entry } from '../entry.ts'
import { evictions, type EvictionName } from './bounded.ts'
import type { CacheStore, EntryWriter, MaybePromise, StoreStats, TimedPurge } from './contract.ts'
import { Collector } from './collector.ts'
import { byEntry, Places } from './places.ts'

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
  readonly #maxEntryBytes: number
  readonly #places: Places

  constructor (below: CacheStore, options: TieredStoreOptions = {}) {
    this.#below = below
    const { maxBytes = 64 * 1024 * 1024, maxEntries = Number.POSITIVE_INFINITY, eviction = 's3-fifo' } = options
    this.#maxEntryBytes = Math.min(options.maxEntryBytes ?? 1024 * 1024, maxBytes)
    this.#places = new Places(byEntry(), { maxBytes, maxEntries, eviction: new evictions[eviction]() }, (entry) => { entry.body = entry.encoded = undefined })
    below.onDrop = (entry) => { this.#places.remove(entry) }
  }

  get ready (): Promise<void> | undefined { return this.#below.ready }
  get stats (): StoreStats { return this.#below.stats }
  /** Bytes of bodies in memory. */
  get resident (): number { return this.#places.bytes }
  get common (): boolean { return this.#below.common === true }
  get anyKey (): boolean { return this.#below.anyKey === true }
  get onEvict (): ((entry: Entry) => void) | undefined { return this.#below.onEvict }
  set onEvict (listener: ((entry: Entry) => void) | undefined) { this.#below.onEvict = listener }
  get onFailure (): ((error: Error) => void) | undefined { return this.#below.onFailure }
  set onFailure (listener: ((error: Error) => void) | undefined) { this.#below.onFailure = listener }

  get (key: string): MaybePromise<readonly Entry[]> { return this.#below.get(key) }
  getUrl (url: string): MaybePromise<readonly Entry[]> { return this.#below.getUrl(url) }

  touch (entry: Entry): void {
    this.#places.touch(entry)
    this.#below.touch(entry)
  }

  create (entry: Entry, size: number): EntryWriter | undefined {
    const writer = this.#below.create(entry, size)
    if (writer === undefined || size > this.#maxEntryBytes) return writer
    return new Tee(writer, this.#maxEntryBytes, (body) => { this.#keep(entry, body) })
  }

  update (entry: Entry, everywhere?: boolean): void { this.#below.update(entry, everywhere) }
  delete (entry: Entry, everywhere?: boolean): void { this.#below.delete(entry, everywhere) }
  heard (purge: TimedPurge): void { this.#below.heard?.(purge) }

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
    entry.body = body
    this.#places.add(entry, entry.id, body.length + 64)
  }

  grown (entry: Entry): void {
    let cost = entry.size + 64
    for (const { body } of entry.encoded?.values() ?? []) cost += body.length
    this.#places.resize(entry, cost)
  }
}

/** Writes below, and keeps a body that stays short enough. */
class Tee implements EntryWriter {
  readonly #below: EntryWriter
  readonly #collector: Collector
  readonly #keep: (body: Buffer) => void

  constructor (below: EntryWriter, limit: number, keep: (body: Buffer) => void) {
    this.#below = below
    this.#collector = new Collector(limit)
    this.#keep = keep
  }

  get alive (): boolean { return this.#below.alive }
  get onDrain (): (() => void) | undefined { return this.#below.onDrain }
  set onDrain (listener: (() => void) | undefined) { this.#below.onDrain = listener }

  write (chunk: Buffer): boolean {
    this.#collector.add(chunk)
    return this.#below.write(chunk)
  }

  commit (replaces: readonly Entry[], wanted?: () => boolean): MaybePromise<boolean> {
    const keep = (stored: boolean): boolean => {
      const body = stored ? this.#collector.take() : undefined
      if (body !== undefined) this.#keep(body)
      return stored
    }
    const stored = this.#below.commit(replaces, wanted)
    return stored instanceof Promise ? stored.then(keep) : keep(stored)
  }

  abort (): void {
    this.#collector.drop()
    this.#below.abort()
  }
}
