import { countInto, type EventWindow, LONGEST_WINDOW, type Renewal } from '@headgate/core'
import type { Connection } from './connection.ts'

export type { Renewal }

/**
 * KEYS: the counter. ARGV: what is added, milliseconds of the window, and, if excess renews it, the greatest count that is none and how. Gives the count
 * and what is left of the window.
 */
const ADD = `
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local window = tonumber(ARGV[2])
if count == tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], window)
elseif ARGV[3] and count > tonumber(ARGV[3]) then
  if ARGV[4] == 'doubled' then window = math.min(window * 2 ^ (count - tonumber(ARGV[3]) - 1), ${LONGEST_WINDOW}) end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', window))
end
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
  readonly #here: Map<string, EventWindow> = new Map()

  /** Made by `RedisState.counters`. */
  constructor (connection: Connection, prefix: string, name: string) {
    this.#connection = connection
    this.#prefix = `${prefix}:n1:${name}:`
  }

  /** Adds `n` to the counter of a window of `window` milliseconds that begins with its first event. Never rejects. */
  add (key: string, window: number, n = 1, renew?: Renewal): Promise<Count> {
    const here = this.#count(key, window, n, renew)
    if (this.#connection.away) return Promise.resolve(here)
    const rule = renew === undefined ? [] : [renew.max, renew.how]
    return this.#connection.ask((client) => client.eval(ADD, 1, this.#prefix + key, n, Math.ceil(window), ...rule)).then((answer) => {
      const [count = 0, ttl = 0] = answer as number[]
      return { count, ttl: Math.max(0, ttl) }
    }, () => here)
  }

  #count (key: string, window: number, n: number, renew: Renewal | undefined): Count {
    const now = this.#connection.clock.now()
    const before = this.#here.get(key)
    const own = countInto(before, n, window, now, renew)
    if (own !== before) {
      this.#here.delete(key)
      if (this.#here.size >= MAX_HERE) this.#here.delete(this.#here.keys().next().value!)
      this.#here.set(key, own)
    }
    return { count: own.count, ttl: own.until - now }
  }
}

type Incremented = (error: Error | null, result?: { current: number; ttl: number }) => void

/** What `@fastify/rate-limit` tells a store of its limit. */
interface Limit {
  readonly routeInfo?: { readonly method?: string | string[]; readonly url?: string }
  readonly continueExceeding?: boolean
  readonly exponentialBackoff?: boolean
}

/** What `@fastify/rate-limit` makes a store of. */
export interface RateLimitStore {
  incr (key: string, callback: Incremented, timeWindow: number, max: number): void
  child (route: object): RateLimitStore
}

async function count (counters: RedisCounters, key: string, timeWindow: number, renew: Renewal | undefined, callback: Incremented): Promise<void> {
  const { count, ttl } = await counters.add(key, timeWindow, 1, renew)
  callback(null, { current: count, ttl })
}

/** A class for the `store` option of `@fastify/rate-limit`. */
export function rateLimitStore (counters: RedisCounters): new (options: object) => RateLimitStore {
  return class implements RateLimitStore {
    readonly #route: string
    readonly #how: Renewal['how'] | undefined

    constructor ({ routeInfo: { method = '', url = '' } = {}, continueExceeding = false, exponentialBackoff = false }: Limit = {}) {
      this.#route = `${String(method)} ${url} `
      this.#how = continueExceeding ? 'whole' : exponentialBackoff ? 'doubled' : undefined
    }

    incr (key: string, callback: Incremented, timeWindow: number, max: number): void {
      void count(counters, this.#route + key, timeWindow, this.#how && { max, how: this.#how }, callback)
    }

    child (route: object): RateLimitStore { return new (this.constructor as new (options: object) => RateLimitStore)(route) }
  }
}
