import type { RedisCounters } from '@headgate/redis'
import type { Count, Counted } from '@headgate/workers'

/** Counts an event, wherever those are counted who share the limit. */
export type CountEvent = (event: Counted) => Count | Promise<Count>

type Incremented = (error: Error | null, result?: { current: number; ttl: number }) => void

/** What `@fastify/rate-limit` tells a store of its limit: for all routes, or for one. */
interface Limit {
  readonly continueExceeding?: boolean
  readonly exponentialBackoff?: boolean
  readonly cache?: number
  readonly routeInfo?: { readonly url?: string }
}

/** In Redis all machines count together. */
export const countIn = (counters: RedisCounters): CountEvent => ({ name, key, window, max, renew }) => counters.add(`${name} ${key}`, window, 1, renew && { max: max!, how: renew })

async function answer (counted: Count | Promise<Count>, done: Incremented): Promise<void> {
  let result: Count
  try {
    result = await counted
  } catch (error) {
    return done(error as Error)
  }
  done(null, { current: result.count, ttl: result.ttl })
}

/**
 * A class for the `store` of `@fastify/rate-limit`. A prefix is several routes of Fastify, by method and with and without `/*`, which have one limit.
 * `remembered`: clients of each limit, unless a route says otherwise.
 */
export function limitStore (countEvent: CountEvent, remembered: number | undefined): object {
  return class LimitStore {
    readonly #limit: Limit
    readonly #name: string

    constructor (limit: Limit) {
      this.#limit = limit
      this.#name = limit.routeInfo?.url === undefined ? '' : `${limit.routeInfo.url.replace(/\/\*?$/, '')}/`
    }

    incr (key: string, done: Incremented, window: number, max: number): void {
      const { continueExceeding = false, exponentialBackoff = false, cache = remembered } = this.#limit
      const renew = continueExceeding ? 'whole' : exponentialBackoff ? 'doubled' : undefined
      void answer(countEvent({ name: this.#name, key, window, max, renew, size: cache }), done)
    }

    child (limit: Limit): LimitStore { return new LimitStore(limit) }
  }
}
