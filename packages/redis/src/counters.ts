import type { Connection } from './connection.ts'

/** KEYS: the counter. ARGV: what is added, milliseconds of the window. Gives the count and what is left of the window. */
const ADD = `
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if count == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {count, redis.call('PTTL', KEYS[1])}`

/** Counters that are kept here for when Redis is away. */
const MAX_HERE = 100_000

export interface Count {
  readonly count: number
  /** Milliseconds until the window ends. */
  readonly ttl: number
}

/**
 * Counters of events in windows of time, over all processes: what limits are made of. Each process counts for itself too, and that count
 * answers while Redis is away.
 */
export class RedisCounters {
  readonly #connection: Connection
  readonly #prefix: string
  readonly #here: Map<string, { count: number; until: number }> = new Map()

  /** Made by `RedisState.counters`. */
  constructor (connection: Connection, prefix: string, name: string) {
    this.#connection = connection
    this.#prefix = `${prefix}:n1:${name}:`
  }

  /** Adds `n` to the counter of a window of `window` milliseconds that begins with its first event. Never rejects. */
  add (key: string, window: number, n = 1): Promise<Count> {
    const here = this.#count(key, window, n)
    if (this.#connection.away) return Promise.resolve(here)
    return this.#connection.ask((client) => client.eval(ADD, 1, this.#prefix + key, n, Math.ceil(window))).then((answer) => {
      const [count = 0, ttl = 0] = answer as number[]
      return { count, ttl: Math.max(0, ttl) }
    }, () => here)
  }

  #count (key: string, window: number, n: number): Count {
    const now = this.#connection.clock.now()
    let own = this.#here.get(key)
    if (own === undefined || own.until <= now) {
      this.#here.delete(key)
      if (this.#here.size >= MAX_HERE) this.#here.delete(this.#here.keys().next().value!)
      this.#here.set(key, own = { count: 0, until: now + window })
    }
    own.count += n
    return { count: own.count, ttl: own.until - now }
  }
}

type Incremented = (error: Error | null, result?: { current: number; ttl: number }) => void

/** What `@fastify/rate-limit` makes a store of. */
export interface RateLimitStore {
  incr (key: string, callback: Incremented, timeWindow: number, max: number): void
  child (route: object): RateLimitStore
}

async function count (counters: RedisCounters, key: string, timeWindow: number, callback: Incremented): Promise<void> {
  const { count, ttl } = await counters.add(key, timeWindow)
  callback(null, { current: count, ttl })
}

/** A class for the `store` option of `@fastify/rate-limit`. */
export function rateLimitStore (counters: RedisCounters): new (options: object) => RateLimitStore {
  return class implements RateLimitStore {
    readonly #route: string

    constructor (options: { readonly routeInfo?: { readonly method?: string | string[]; readonly url?: string } } = {}) {
      const { method = '', url = '' } = options.routeInfo ?? {}
      this.#route = `${String(method)} ${url} `
    }

    incr (key: string, callback: Incremented, timeWindow: number): void {
      void count(counters, this.#route + key, timeWindow, callback)
    }

    child (route: object): RateLimitStore { return new (this.constructor as new (options: object) => RateLimitStore)(route) }
  }
}
