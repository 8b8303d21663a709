import type { Entry } from '../entry.ts'
import { BoundedIndex, type EvictionName } from './bounded.ts'
import { Collector } from './collector.ts'
import type { CacheStore, EntryWriter, StoreStats } from './contract.ts'

export interface MemoryStoreOptions {
  /** Bytes for everything, fields and keys included. Default 64 MiB. */
  readonly maxBytes?: number
  /** Responses at most. Default 100 000. */
  readonly maxEntries?: number
  /** Bytes of one body at most. Default 1 MiB. */
  readonly maxEntryBytes?: number
  /**
   * Who goes when it is full: `s3-fifo` (default) has the best share of bytes and withstands scans, `sieve` is the cheapest,
   * `gdsf` has the most hits when there are many small responses.
   */
  readonly eviction?: EvictionName
}

/** Keeps responses in this process, bodies outside of V8's heap. Gone when the process ends. */
export class MemoryStore implements CacheStore {
  readonly anyKey: boolean = true
  readonly #index: BoundedIndex
  readonly #maxEntryBytes: number
  onEvict: ((entry: Entry) => void) | undefined
  onFailure: ((error: Error) => void) | undefined

  constructor (options: MemoryStoreOptions = {}) {
    const maxBytes = options.maxBytes ?? 64 * 1024 * 1024
    this.#maxEntryBytes = Math.min(options.maxEntryBytes ?? 1024 * 1024, maxBytes)
    this.#index = new BoundedIndex(maxBytes, options.maxEntries ?? 100_000, options.eviction ?? 's3-fifo', (entry, evicted) => {
      if (evicted) this.onEvict?.(entry)
    })
  }

  get stats (): StoreStats {
    return { entries: this.#index.size, bytes: this.#index.bytes }
  }

  get (key: string): readonly Entry[] {
    return this.#index.get(key)
  }

  getUrl (url: string): readonly Entry[] {
    return this.#index.getUrl(url)
  }

  touch (entry: Entry): void {
    this.#index.touch(entry)
  }

  create (entry: Entry, size: number): EntryWriter | undefined {
    if (size > this.#maxEntryBytes) return undefined
    return new MemoryWriter(this.#index, entry, this.#maxEntryBytes)
  }

  /** An entry that is changed in place needs nothing more. */
  update (): void {}

  grown (entry: Entry): void {
    this.#index.resize(entry)
  }

  delete (entry: Entry): void {
    this.#index.remove(entry)
  }

  read (entry: Entry, start: number, end: number): Buffer | undefined {
    return entry.body?.subarray(start, end + 1)
  }

  entries (): Iterable<Entry> {
    return this.#index.values()
  }

  close (): void {
    for (const entry of Array.from(this.#index.values())) this.#index.remove(entry)
  }
}

class MemoryWriter implements EntryWriter {
  readonly #index: BoundedIndex
  readonly #entry: Entry
  readonly #collector: Collector
  onDrain: (() => void) | undefined

  constructor (index: BoundedIndex, entry: Entry, limit: number) {
    this.#index = index
    this.#entry = entry
    this.#collector = new Collector(limit)
  }

  get alive (): boolean { return this.#collector.whole }

  write (chunk: Buffer): boolean {
    this.#collector.add(chunk)
    return true
  }

  commit (replaces: readonly Entry[]): boolean {
    const body = this.#collector.take()
    if (body === undefined) return false
    this.#entry.body = body
    this.#entry.size = body.length
    for (const entry of replaces) this.#index.remove(entry)
    this.#index.add(this.#entry)
    return this.#index.has(this.#entry)
  }

  abort (): void {
    this.#collector.drop()
  }
}
