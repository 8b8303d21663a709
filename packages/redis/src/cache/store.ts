import { randomBytes } from 'node:crypto'
import {
  type CacheStore, type Claim, type ClaimRequest, concerns, type Entry, type EntryWriter, MemoryStore, type StorePurge, type StoreStats
} from '@headgate/cache'
import { Redis } from 'ioredis'
import type { Connection } from '../connection.ts'
import { Claims } from './claims.ts'
import { decode, encode, type Stored } from './codec.ts'
import type { Names } from './keys.ts'
import { checkRedisCache, type RedisCacheOptions } from './options.ts'
import type { Position } from './position.ts'
import type { PurgeLog } from './purge-log.ts'
import { everyQuery, isRuled } from './ruled.ts'
import { MARK, PUT } from './scripts.ts'
import { CHUNK, type Target, TwoWriter } from './writer.ts'

/** As in the other stores: more variants of one key push the oldest out. */
const MAX_VARIANTS = 32
const NOTHING: readonly Entry[] = []

/** What this process knows of an entry. */
interface Known extends Stored {
  /** It is in Redis. */
  shared: boolean
}

export interface StoreParts {
  readonly connection: Connection
  readonly names: Names
  readonly log: PurgeLog
  readonly options: RedisCacheOptions
}

/** The beginning of a key, by which it has its place: a URL, as a request's target holds no space, or what names a version of an asset. */
function placeOf (key: string): string {
  const at = key.indexOf(' ')
  return at === -1 ? key : key.slice(0, at)
}

/**
 * Responses of all processes in Redis, and in front of it a tier in this process that answers what is fresh without asking anybody. Redis
 * never decides over a request: what it does not say in time is as if it was not there. Purges are told through the {@link PurgeLog}.
 */
export class RedisCacheStore implements CacheStore, Target {
  readonly anyKey: boolean = true
  readonly #connection: Connection
  readonly #names: Names
  readonly #log: PurgeLog
  readonly #memory: MemoryStore
  readonly #claims: Claims
  readonly #maxEntryBytes: number
  readonly #keepStale: number
  readonly #validate: boolean
  readonly #known: WeakMap<Entry, Known> = new WeakMap()
  /** Keys of which Redis is known to have more than this process. */
  readonly #more: Set<string> = new Set()
  readonly #asked: Map<string, Promise<readonly Entry[]>> = new Map()
  readonly #pending: Set<Promise<unknown>> = new Set()
  /** There may be some in the memory whose URLs are others than were asked for. */
  #anyRuled = false
  readonly ready: Promise<void>
  onEvict: ((entry: Entry) => void) | undefined
  onFailure: ((error: Error) => void) | undefined
  onPurge: ((purge: StorePurge) => void) | undefined

  /** Made by `RedisState.cache`. Throws `HG_POOL_INVALID_OPTION`. */
  constructor ({ connection, names, log, options }: StoreParts) {
    checkRedisCache(options)
    this.#connection = connection
    this.#names = names
    this.#log = log
    this.#maxEntryBytes = options.maxEntryBytes ?? 1024 * 1024
    this.#keepStale = options.keepStale ?? 3_600_000
    this.#validate = options.isolated === 'validate'
    this.#memory = new MemoryStore(options.memory)
    // What is known of an entry is known of the object.
    this.#memory.guard(() => true)
    this.#memory.onEvict = (entry) => this.onEvict?.(entry)
    this.#claims = new Claims(connection, names, options.claim ?? 2000, (request, values) => this.#isNewer(request, values))
    // Only a purge waits for it, and one that cannot reach anybody says so itself.
    this.ready = Promise.resolve()
  }

