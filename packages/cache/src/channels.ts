import { channel, type Channel } from 'node:diagnostics_channel'

/** How a request was answered. */
export type CacheResult = 'hit' | 'stale' | 'revalidated' | 'miss' | 'collapsed' | 'bypass' | 'only-if-cached'

export interface LookupMessage {
  readonly key: string
  readonly result: CacheResult
  /** Why it was forwarded, or used stale; '' for a plain hit. */
  readonly reason: string
}

/** Bytes of a stored body were sent: published once for each response with one, when its bytes are at hand. */
export interface ServeMessage {
  readonly key: string
  /** Bytes of the body, or of the part of it, that are sent. */
  readonly size: number
}

export interface StoreMessage {
  readonly key: string
  /** `false`: it was not, and `reason` says why. */
  readonly stored: boolean
  readonly reason: string
  /** Bytes of the body. */
  readonly size: number
}

export interface EvictMessage {
  readonly key: string
  readonly size: number
}

export interface PurgeMessage {
  readonly by: 'url' | 'prefix' | 'tag' | 'group' | 'all' | 'unsafe-method'
  readonly value: string
  readonly soft: boolean
  /** Entries concerned. */
  readonly count: number
}

/** A channel of which the payload's type is known. Build a message only when `hasSubscribers`. */
export type TypedChannel<T> = Omit<Channel, 'publish'> & { publish (message: T): void }

const typed = <T>(name: string): TypedChannel<T> => channel(name) as TypedChannel<T>

/** Every `diagnostics_channel` that the cache publishes to. */
export const channels: {
  readonly lookup: TypedChannel<LookupMessage>
  readonly serve: TypedChannel<ServeMessage>
  readonly store: TypedChannel<StoreMessage>
  readonly evict: TypedChannel<EvictMessage>
  readonly purge: TypedChannel<PurgeMessage>
} = {
  lookup: typed('headgate:cache:lookup'),
  serve: typed('headgate:cache:serve'),
  store: typed('headgate:cache:store'),
  evict: typed('headgate:cache:evict'),
  purge: typed('headgate:cache:purge')
}
