import type { CacheOptions, CacheSharing, CacheStore } from '@headgate/cache'
import { systemClock } from '@headgate/core'
import type { StickStore, StickyOptions } from '@headgate/sticky-session'
import { Counters, type Member } from '@headgate/workers'
import type { CountEvent } from './limit-store.ts'

/** A process without others: its apps still tell each other of purges, while one takes another's place. */
const alone = (): CacheSharing => ({
  speaks: true,
  on: () => () => {},
  tell: () => {},
  ask: async () => Promise.reject(new Error('there is nobody')),
  gather: async () => ({ answers: [], missing: 0 })
})

/** What an app needs of {@link Kept}. */
export type Keeper = Pick<Kept, 'cache' | 'sticky' | 'count'>

/**
 * What a process keeps while configurations come and go, and shares with the other workers of the machine: the cache on the disk, the table of
 * sessions, what limits of rates count.
 */
export class Kept {
  readonly #member: Member | undefined
  readonly #sharing: CacheSharing
  #disk: CacheStore | undefined
  #table: StickStore | undefined
  /** Counts an event for a limit. */
  readonly count: CountEvent

  constructor (member: Member | undefined) {
    this.#member = member
    this.#sharing = member?.colleagues ?? alone()
    const counters = member?.counters ?? new Counters(systemClock)
    this.count = (event) => counters.count(event)
  }

  /** The cache's options with what is kept. The disk stays what it was at first. Throws `HG_CACHE_OPTION`, `HG_CACHE_STORE`. */
  async cache (options: CacheOptions): Promise<CacheOptions> {
    if (options.store !== undefined) return options
    if (options.disk === undefined) return { ...options, sharing: this.#sharing }
    const { checkCache, DiskStore, LentStore, TieredStore } = await import('@headgate/cache')
    checkCache(options)
    const { disk, memory, ...rest } = options
    this.#disk ??= new TieredStore(new DiskStore(disk, this.#member?.colleagues), memory)
    return { ...rest, store: new LentStore(this.#disk), sharing: this.#sharing }
  }

  /** Options of session affinity with the table that is kept. Throws `HG_STICKY_INVALID_OPTION`. */
  async sticky (options: StickyOptions): Promise<StickyOptions> {
    const { table = {} } = options
    if (table.store !== undefined) return options
    const { checkSticky, MemoryStore, ReplicatedStore } = await import('@headgate/sticky-session')
    checkSticky(options)
    const { maxEntries = 100_000 } = table
    this.#table ??= this.#member === undefined ? new MemoryStore(maxEntries, systemClock) : new ReplicatedStore(this.#member.colleagues, { maxEntries })
    return { ...options, table: { ...table, store: this.#table } }
  }

  async close (): Promise<void> {
    await this.#disk?.close()
  }
}

/** For apps that never serve: they check their options and leave the disk to those that do. */
export const onlyChecked: Keeper = {
  async cache (options) {
    ;(await import('@headgate/cache')).checkCache(options)
    const { disk: _, ...rest } = options
    return rest
  },
  sticky: async (options) => options,
  count: () => ({ count: 1, ttl: 0 })
}