  /** Of the tier in this process. */
  get stats (): StoreStats { return this.#memory.stats }

  get (key: string): readonly Entry[] | Promise<readonly Entry[]> {
    const here = this.#memory.get(key)
    if (!this.#log.attached) return this.#alone(here)
    if (here.length > 0 && (this.#more.size === 0 || !this.#more.has(key)) && this.#someFresh(here)) return here
    if (this.#connection.away) return here
    let asked = this.#asked.get(key)
    if (asked === undefined) {
      asked = this.#ask(key).finally(() => { this.#asked.delete(key) })
      this.#asked.set(key, asked)
    }
    return asked
  }

  async getUrl (url: string): Promise<readonly Entry[]> {
    const found = new Map<string, Entry>()
    for (const entry of this.#memory.getUrl(url)) found.set(`${entry.key} ${entry.id}`, entry)
    if (this.#log.attached) {
      try {
        const hashes = await this.#connection.ask((client) => client.smembers(this.#names.url(url)))
        for (const hash of [this.#names.key(url, url), ...hashes]) {
          for (const value of await this.#connection.ask((client) => client.hvalsBuffer(hash))) {
            const entry = this.#take(value)
            if (entry !== undefined && !found.has(`${entry.key} ${entry.id}`)) found.set(`${entry.key} ${entry.id}`, entry)
          }
        }
      } catch (error) {
        this.#failed(error)
      }
    }
    return [...found.values()]
  }

  touch (entry: Entry): void { this.#memory.touch(entry) }
  grown (entry: Entry): void { this.#memory.grown(entry) }

  create (entry: Entry, size: number): EntryWriter | undefined {
    const memory = this.#memory.create(entry, size)
    const shared = size <= this.#maxEntryBytes && this.#log.attached && !this.#connection.away
    if (memory === undefined && !shared) return undefined
    this.#anyRuled ||= isRuled(entry)
    const known: Known = { position: this.#log.bans.position, blob: '', until: this.#until(entry), shared: false }
    return new TwoWriter({
      entry, stored: known, blob: randomBytes(9).toString('base64url'), memory, target: shared ? this : undefined, maxBytes: this.#maxEntryBytes,
      failed: (error) => { this.#failed(error) },
      done: (stored) => {
        const { gone, invalidated, staleAt } = this.#log.bans.judge(entry, known.position)
        if (gone) return false
        if (invalidated || staleAt < Infinity) obey(entry, invalidated, staleAt)
        known.shared = stored
        this.#known.set(entry, known)
        return true
      }
    })
  }

  update (entry: Entry): void {
    const known = this.#known.get(entry)
    if (known === undefined) return
    known.position = this.#log.bans.position
    known.until = this.#until(entry)
    if (!known.shared) return
    if (known.blob === '' && entry.body === undefined) return
    this.#do(this.#put(entry, known, known.blob === '' ? entry.body : undefined, NOTHING, true))
    if (known.blob === '') return
    const life = this.#life(known)
    for (const chunk of this.#chunks(entry, known.blob)) this.#do(this.#connection.ask((client) => client.pexpire(chunk, life)))
  }

  delete (entry: Entry): void {
    this.#memory.delete(entry)
    const known = this.#known.get(entry)
    if (known?.shared !== true) return
    known.shared = false
    this.#do(this.#connection.ask((client) => client.hdel(this.#names.key(placeOf(entry.key), entry.key), entry.id)))
    if (known.blob !== '') this.#do(this.#connection.ask((client) => client.unlink(this.#chunks(entry, known.blob))))
  }

  read (entry: Entry, start: number, end: number): Buffer | undefined | Promise<Buffer | undefined> {
    if (entry.body !== undefined) return entry.body.subarray(start, end + 1)
    const known = this.#known.get(entry)
    return known === undefined || known.blob === '' ? undefined : this.#body(entry, known, start, end)
  }

  async * entries (): AsyncGenerator<Entry> {
    const seen = new Set<string>()
    for (const entry of this.#memory.entries()) {
      seen.add(`${entry.key} ${entry.id}`)
      yield entry
    }
    const { client } = this.#connection
    for (const node of client instanceof Redis ? [client] : client.nodes('master')) {
      for await (const hashes of node.scanStream({ match: this.#names.pattern, count: 500 }) as AsyncIterable<string[]>) {
        for (const hash of hashes) {
          for (const value of await node.hvalsBuffer(hash)) {
            const entry = this.#take(value)
            if (entry === undefined || seen.has(`${entry.key} ${entry.id}`)) continue
            seen.add(`${entry.key} ${entry.id}`)
            yield entry
          }
        }
      }
    }
  }

  async purge (asked: StorePurge): Promise<number> {
    const names = asked.by === 'url' ? asked.names.flatMap((url) => url.includes('?') ? [url, everyQuery(url)] : [url]) : asked.names
    const purge = { ...asked, names }
    const count = this.#found(purge).length
    // Each unsafe request would be a record for all; nearly none of them meets anything that is stored or under way.
    if (purge.mode === 'invalidate' && purge.by === 'url' && count === 0 && !await this.#isThere(asked.names)) return 0
    try {
      await this.#log.publish(purge)
    } catch (error) {
      this.#failed(error)
      throw error
    }
    return count
  }

  /** A purge came in from the log: what is in this process obeys, unless it is newer. */
  purged (purge: StorePurge, position: Position, at: number, own: boolean): void {
    for (const entry of this.#found(purge)) {
      if ((this.#known.get(entry)?.position ?? '') >= position) continue
      if (purge.mode === 'hard') this.#memory.delete(entry)
      else obey(entry, purge.mode === 'invalidate', purge.mode === 'soft' ? at : Infinity)
    }
    if (!own) this.onPurge?.(purge)
  }

  /** What a purge concerns in this process. */
  #found (purge: StorePurge): Entry[] {
    const concerned = concerns(purge)
    if (purge.by !== 'url') return [...this.#memory.entries()].filter(concerned)
    const found = purge.names.flatMap((url) => this.#memory.getUrl(url))
    if (!this.#anyRuled) return found
    const names = new Set(purge.names)
    for (const entry of this.#memory.entries()) if (!names.has(entry.url) && isRuled(entry) && names.has(everyQuery(entry.url))) found.push(entry)
    return found
  }

  claim (request: ClaimRequest): Claim | Promise<Claim> {
    if (!this.#log.attached || this.#connection.away) return { verdict: 'fetch', done: () => {} }
    return this.#claims.claim(request)
  }

  async settled (): Promise<void> {
    await Promise.all(this.#pending)
  }

  async close (): Promise<void> {
    await this.settled()
    this.#memory.close()
  }

  // What a writer does.

  chunk (entry: Entry, blob: string, index: number, bytes: Buffer): Promise<unknown> {
    const life = this.#life({ until: this.#until(entry) })
    return this.#connection.ask((client) => client.set(this.#names.chunk(placeOf(entry.key), blob, index), bytes, 'PX', life))
  }

  put (entry: Entry, stored: Stored, body: Buffer | undefined, replaces: readonly Entry[]): Promise<unknown> {
    return this.#put(entry, stored, body, replaces, false)
  }

  async #put (entry: Entry, stored: Stored, body: Buffer | undefined, replaces: readonly Entry[], present: boolean): Promise<unknown> {
    const names = this.#names
    if (isRuled(entry)) await this.#connection.ask((client) => client.eval(MARK, 1, names.ruled(everyQuery(entry.url)), this.#life(stored)))
    const place = placeOf(entry.key)
    const hash = names.key(place, entry.key)
    const gone: string[] = []
    for (const other of replaces) {
      const { blob = '' } = this.#known.get(other) ?? {}
      if (blob !== '') gone.push(...this.#chunks(other, blob))
    }
    return this.#connection.ask((client) => client.eval(
      PUT, 2 + gone.length, hash, names.url(place), ...gone,
      entry.id, encode(entry, stored, body), this.#life(stored), MAX_VARIANTS, entry.key === place ? '' : hash, present ? '1' : '0', ...replaces.map(({ id }) => id)
    ))
  }

  async #ask (key: string): Promise<readonly Entry[]> {
    try {
      const values = await this.#connection.ask((client) => client.hvalsBuffer(this.#names.key(placeOf(key), key)))
      this.#more.delete(key)
      return this.#merge(key, values)
    } catch (error) {
      this.#failed(error)
      return this.#memory.get(key)
    }
  }

  /** Redis' answer becomes what this process has. */
  #merge (key: string, values: readonly Buffer[]): readonly Entry[] {
    const here = this.#memory.get(key)
    const all: Entry[] = []
    const shared = new Set<Entry>()
    for (const value of values) {
      const entry = this.#take(value)
      if (entry === undefined || entry.key !== key) continue
      const mine = here.find(({ id }) => id === entry.id)
      if (mine !== undefined && mine.responseTime >= entry.responseTime) {
        shared.add(mine)
        all.push(mine)
        continue
      }
      if (mine !== undefined) this.#memory.delete(mine)
      if (entry.body !== undefined) this.#keep(entry, entry.body)
      all.push(entry)
    }
    for (const entry of here) {
      if (shared.has(entry)) continue
      // What was in Redis and is not any more was replaced or removed; what never was is this process's own.
      if (this.#known.get(entry)?.shared === true) this.#memory.delete(entry)
      else all.push(entry)
    }
    return all
  }

  /** An entry of Redis, when it may be used; purges are obeyed. */
  #take (value: Buffer): Entry | undefined {
    const decoded = decode(value)
    if (decoded === undefined) return undefined
    const { entry, stored } = decoded
    this.#anyRuled ||= isRuled(entry)
    const known: Known = { ...stored, shared: true }
    this.#known.set(entry, known)
    const { gone, invalidated, staleAt } = this.#log.bans.judge(entry, stored.position)
    if (gone || stored.until < this.#connection.clock.wall()) {
      this.delete(entry)
      return undefined
    }
    if (invalidated || staleAt < Infinity) obey(entry, invalidated, staleAt)
    return entry
  }

  #keep (entry: Entry, body: Buffer): void {
    // A purge may have come while its body did, and did not find it here.
    const { gone, invalidated, staleAt } = this.#log.bans.judge(entry, this.#known.get(entry)?.position ?? '')
    if (gone) return
    if (invalidated || staleAt < Infinity) obey(entry, invalidated, staleAt)
    const writer = this.#memory.create(entry, body.length)
    writer?.write(body)
    void writer?.commit(NOTHING)
  }

  async #body (entry: Entry, known: Known, start: number, end: number): Promise<Buffer | undefined> {
    const whole = entry.size <= this.#maxEntryBytes
    const chunks = this.#chunks(entry, known.blob)
    const [first, last] = whole ? [0, chunks.length - 1] : [Math.floor(start / CHUNK), Math.floor(end / CHUNK)]
    try {
      const parts = await this.#connection.ask((client) => client.mgetBuffer(chunks.slice(first, last + 1)), this.#connection.timeout * (1 + last - first))
      if (parts.some((part) => part === null)) throw new Error('a part of a body is not there any more')
      const bytes = Buffer.concat(parts as Buffer[])
      if (bytes.length !== Math.min(entry.size, (last + 1) * CHUNK) - first * CHUNK) throw new Error('a body is shorter than it was')
      if (whole) this.#keep(entry, bytes)
      return bytes.subarray(start - first * CHUNK, end + 1 - first * CHUNK)
    } catch (error) {
      this.#failed(error)
      // Not asked again and again: it is fetched anew.
      this.delete(entry)
      return undefined
    }
  }

  /** Without contact for too long, nobody tells what was purged. */
  #alone (entries: readonly Entry[]): readonly Entry[] {
    if (this.#validate) {
      for (const entry of entries) {
        entry.invalidated = true
        entry.head = undefined
      }
    }
    return entries
  }

  #someFresh (entries: readonly Entry[]): boolean {
    const now = this.#connection.clock.wall()
    return entries.some((entry) => !entry.invalidated && entry.initialAge + Math.max(0, now - entry.responseTime) < entry.lifetime)
  }

  #isNewer ({ key, known }: ClaimRequest, values: readonly Buffer[]): boolean {
    const newer = values.some((value) => {
      const entry = this.#take(value)
      if (entry === undefined) return false
      const mine = known.find(({ id }) => id === entry.id)
      return mine === undefined || mine.responseTime < entry.responseTime
    })
    if (!newer) return false
    this.#more.add(key)
    return true
  }

  async #isThere (urls: readonly string[]): Promise<boolean> {
    try {
      for (const url of urls) {
        const names = [this.#names.key(url, url), this.#names.url(url), this.#names.claim(url, url)]
        if (await this.#connection.ask((client) => client.exists(names)) > 0) return true
        if (url.includes('?') && await this.#connection.ask((client) => client.exists(this.#names.ruled(everyQuery(url)))) > 0) return true
      }
      return false
    } catch {
      return true
    }
  }

  #until (entry: Entry): number {
    const age = entry.initialAge + Math.max(0, this.#connection.clock.wall() - entry.responseTime)
    return this.#connection.clock.wall() + Math.max(0, entry.lifetime - age) + Math.max(this.#keepStale, entry.staleWhileRevalidate, entry.staleIfError)
  }

  #life ({ until }: { readonly until: number }): number {
    return Math.max(1, Math.round(until - this.#connection.clock.wall()))
  }

  #chunks (entry: Entry, blob: string): string[] {
    const place = placeOf(entry.key)
    return Array.from({ length: Math.ceil(entry.size / CHUNK) }, (_, i) => this.#names.chunk(place, blob, i))
  }

  #do (work: Promise<unknown>): void {
    const tracked = work.catch((error: unknown) => { this.#failed(error) }).finally(() => { this.#pending.delete(tracked) })
    this.#pending.add(tracked)
  }

  #failed (error: unknown): void {
    this.onFailure?.(error as Error)
  }
}

function obey (entry: Entry, invalidated: boolean, staleAt: number): void {
  if (invalidated) entry.invalidated = true
  if (staleAt < Infinity) entry.lifetime = Math.min(entry.lifetime, entry.initialAge + Math.max(0, staleAt - entry.responseTime))
  entry.head = undefined
}

