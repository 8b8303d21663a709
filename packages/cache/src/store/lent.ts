import type { Readable } from 'node:stream'
import type { Entry } from '../entry.ts'
import type { CacheStore, Concern, EntryWriter, MaybePromise, StoreStats, TimedPurge } from './contract.ts'

/**
 * A store as an app has it that does not own it: several apps may use it, as while one configuration takes another's place. It tells the last one that
 * came, and those before again when that has gone; `close` gives it back and leaves it open. For stores of this machine (`MemoryStore`, `DiskStore`,
 * `TieredStore`).
 */
export class LentStore implements CacheStore {
  readonly #store: CacheStore
  readonly #before: Pick<CacheStore, 'onEvict' | 'onFailure'>
  readonly sweep?: (concern: Concern, apply: (entry: Entry) => void) => MaybePromise<number>
  #own: Pick<CacheStore, 'onEvict' | 'onFailure'> = { onEvict: undefined, onFailure: undefined }

  constructor (store: CacheStore) {
    this.#store = store
    this.#before = { onEvict: store.onEvict, onFailure: store.onFailure }
    if (store.sweep !== undefined) this.sweep = (concern, apply) => store.sweep!(concern, apply)
  }

  get stats (): StoreStats { return this.#store.stats }
  get ready (): Promise<void> | undefined { return this.#store.ready }
  get common (): boolean { return this.#store.common === true }
  get anyKey (): boolean { return this.#store.anyKey === true }
  get onEvict (): CacheStore['onEvict'] { return this.#own.onEvict }
  set onEvict (listener: CacheStore['onEvict']) { this.#store.onEvict = this.#own.onEvict = listener }
  get onFailure (): CacheStore['onFailure'] { return this.#own.onFailure }
  set onFailure (listener: CacheStore['onFailure']) { this.#store.onFailure = this.#own.onFailure = listener }

  get (key: string): MaybePromise<readonly Entry[]> { return this.#store.get(key) }
  getUrl (url: string): MaybePromise<readonly Entry[]> { return this.#store.getUrl(url) }
  touch (entry: Entry): void { this.#store.touch(entry) }
  create (entry: Entry, size: number): EntryWriter | undefined { return this.#store.create(entry, size) }
  update (entry: Entry, everywhere?: boolean): void { this.#store.update(entry, everywhere) }
  grown (entry: Entry): void { this.#store.grown?.(entry) }
  delete (entry: Entry, everywhere?: boolean): void { this.#store.delete(entry, everywhere) }
  read (entry: Entry, start: number, end: number): MaybePromise<Buffer | Readable | undefined> { return this.#store.read(entry, start, end) }
  entries (): Iterable<Entry> | AsyncIterable<Entry> { return this.#store.entries() }
  guard (inUse: (entry: Entry) => boolean): () => void { return this.#store.guard?.(inUse) ?? (() => {}) }
  settled (): MaybePromise<void> { return this.#store.settled?.() }
  heard (purge: TimedPurge): void { this.#store.heard?.(purge) }

  close (): void {
    if (this.#store.onEvict === this.#own.onEvict) this.#store.onEvict = this.#before.onEvict
    if (this.#store.onFailure === this.#own.onFailure) this.#store.onFailure = this.#before.onFailure
  }
}
