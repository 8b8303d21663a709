import type { FastifyRequest } from 'fastify'
import { channels, type PurgeMessage } from './channels.ts'
import { select } from './decide.ts'
import type { Engine } from './engine.ts'
import { ageOf, type Entry } from './entry.ts'
import { freshen } from './freshen.ts'
import { urlKey } from './keys.ts'
import { carriesUnkeyed } from './poison.ts'
import type { Route } from './route.ts'
import { single } from './semantics/fields.ts'
import { invalidated } from './semantics/invalidation.ts'
import { parseHttpDate } from './semantics/http-date.ts'
import type { Concern, MaybePromise, PurgeMode } from './store/contract.ts'
import { concerns } from './concern.ts'
import { invalidatedGroups } from './tags.ts'
import { locate } from './where.ts'

/** Makes stored responses, and those being fetched, unusable: after unsafe requests, differing HEADs and purges. */
export class Invalidator {
  readonly #engine: Engine

  constructor (engine: Engine) {
    this.#engine = engine
  }

  /** A successful answer to an unsafe request (RFC 9111 4.4, RFC 9875 3). */
  unsafe (request: FastifyRequest, origin: string, route: Route, status: number, fields: readonly string[]): void {
    if (origin === '') return
    for (const url of invalidated(origin + request.raw.url!, status, fields)) {
      const key = urlKey(origin, url.slice(origin.length), route.settings.key, this.#engine.rules)
      this.#unawaited(this.url(key, 'invalidate', 'unsafe-method'))
    }
    if (status < 200 || status >= 400) return
    const groups = invalidatedGroups(fields, origin)
    if (groups.length > 0) this.#unawaited(this.every({ by: 'group', names: groups }, 'invalidate', groups.join(' ')))
  }

  /** A HEAD's 200 updates what is stored, or shows that it is not current any more (RFC 9111 4.3.5). */
  head (request: FastifyRequest, origin: string, route: Route, fields: readonly string[], requestTime: number): void {
    const { store, clock, rules } = this.#engine
    if (origin === '' || carriesUnkeyed(request, route.settings.key.headers)) return
    const where = locate(request, origin, route.settings, rules, '')
    const found = store.get(where.key)
    if (found instanceof Promise) return
    const entry = select(found, request.headers)
    if (entry === undefined || entry.status !== 200) return
    const now = clock.now()
    const length = single(fields, 'content-length')
    const etag = single(fields, 'etag')
    const modified = single(fields, 'last-modified')
    const differs = (length !== undefined && Number(length) !== entry.size) || (etag !== undefined && etag !== entry.etag) ||
      (modified !== undefined && parseHttpDate(modified, now) !== entry.lastModified && !Number.isNaN(entry.lastModified))
    const fresh = { fields, requestHeaders: request.headers, requestTime, responseTime: now, origin: where.origin }
    if (differs) entry.invalidated = true
    else if (!freshen(entry, fresh, route.settings.storage)) return store.delete(entry)
    entry.head = undefined
    store.update(entry)
  }

  /** Every response of a URL key. Gives how many there were: at once, where the store can. */
  url (url: string, mode: PurgeMode, by: PurgeMessage['by']): MaybePromise<number> {
    const { store } = this.#engine
    const concern: Concern = { by: 'url', names: [url] }
    this.outdate(concern)
    if (store.purge !== undefined) return this.#everywhere(concern, mode, by, url)
    const apply = (entries: readonly Entry[]): MaybePromise<number> => {
      for (const entry of entries) this.#apply(entry, mode)
      this.#tell(by, url, mode, entries.length)
      const settled = store.settled?.()
      return settled instanceof Promise ? settled.then(() => entries.length) : entries.length
    }
    const find = (): MaybePromise<number> => {
      const found = store.getUrl(url)
      return found instanceof Promise ? found.then(apply) : apply(found)
    }
    return store.ready === undefined ? find() : store.ready.then(find)
  }

  /** What is being fetched of it may not be stored. */
  outdate (concern: Concern): void {
    const { flights } = this.#engine
    if (concern.by === 'url') {
      for (const url of concern.names) for (const flight of flights.of(url)) flights.outdate(flight)
      return
    }
    const concerned = concerns(concern)
    for (const flight of flights.of()) if (flight.entry === undefined || concerned(flight.entry)) flights.outdate(flight)
  }

  /** Every response that it concerns; looks at all that are stored, unless the store can do better. `value` names it in messages. */
  async every (concern: Concern, mode: PurgeMode, value: string): Promise<number> {
    const { store } = this.#engine
    this.outdate(concern)
    if (store.purge !== undefined) return this.#everywhere(concern, mode, concern.by, value)
    const concerned = concerns(concern)
    await store.ready
    const all = store.entries()
    const found: Entry[] = []
    if (Symbol.asyncIterator in all) {
      for await (const entry of all) if (concerned(entry)) found.push(entry)
    } else for (const entry of all) if (concerned(entry)) found.push(entry)
    for (const entry of found) this.#apply(entry, mode)
    await store.settled?.()
    this.#tell(concern.by, value, mode, found.length)
    return found.length
  }

  async #everywhere (concern: Concern, mode: PurgeMode, by: PurgeMessage['by'], value: string): Promise<number> {
    const count = await this.#engine.store.purge!({ ...concern, mode })
    this.#tell(by, value, mode, count)
    return count
  }

  /** Nobody waits for it; a store that could not tell the others has said so through `onFailure`. */
  #unawaited (work: MaybePromise<number>): void {
    if (work instanceof Promise) work.catch(() => {})
  }

  #apply (entry: Entry, mode: PurgeMode): void {
    const { store, clock } = this.#engine
    if (mode === 'hard') return store.delete(entry)
    if (mode === 'invalidate') entry.invalidated = true
    else entry.lifetime = Math.min(entry.lifetime, ageOf(entry, clock.now()))
    entry.head = undefined
    store.update(entry)
  }

  #tell (by: PurgeMessage['by'], value: string, mode: PurgeMode, count: number): void {
    if (channels.purge.hasSubscribers) channels.purge.publish({ by, value, soft: mode !== 'hard', count })
  }
}
