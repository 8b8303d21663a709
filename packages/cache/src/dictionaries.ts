import type { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { bypassReason } from './bypass-reason.ts'
import { commit } from './commit.ts'
import type { Engine } from './engine.ts'
import { type Entry, makeEntry } from './entry.ts'
import { keySuffix, originOf, urlKey } from './keys.ts'
import type { RouteSettings } from './options.ts'
import { RecentMap } from './recent-map.ts'
import type { MaybePromise } from './store/contract.ts'

/** Assets whose last versions are remembered. */
const MAX_ASSETS = 1024
/** Milliseconds for which a version that was found in a store elsewhere is taken to be there. */
const TRUSTED = 10_000

/** What is to be kept as a version. */
export interface Kept {
  /** SHA-256 of the body, in base64. */
  readonly hash: string
  readonly body: Buffer
  /** Fields of the response, flat: name, value … */
  readonly fields: readonly string[]
  /** What it is a version of; when this process has stored more than `most` of them, the oldest goes. */
  readonly asset: string
  readonly most: number
}

/**
 * Former versions of assets in the cache's store, for a plugin that encodes with them as dictionaries (RFC 9842): `@headgate/compress` does. Each is a
 * stored response with the URL, tags and groups of the asset, under a key of its own, so that bounds, eviction, files, other processes and purges
 * treat it as they do the asset. A hard purge removes it. One that is only stale stays of use: the client that names it has it, and whether
 * that is fresh enough for it is for the client to know (RFC 9842 2.2.1).
 */
export class CacheDictionaries {
  readonly #engine: Engine
  readonly #settingsOf: (request: FastifyRequest) => RouteSettings
  readonly #shelf: Shelf

  constructor (engine: Engine, settingsOf: (request: FastifyRequest) => RouteSettings) {
    this.#engine = engine
    this.#settingsOf = settingsOf
    this.#shelf = { stored: new RecentMap(MAX_ASSETS), pending: new Set(), elsewhere: new RecentMap(MAX_ASSETS) }
  }

  /** Versions for a request; to be called when it comes. `undefined`: its origin is not known. */
  of (request: FastifyRequest): Versions | undefined {
    // Now: once the client has gone, so has the scheme.
    const origin = originOf(request)
    return origin === '' ? undefined : new Versions(this.#engine, this.#shelf, request, origin, () => this.#settingsOf(request))
  }
}

/** What the requests of a cache share. */
interface Shelf {
  /** Versions that this process has stored, oldest first. */
  readonly stored: RecentMap<Entry[]>
  /** Keys of what is being stored. */
  readonly pending: Set<string>
  /** Until when keys need not be looked for. */
  readonly elsewhere: RecentMap<number>
}

/** Versions of the asset that a request is for. Nothing of it throws or rejects. */
export class Versions {
  readonly #engine: Engine
  readonly #shelf: Shelf
  readonly #request: FastifyRequest
  readonly #origin: string
  readonly #requestTime: number
  readonly #purges: number
  readonly #settings: () => RouteSettings
  #who: string | undefined

  constructor (engine: Engine, shelf: Shelf, request: FastifyRequest, origin: string, settings: () => RouteSettings) {
    this.#engine = engine
    this.#shelf = shelf
    this.#request = request
    this.#origin = origin
    this.#settings = settings
    this.#requestTime = engine.clock.now()
    this.#purges = engine.invalidator.recent.now
  }

  /** The body of this hash, where it is in memory. */
  peek (hash: string): Buffer | undefined {
    const key = this.#keyOf(hash)
    const found = key === undefined || this.#isElsewhere(key) ? undefined : this.#engine.store.get(key)
    return found === undefined || found instanceof Promise ? undefined : found[0]?.body
  }

  /** The body of this hash, which the client says that it has. */
  get (hash: string): MaybePromise<Buffer | undefined> {
    const { store } = this.#engine
    const key = this.#keyOf(hash)
    if (key === undefined) return undefined
    const read = ([entry]: readonly Entry[]): MaybePromise<Buffer | undefined> => {
      if (entry === undefined) return undefined
      store.touch(entry)
      if (entry.body !== undefined) return entry.body
      const body = store.read(entry, 0, entry.size - 1)
      return body instanceof Promise ? body.then(whole).catch(nothing) : whole(body)
    }
    const found = store.get(key)
    return found instanceof Promise ? found.then(read).catch(nothing) : read(found)
  }

  /** Keeps one, unless the cache may not store such a response, or it was purged since the request came. */
  put (kept: Kept): void {
    const { store, clock, rules, idOf } = this.#engine
    const key = this.#keyOf(kept.hash)
    if (key === undefined || this.#shelf.pending.has(key) || this.#isElsewhere(key)) return
    const found = store.get(key)
    if (!(found instanceof Promise) && found.length > 0) return
    const { key: keying, storage } = this.#settings()
    const made = makeEntry({
      key, url: urlKey(this.#origin, this.#request.raw.url!, keying, rules), origin: this.#origin, status: 200, reason: '', fields: kept.fields,
      requestHeaders: this.#request.headers, requestTime: this.#requestTime, responseTime: clock.now()
    }, storage, idOf)
    if (typeof made === 'string') return
    // It is found by its content, and its fields are sent to nobody.
    const entry = { ...made, vary: [], varyValues: [], fields: [] }
    // The app may write into its Buffer again.
    const body = Buffer.from(kept.body)
    if (!(found instanceof Promise)) return this.#store(entry, kept, body)
    this.#shelf.pending.add(key)
    void found.catch(() => []).then((found) => {
      this.#shelf.pending.delete(key)
      if (found.length === 0) this.#store(entry, kept, body)
      else this.#shelf.elsewhere.set(key, clock.now() + TRUSTED)
    })
  }

  #store (entry: Entry, { asset, most }: Kept, body: Buffer): void {
    const { store, invalidator: { recent } } = this.#engine
    const { stored: lists, pending } = this.#shelf
    const writer = store.create(entry, body.length)
    if (writer === undefined) return
    pending.add(entry.key)
    writer.write(body)
    const settle = (stored: boolean): void => {
      pending.delete(entry.key)
      if (!stored) return
      const name = `${this.#origin}${this.#who!} ${asset}`
      const list = lists.get(name) ?? []
      list.push(entry)
      while (list.length > most) store.delete(list.shift()!)
      lists.set(name, list)
    }
    const stored = commit(store, writer, entry, [], () => !recent.concern(entry, this.#purges))
    if (stored instanceof Promise) void stored.then(settle, () => { settle(false) })
    else settle(stored)
  }

  #isElsewhere (key: string): boolean {
    return (this.#shelf.elsewhere.get(key) ?? 0) > this.#engine.clock.now()
  }

  /** `undefined`: such requests go past the cache. Whom a response is for may be known to later hooks than those that run when it comes. */
  #keyOf (hash: string): string | undefined {
    if (this.#who === undefined) {
      const settings = this.#settings()
      if (bypassReason(this.#request, settings) !== '') return undefined
      this.#who = keySuffix(this.#request, settings.key, '')
    }
    // No request's key begins like this.
    return `dictionary:${this.#origin}/${hash}${this.#who}`
  }
}

const nothing = (): undefined => undefined

function whole (body: Buffer | Readable | undefined): MaybePromise<Buffer | undefined> {
  if (body === undefined || Buffer.isBuffer(body)) return body
  return (body.toArray() as Promise<Buffer[]>).then((pieces) => Buffer.concat(pieces)).catch(nothing)
}
