export type MaybePromise<T> = T | Promise<T>

/** What the table knows of a client. */
export interface StickEntry {
  /** The upstream that it belongs to. */
  readonly upstreamId: string
  /** When it was bound to it, in milliseconds since the Unix epoch. */
  readonly boundAt: number
}

/**
 * Where a stick table is kept: in memory by default, elsewhere when several proxies are to share it. Keys are 22 characters of
 * the base64url alphabet, ids at most 128. What is there already should be returned without a promise. A store may forget
 * entries before their time when it is full; it must not give back one whose time is over. `@headgate/sticky-session/conformance`
 * checks all of it.
 */
export interface StickStore {
  /** The app is not ready before; never rejects. A store without it can be used at once. */
  readonly ready?: Promise<void>
  /** Called for each request that has a key. Does not prolong the entry's life. */
  get (key: string): MaybePromise<StickEntry | undefined>
  /** Writes or replaces an entry, which lives for `ttl` milliseconds (> 0) from now. */
  set (key: string, entry: StickEntry, ttl: number): MaybePromise<void>
  /** Lets an entry live for `ttl` milliseconds from now; false when there is none. Called for each answer. */
  touch (key: string, ttl: number): MaybePromise<boolean>
  /** Forgets an entry; false when there was none. */
  delete (key: string): MaybePromise<boolean>
  /** Removes entries whose time is over, looking at no more than `limit`; gives how many. Called every second. A store that does so by itself gives 0. */
  expire (limit: number): MaybePromise<number>
}
