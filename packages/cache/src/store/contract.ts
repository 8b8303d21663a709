import type { Readable } from 'node:stream'
import type { Entry } from '../entry.ts'

export type MaybePromise<T> = T | Promise<T>

/** Takes one response's body as it arrives. After `commit` or `abort` nothing more is called. */
export interface EntryWriter {
  /** `false` asks to wait for `onDrain`. The chunk is never changed afterwards and may be kept. */
  write (chunk: Buffer): boolean
  /** All is there: from now on `get` finds the entry, and those that it replaces are gone. `false` when it could not be stored. */
  commit (replaces: readonly Entry[]): MaybePromise<boolean>
  /** `false` from when it is known that nothing will be stored: too long, or the store failed. */
  readonly alive: boolean
  /** The response was cut off, or is not wanted any more: leaves no trace. */
  abort (): void
  onDrain: (() => void) | undefined
}

export interface StoreStats {
  readonly entries: number
  readonly bytes: number
}

/**
 * Where responses are kept. The cache calls `get` for each request and `touch` for each hit; the rest is rare. No method may
 * throw or reject: a store that fails behaves as if it were empty, and says so once through `onFailure`.
 */
export interface CacheStore {
  /** Responses under a key, in no order. The list may not be changed and is valid until the next call. */
  get (key: string): MaybePromise<readonly Entry[]>
  /** All responses of a URL, under whatever keys. */
  getUrl (url: string): MaybePromise<readonly Entry[]>
  /** The entry was used. */
  touch (entry: Entry): void
  /** Starts to store; `size` is −1 when it is not known. `undefined`: too big, or not now. */
  create (entry: Entry, size: number): EntryWriter | undefined
  /** The entry's own fields were changed (freshened or made stale). */
  update (entry: Entry): void
  /** The entry takes more memory than it did. */
  grown? (entry: Entry): void
  delete (entry: Entry): void
  /**
   * Bytes `start` to `end`, both included, of an entry whose `body` is undefined: as one Buffer when they are few. `undefined` when they
   * cannot be had, which takes the entry out of the store.
   */
  read (entry: Entry, start: number, end: number): MaybePromise<Buffer | Readable | undefined>
  /** Every entry, for purging by tag or prefix. */
  entries (): Iterable<Entry> | AsyncIterable<Entry>
  readonly stats: StoreStats
  /** Resolves when all that was stored before the start can be found; a store without it can at once. */
  readonly ready?: Promise<void> | undefined
  /** Everything asked for so far will be so after a crash of this process. */
  settled? (): MaybePromise<void>
  close (): MaybePromise<void>
  /** Set by the cache: an entry was pushed out for want of room. */
  onEvict: ((entry: Entry) => void) | undefined
  /** Set by the cache: something failed; the message says what to do. */
  onFailure: ((error: Error) => void) | undefined
}
