import type { Entry } from '../entry.ts'
import type { EvictionName } from './bounded.ts'
import { Collector } from './collector.ts'
import type { CacheStore, Concern, EntryWriter, MaybePromise, StoreStats } from './contract.ts'
import { PackedIndex } from './packed/packed-index.ts'

export interface MemoryStoreOptions {
  /**
   * Bytes for everything, fields, keys and what is needed to find them included: some 400 for a small response beside its body, 1500 for one in use.
   * Default 64 MiB.
   */
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

/**
 * Keeps responses in this process, bodies outside of V8's heap. Gone when the process ends. Those that are not in use are packed: `get` makes an object of them
 * again, another one than before.
 */
export class MemoryStore implements CacheStore {
  readonly anyKey: boolean = true
  readonly #index: PackedIndex
  readonly #maxEntryBytes: number
  onEvict: ((entry: Entry) => void) | undefined
  onFailure: ((error: Error) => void) | undefined

  constructor (options: MemoryStoreOptions = {}) {
    const maxBytes = options.maxBytes ?? 64 * 1024 * 1024
    this.#maxEntryBytes = Math.min(options.maxEntryBytes ?? 1024 * 1024, maxBytes)
    const bounds = { maxBytes, maxEntries: options.maxEntries ?? 100_000, eviction: options.eviction ?? 's3-fifo' } as const
    this.#index = new PackedIndex(bounds, (entry) => this.onEvict?.(entry))
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

  update (entry: Entry): void {
    this.#index.update(entry)
  }

  grown (entry: Entry): void {
    this.#index.update(entry)
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

  guard (inUse: (entry: Entry) => boolean): () => void {
    return this.#index.guard(inUse)
  }

  sweep (concern: Concern, apply: (entry: Entry) => void): MaybePromise<number> {
    return this.#index.sweep(concern, apply)
  }

  close (): void {
    this.#index.clear()
  }
}

class MemoryWriter implements EntryWriter {
  readonly #index: PackedIndex
  readonly #entry: Entry
  readonly #collector: Collector
  onDrain: (() => void) | undefined

  constructor (index: PackedIndex, entry: Entry, limit: number) {
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
    return this.#index.add(this.#entry)
  }

  abort (): void {
    this.#collector.drop()
  }
}
