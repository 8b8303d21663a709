import { type Clock, countInto, type EventWindow, type Renewal } from '@headgate/core'

/** Clients that one limit remembers unless it says otherwise: as many as `@fastify/rate-limit` does. */
const REMEMBERED = 5000

/** One event that a limit is for. */
export interface Counted {
  /** The limit: each counts apart. */
  readonly name: string
  /** Whose event it is. */
  readonly key: string
  /** Milliseconds of a window, which begins with its first event. */
  readonly window: number
  /** Events of a window that are no excess; needed with `renew`. */
  readonly max?: number
  /** What each event in excess does to the window: begins it anew (`whole`), or makes it twice as long each time (`doubled`). @default nothing */
  readonly renew?: Renewal['how'] | undefined
  /** Keys that are remembered, the latest ones. @default 5000 */
  readonly size?: number | undefined
}

export interface Count {
  /** Events of this window, this one included. */
  readonly count: number
  /** Milliseconds until the window ends. */
  readonly ttl: number
}

/** Counts events in windows of time: what limits of rates are made of. */
export class Counters {
  readonly #clock: Clock
  /** By name, then by key, the latest last. */
  readonly #limits: Map<string, Map<string, EventWindow>> = new Map()

  constructor (clock: Clock) {
    this.#clock = clock
  }

  count ({ name, key, window, max = Infinity, renew, size = REMEMBERED }: Counted): Count {
    const now = this.#clock.now()
    const keys = this.#keysOf(name, now)
    const entry = countInto(keys.get(key), 1, window, now, renew && { max, how: renew })
    keys.delete(key)
    if (keys.size >= size) keys.delete(keys.keys().next().value!)
    keys.set(key, entry)
    return { count: entry.count, ttl: entry.until - now }
  }

  #keysOf (name: string, now: number): Map<string, EventWindow> {
    const known = this.#limits.get(name)
    if (known !== undefined) return known
    // Limits come with configurations, and those before are asked for no more.
    for (const [other, keys] of this.#limits) if ([...keys.values()].every(({ until }) => until <= now)) this.#limits.delete(other)
    const keys = new Map<string, EventWindow>()
    this.#limits.set(name, keys)
    return keys
  }
}
