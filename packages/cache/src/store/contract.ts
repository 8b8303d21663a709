import type { Readable } from 'node:stream'
import type { Entry } from '../entry.ts'

export type MaybePromise<T> = T | Promise<T>

/** Takes one response's body as it arrives. After `commit` or `abort` nothing more is called. */
export interface EntryWriter {
  /** `false` asks to wait for `onDrain`. The chunk is never changed afterwards and may be kept. */
  write (chunk: Buffer): boolean
  /**
   * All is there: from now on `get` finds the entry, and those that it replaces are gone. `false` when it could not be stored. A store that takes its
   * time asks `wanted` in the very turn in which the entry could be found for the first time, and stores nothing when it was purged meanwhile.
   */
  commit (replaces: readonly Entry[], wanted?: () => boolean): MaybePromise<boolean>
  /** `false` from when it is known that nothing will be stored: too long, or the store failed. */
  readonly alive: boolean
  /** The response was cut off, or is not wanted any more: leaves no trace. */
  abort (): void
  onDrain: (() => void) | undefined
}

/** Stored responses, told as data so that other processes can be told of them. Groups are named with their origin. */
export interface Concern {
  readonly by: 'url' | 'prefix' | 'tag' | 'group' | 'all'
  /** URLs as in keys, their beginnings, tags or groups: any of them; for `all` nothing. */
  readonly names: readonly string[]
}

/** What happens to a stored response that is purged: gone, stale (it may still be used in its grace), or to be validated before any use. */
export type PurgeMode = 'hard' | 'soft' | 'invalidate'

/** A purge that a store carries to everybody who shares it. */
export interface StorePurge extends Concern {
  readonly mode: PurgeMode
}

/** What one who is about to fetch asks a store that others use too. */
export interface ClaimRequest {
  readonly key: string
  readonly url: string
  /** The key with what tells variants and ranges apart. */
  readonly variant: string
  /** What the last `get` of the key gave. */
  readonly known: readonly Entry[]
  /** Milliseconds that the answer may take while another fetches; 0: at once. */
  readonly wait: number
}

/** Who fetches. */
export interface Claim {
  /** `fetch`: the caller, or nobody knows better. `look`: another did, or is at it. `pass`: another found that it cannot be shared. */
  readonly verdict: 'fetch' | 'look' | 'pass'
  /** It was fetched, or given up; `unsharedFor` milliseconds nobody need wait for this one, as it cannot be shared. Called once, after `fetch` alone. */
  done (unsharedFor: number): void
}

/** A purge with the time at which it was made: milliseconds since the epoch, which processes of one machine agree on. */
export interface TimedPurge extends StorePurge {
  readonly at: number
}

export interface StoreStats {
  readonly entries: number
  readonly bytes: number
}

/**
 * Where responses are kept. The cache calls `get` for each request and `touch` for each hit; the rest is rare. No method may
 * throw or reject: a store that fails behaves as if it were empty, and says so once through `onFailure`.
 *
 * A store may give another object each time for the same response, told by key and id, unless it offers `guard` and somebody who guards it says that
 * the object is held. Methods take any of them; what counts is what `get` gives now.
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
  /**
   * The entry's own fields were changed, in the object itself (freshened or made stale). `everywhere`: others who see the same responses change them by
   * themselves.
   */
  update (entry: Entry, everywhere?: boolean): void
  /** The entry takes more memory than it did. */
  grown? (entry: Entry): void
  delete (entry: Entry, everywhere?: boolean): void
  /**
   * Bytes `start` to `end`, both included, of an entry whose `body` is undefined: as one Buffer when they are few. `undefined` when they
   * cannot be had, which takes the entry out of the store.
   */
  read (entry: Entry, start: number, end: number): MaybePromise<Buffer | Readable | undefined>
  /** Every entry, for purging by tag or prefix; copies, perhaps. */
  entries (): Iterable<Entry> | AsyncIterable<Entry>
  /**
   * Calls `apply` with each entry of now that the concern is about, and with each before anybody is given it again; entries that come later are
   * not meant. Gives how many there were, as soon as `apply` was called for all.
   */
  sweep? (concern: Concern, apply: (entry: Entry) => void): MaybePromise<number>
  /**
   * Says of an entry whether somebody holds it beyond the turn in which it was given: then it has to stay the object that it is. Returns how to take
   * that back.
   */
  guard? (inUse: (entry: Entry) => boolean): () => void
  readonly stats: StoreStats
  /** Resolves when all that was stored before the start can be found; a store without it can at once. */
  readonly ready?: Promise<void> | undefined
  /** Everything asked for so far will be so after a crash of this process, and others who see the same responses have been told of it. */
  settled? (): MaybePromise<void>
  /**
   * For a store that other processes use too: makes what it concerns unusable for all of them, what they are fetching included. Resolves to how
   * many responses there were, as far as this process knows, when none of them can be used any more. The one method that may reject:
   * when not everybody has confirmed it.
   */
  purge? (purge: StorePurge): Promise<number>
  /** Several processes see the same responses, and each is told of purges by itself: what one stores the others find. */
  readonly common?: boolean
  /** Keys need not begin with their entries' URLs: versions of assets can be kept here, under keys by their contents. */
  readonly anyKey?: boolean
  /** A purge is being obeyed: what is being read in at the moment has to obey it too. */
  heard? (purge: TimedPurge): void
  /** For a store that other processes use too: of many who want a response, one fetches. */
  claim? (request: ClaimRequest): MaybePromise<Claim>
  /** Set by the cache on a store with `purge`: another process purges, so what is being fetched of it may not be stored. */
  onPurge?: ((purge: StorePurge) => void) | undefined
  close (): MaybePromise<void>
  /** Set by the cache: an entry was pushed out for want of room. */
  onEvict: ((entry: Entry) => void) | undefined
  /** Set by a tier above: an entry is not in the store any more, for whatever reason. */
  onDrop?: ((entry: Entry) => void) | undefined
  /** Set by the cache: something failed; the message says what to do. */
  onFailure: ((error: Error) => void) | undefined
}
