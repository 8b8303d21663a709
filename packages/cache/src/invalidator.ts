import type { FastifyRequest } from 'fastify'
import { channels, type PurgeMessage } from './channels.ts'
import { Circle, type Member } from './circle.ts'
import { within } from './clock.ts'
import { select } from './decide.ts'
import type { Engine } from './engine.ts'
import { ageOf, type Entry } from './entry.ts'
import { freshen } from './freshen.ts'
import { ruledUrl } from './keys.ts'
import { carriesUnkeyed } from './poison.ts'
import { RecentPurges } from './recent-purges.ts'
import type { Route } from './route.ts'
import { meant } from './ruled.ts'
import { single } from './semantics/fields.ts'
import { invalidated } from './semantics/invalidation.ts'
import { parseHttpDate } from './semantics/http-date.ts'
import type { Concern, MaybePromise, PurgeMode, TimedPurge } from './store/contract.ts'
import { concerns } from './concern.ts'
import { invalidatedGroups } from './tags.ts'
import type { CacheSharing } from './sharing.ts'
import { locate } from './where.ts'

/** Milliseconds after which another process is answered that a purge is obeyed, although what it was about is still being removed. */
const PATIENCE = 1000

/** Makes stored responses, and those being fetched, unusable: after unsafe requests, differing HEADs and purges. */
export class Invalidator implements Member {
  readonly #engine: Engine
  readonly #circle: Circle | undefined
  readonly #leave: (() => void) | undefined
  readonly recent: RecentPurges = new RecentPurges()
  /** When what was freshened here was, where others see the same responses. */
  readonly #freshened: WeakMap<Entry, number> = new WeakMap()

  constructor (engine: Engine, sharing: CacheSharing | undefined) {
    this.#engine = engine
    // A store that tells its purges to all who use it needs nobody else to.
    if (sharing === undefined || engine.store.purge !== undefined) return
    this.#circle = Circle.of(sharing, engine.name)
    this.#leave = this.#circle.join(this)
  }

