import { randomBytes } from 'node:crypto'
import { RedisCacheStore } from './cache/store.ts'
import { Names } from './cache/keys.ts'
import type { RedisCacheOptions } from './cache/options.ts'
import { PurgeLog } from './cache/purge-log.ts'
import { Connection } from './connection.ts'
import { type RateLimitStore, RedisCounters, rateLimitStore } from './counters.ts'
import { RedisKeyValue } from './key-value.ts'
import type { RedisOptions } from './options.ts'
import { RedisStickTable, type StickTableOptions } from './stick-table.ts'
import { RedisVotes, type VotesOptions } from './votes.ts'

/** How often a process that uses its own tier without contact is waited for, in leases, before it is forgotten. */
const FORGOTTEN = 6

/** What this process shares with others through one Redis. Made by {@link connectRedis}; `close` it when the app has closed. */
export class RedisState {
  /** Of this process, among the others. */
  readonly id: string = randomBytes(9).toString('base64url')
  readonly connection: Connection
  readonly prefix: string
  readonly #options: RedisOptions
  readonly #names: Names
  #log: PurgeLog | undefined
  #cache: RedisCacheStore | undefined
  readonly #votes: RedisVotes[] = []
  #closed: Promise<void> | undefined

  constructor (options: RedisOptions) {
    this.#options = options
    this.connection = new Connection(options)
    this.prefix = options.prefix ?? 'headgate'
    this.#names = new Names(this.prefix)
  }

  /** Redis is not asked for the moment. */
  get away (): boolean { return this.connection.away }

  /** The store for `@headgate/cache`: one for each connection. Throws `HG_POOL_INVALID_OPTION`. */
  cache (options: RedisCacheOptions = {}): RedisCacheStore {
    if (this.#cache !== undefined) throw new Error('this connection has a cache already: connect once more, with a prefix of its own, for another')
    const log = this.#join(options.isolated !== 'validate')
    return this.#cache = new RedisCacheStore({ connection: this.connection, names: this.#names, log, options })
  }

  /** The store for `table` of `@headgate/sticky-session`. Throws `HG_POOL_INVALID_OPTION`. */
  stickTable (options: StickTableOptions = {}): RedisStickTable {
    return new RedisStickTable(this.connection, this.prefix, options)
  }

  /** Small values under a name of their own: keys of TLS tickets, certificates. */
  keyValue (name: string): RedisKeyValue {
    return new RedisKeyValue(this.connection, this.prefix, name)
  }

  /** The `store` for `quorum` of `@headgate/health`: whom this process would eject, told to the others. Throws `HG_POOL_INVALID_OPTION`. */
  votes (options: VotesOptions = {}): RedisVotes {
    const votes = new RedisVotes(this.connection, this.prefix, this.id, this.#options.lease ?? 5000, options)
    this.#votes.push(votes)
    return votes
  }

  /** Counters for limits, under a name of their own. */
  counters (name: string): RedisCounters {
    return new RedisCounters(this.connection, this.prefix, name)
  }

  /** The `store` for `@fastify/rate-limit`: one limit for all processes. */
  rateLimitStore (name = 'rate-limit'): new (options: object) => RateLimitStore {
    return rateLimitStore(this.counters(name))
  }

  /** Resolves at the first contact with what is shared; the stores can be used before. */
  get ready (): Promise<void> { return this.#join(false).ready }

  /** Says goodbye to the others and ends the connections. */
  close (): Promise<void> {
    return this.#closed ??= (async () => {
      await Promise.all([this.#log?.close(), ...this.#votes.map((votes) => votes.close())])
      this.connection.close()
    })()
  }

  #join (serves: boolean): PurgeLog {
    const { lease = 5000 } = this.#options
    return this.#log ??= new PurgeLog({
      connection: this.connection, names: this.#names, id: this.id, lease, patience: serves ? lease * FORGOTTEN : lease,
      purged: (purge, position, at, own) => { this.#cache?.purged(purge, position, at, own) }
    })
  }
}

/** Connects this process to the others. Never waits for Redis and never fails without it. Throws `HG_POOL_INVALID_OPTION`. */
export function connectRedis (options: RedisOptions = {}): RedisState {
  return new RedisState(options)
}
