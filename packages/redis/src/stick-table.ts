import { MemoryStore, type StickEntry, type StickStore } from '@headgate/sticky-session'
import { checkOptions } from '@headgate/core'
import type { Connection } from './connection.ts'

export interface StickTableOptions {
  /** Clients that this process remembers for when Redis is away, 1–10,000,000. @default 100000 */
  readonly maxEntries?: number
}

/** Of {@link StickTableOptions}. */
export const stickTableSchema: { readonly type: 'object'; readonly [keyword: string]: unknown } = {
  type: 'object',
  additionalProperties: false,
  properties: { maxEntries: { type: 'integer', minimum: 1, maximum: 10_000_000 } } satisfies Record<keyof StickTableOptions, object>
}

/** Changes that wait for Redis to be back are told in steps of so many. */
const BATCH = 200
/** Milliseconds between two attempts to tell. */
const RETRY = 500
/** Milliseconds for which an entry of another process is remembered here, unless a touch says otherwise. */
const SEEN_FOR = 60_000

/** KEYS: the entry. ARGV: when it was bound, its value, milliseconds to live. What was bound later elsewhere stays. */
const BIND_LATER = `
local there = redis.call('GET', KEYS[1])
if there and tonumber(string.match(there, '^%d+')) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`

/**
 * A stick table in Redis, and what this process has seen of it beside it: while Redis is away that answers, and what it then takes down is told
 * to Redis when it is back.
 */
export class RedisStickTable implements StickStore {
  readonly #connection: Connection
  readonly #prefix: string
  readonly #seen: MemoryStore
  readonly #maxEntries: number
  /** Changed while Redis was away, and when the life of each ends (clock time); `undefined`: deleted. */
  readonly #changed: Map<string, { readonly entry: StickEntry; readonly until: number } | undefined> = new Map()
  #telling = false
  #waiting = false

  /** Made by `RedisState.stickTable`. Throws `HG_POOL_INVALID_OPTION`. */
  constructor (connection: Connection, prefix: string, options: StickTableOptions) {
    checkOptions(stickTableSchema, options, 'stickTable')
    this.#connection = connection
    this.#prefix = `${prefix}:s1:`
    this.#maxEntries = options.maxEntries ?? 100_000
    this.#seen = new MemoryStore(this.#maxEntries, connection.clock)
    connection.on('back', () => { void this.#tell() })
  }

  get (key: string): StickEntry | undefined | Promise<StickEntry | undefined> {
    // What Redis was not told of yet is newer here.
    if (this.#connection.away || this.#changed.has(key)) {
      // Who asks finds out whether it is back.
      if (this.#changed.size > 0) void this.#tell()
      return this.#seen.get(key)
    }
    return this.#connection.ask((client) => client.get(this.#prefix + key)).then((text) => {
      const entry = text === null ? undefined : parse(text)
      // For when Redis is away. How long it lives is only known there.
      if (entry === undefined) this.#seen.delete(key)
      else if (this.#seen.get(key)?.upstreamId !== entry.upstreamId) this.#seen.set(key, entry, SEEN_FOR)
      return entry
    }, () => this.#seen.get(key))
  }

  set (key: string, entry: StickEntry, ttl: number): void | Promise<void> {
    this.#seen.set(key, entry, ttl)
    const late = (): void => { this.#later(key, { entry, until: this.#connection.clock.now() + ttl }) }
    if (this.#connection.away) return late()
    this.#changed.delete(key)
    return this.#connection.ask((client) => client.set(this.#prefix + key, format(entry), 'PX', Math.max(1, Math.round(ttl)))).then(() => {}, late)
  }

  touch (key: string, ttl: number): boolean | Promise<boolean> {
    const here = this.#seen.touch(key, ttl)
    const entry = here ? this.#seen.get(key) : undefined
    const late = (): boolean => {
      if (entry !== undefined) this.#later(key, { entry, until: this.#connection.clock.now() + ttl })
      return here
    }
    if (this.#connection.away) return late()
    return this.#connection.ask((client) => client.pexpire(this.#prefix + key, Math.max(1, Math.round(ttl)))).then((there) => there === 1, late)
  }

  delete (key: string): boolean | Promise<boolean> {
    const here = this.#seen.delete(key)
    const late = (): boolean => {
      this.#later(key, undefined)
      return here
    }
    if (this.#connection.away) return late()
    this.#changed.delete(key)
    return this.#connection.ask((client) => client.del(this.#prefix + key)).then((there) => there === 1, late)
  }

  /** Redis forgets by itself. */
  expire (limit: number): number {
    return this.#seen.expire(limit)
  }

  #later (key: string, change: { readonly entry: StickEntry; readonly until: number } | undefined): void {
    this.#changed.delete(key)
    this.#changed.set(key, change)
    if (this.#changed.size > this.#maxEntries) this.#changed.delete(this.#changed.keys().next().value!)
    this.#soon()
  }

  #soon (): void {
    if (this.#waiting) return
    this.#waiting = true
    this.#connection.clock.setTimeout(() => {
      this.#waiting = false
      void this.#tell()
    }, RETRY)
  }

  async #tell (): Promise<void> {
    if (this.#telling) return
    this.#telling = true
    try {
      while (this.#changed.size > 0) {
        const now = this.#connection.clock.now()
        const batch = [...this.#changed].slice(0, BATCH)
        await Promise.all(batch.map(async ([key, change]) => {
          const name = this.#prefix + key
          await this.#connection.ask<unknown>((client) => change === undefined
            ? client.del(name)
            : client.eval(BIND_LATER, 1, name, change.entry.boundAt, format(change.entry), Math.max(1, Math.round(change.until - now))))
          if (this.#changed.get(key) === change) this.#changed.delete(key)
        }))
      }
    } catch {
      // Away still, or again.
      this.#soon()
    } finally {
      this.#telling = false
    }
  }
}

function format ({ boundAt, upstreamId }: StickEntry): string {
  return `${boundAt} ${upstreamId}`
}

function parse (text: string): StickEntry | undefined {
  const at = text.indexOf(' ')
  const boundAt = Number(text.slice(0, at))
  return at < 1 || !Number.isFinite(boundAt) ? undefined : { boundAt, upstreamId: text.slice(at + 1) }
}