  get common (): boolean { return this.#engine.store.common === true }

  /** A successful answer to an unsafe request (RFC 9111 4.4, RFC 9875 3). */
  unsafe (request: FastifyRequest, origin: string, status: number, fields: readonly string[]): void {
    if (origin === '') return
    for (const url of invalidated(origin + request.raw.url!, status, fields)) {
      this.#unawaited(this.url(origin, url.slice(origin.length), 'invalidate', 'unsafe-method'))
    }
    if (status < 200 || status >= 400) return
    const groups = invalidatedGroups(fields, origin)
    if (groups.length > 0) this.#unawaited(this.every({ by: 'group', names: groups }, 'invalidate', groups.join(' ')))
  }

  /**
   * A HEAD's 200 updates what is stored, or shows that it is not current any more (RFC 9111 4.3.5). Not when that was purged after the `purges` known
   * when it was asked for: it may tell of what was before.
   */
  head (request: FastifyRequest, origin: string, route: Route, fields: readonly string[], requestTime: number, purges: number): void {
    const { store, clock, rules } = this.#engine
    if (origin === '' || carriesUnkeyed(request, route.settings.key.headers)) return
    const where = locate(request, origin, route.settings, rules, '')
    const found = store.get(where.key)
    if (found instanceof Promise) return
    const now = clock.now()
    const entry = select(meant(found, request, where, route.settings.key, rules), request.headers, undefined, now)
    if (entry === undefined || entry.status !== 200 || this.recent.concern(entry, purges)) return
    const length = single(fields, 'content-length')
    const etag = single(fields, 'etag')
    const modified = single(fields, 'last-modified')
    const differs = (length !== undefined && Number(length) !== entry.size) || (etag !== undefined && etag !== entry.etag) ||
      (modified !== undefined && parseHttpDate(modified, now) !== entry.lastModified && !Number.isNaN(entry.lastModified))
    const fresh = { fields, requestHeaders: request.headers, requestTime, responseTime: now, origin: where.origin }
    if (differs) entry.invalidated = true
    else if (!freshen(entry, fresh, route.settings.storage)) return store.delete(entry)
    entry.head = undefined
    this.freshened(entry)
  }

  /** The store is told of what was freshened. */
  freshened (entry: Entry): void {
    const { store } = this.#engine
    if (store.common === true) this.#freshened.set(entry, entry.responseTime)
    store.update(entry)
  }

  /** Every response of a URL. Gives how many there were: at once, where the store can. */
  url (origin: string, target: string, mode: PurgeMode, by: PurgeMessage['by']): MaybePromise<number> {
    const { urlKeys, rules } = this.#engine
    return this.#purge({ by: 'url', names: urlKeys.of(origin, target, rules) }, mode, by, origin + target)
  }

  /** What is being fetched of it may not be stored. */
  outdate (concern: Concern): void {
    const { flights } = this.#engine
    this.recent.add(concern)
    if (concern.by === 'url') {
      const ruled = this.#ruled(concern)
      if (ruled !== undefined) this.outdate(ruled)
      for (const url of concern.names) for (const flight of flights.of(url)) flights.outdate(flight)
      return
    }
    const concerned = concerns(concern)
    for (const flight of flights.of()) if (flight.entry === undefined || concerned(flight.entry)) flights.outdate(flight)
  }

  /** Every response that it concerns; looks at all that are stored, unless the store can do better. `value` names it in messages. */
  async every (concern: Concern, mode: PurgeMode, value: string): Promise<number> {
    return this.#purge(concern, mode, concern.by, value)
  }

  obey (purge: TimedPurge, elsewhere: boolean): MaybePromise<number> {
    const { store } = this.#engine
    this.outdate(purge)
    store.heard?.(purge)
    const ruled = this.#ruled(purge)
    const settle = (count: number): MaybePromise<number> => {
      const settled = store.settled?.()
      return settled instanceof Promise ? settled.then(() => count) : count
    }
    const apply = (entries: readonly Entry[], more: readonly Entry[]): MaybePromise<number> => {
      for (const entry of entries) this.#apply(entry, purge, elsewhere, true)
      // The others need not know that these are of that URL.
      for (const entry of more) this.#apply(entry, purge, false, false)
      return settle(entries.length + more.length)
    }
    const find = (): MaybePromise<number> => {
      if (purge.by !== 'url' && store.sweep !== undefined) {
        let count = 0
        const swept = store.sweep(purge, (entry) => {
          count++
          this.#apply(entry, purge, elsewhere, true)
        })
        if (!(swept instanceof Promise)) return settle(swept)
        // Nobody is given what it has not come to yet, so whoever waits in another process need not wait for all of it.
        return (elsewhere ? within(this.#engine.clock, swept, PATIENCE, () => count) : swept).then(settle)
      }
      const found = this.#find(purge)
      const more = ruled === undefined ? [] : this.#find(ruled)
      return found instanceof Promise || more instanceof Promise ? Promise.all([found, more]).then((both) => apply(...both)) : apply(found, more)
    }
    // Whoever waits for an answer in another process does not wait for what is still being read here: that obeys when it is.
    return store.ready === undefined || elsewhere ? find() : store.ready.then(find)
  }

  /** Who purges a URL may not know the rule by which it is another here. */
  #ruled (concern: Concern): Concern | undefined {
    if (concern.by !== 'url') return undefined
    const known = new Set(concern.names)
    const names = concern.names.map((url) => ruledUrl(url, this.#engine.rules)).filter((url) => !known.has(url))
    return names.length === 0 ? undefined : { by: 'url', names }
  }

  close (): void {
    this.#leave?.()
  }

  #purge (concern: Concern, mode: PurgeMode, by: PurgeMessage['by'], value: string): MaybePromise<number> {
    const { store, clock } = this.#engine
    const circle = this.#circle
    let count: MaybePromise<number>
    if (store.purge !== undefined) {
      this.outdate(concern)
      count = store.purge({ ...concern, mode })
    } else if (circle === undefined || mode === 'invalidate') {
      count = this.obey({ ...concern, mode, at: clock.now() }, false)
      circle?.tell(concern, this)
    } else count = circle.purge({ ...concern, mode, at: clock.now() })
    const told = (count: number): number => {
      if (channels.purge.hasSubscribers) channels.purge.publish({ by, value, soft: mode !== 'hard', count })
      return count
    }
    return count instanceof Promise ? count.then(told) : told(count)
  }

  #find (concern: Concern): MaybePromise<readonly Entry[]> {
    const { store } = this.#engine
    if (concern.by === 'url') {
      const now: Entry[] = []
      const later: Promise<readonly Entry[]>[] = []
      for (const url of concern.names) {
        const found = store.getUrl(url)
        if (found instanceof Promise) later.push(found)
        else now.push(...found)
      }
      return later.length === 0 ? now : Promise.all(later).then((all) => [...now, ...all.flat()])
    }
    const concerned = concerns(concern)
    const all = store.entries()
    if (Symbol.asyncIterator in all) return filter(all, concerned)
    const found: Entry[] = []
    for (const entry of all) if (concerned(entry)) found.push(entry)
    return found
  }

  #unawaited (work: MaybePromise<number>): void {
    if (work instanceof Promise) work.catch(() => {})
  }

  #apply (entry: Entry, { mode, at }: TimedPurge, elsewhere: boolean, everywhere: boolean): void {
    const { store } = this.#engine
    if (mode === 'hard') return store.delete(entry, everywhere)
    if (mode === 'invalidate') entry.invalidated = true
    else entry.lifetime = Math.min(entry.lifetime, ageOf(entry, at))
    entry.head = undefined
    if (!elsewhere || store.common !== true) return store.update(entry, everywhere)
    // Who began it writes it down for all, but need not have known of what was freshened here. Others may have read that before they heard of this.
    if (this.#freshened.get(entry) === entry.responseTime) store.update(entry)
  }
}

async function filter (all: AsyncIterable<Entry>, wanted: (entry: Entry) => boolean): Promise<Entry[]> {
  const found: Entry[] = []
  for await (const entry of all) if (wanted(entry)) found.push(entry)
  return found
}
