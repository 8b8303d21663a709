import type { FastifyReply, FastifyRequest } from 'fastify'
import { channels } from './channels.ts'
import { combined, completeFields, sameStrong } from './combine.ts'
import { commit } from './commit.ts'
import { reusable, usableOnError } from './decide.ts'
import type { Engine } from './engine.ts'
import { type Entry, makeEntry } from './entry.ts'
import { DetachedResponse } from './flight/detached-response.ts'
import { detachRequest } from './flight/detached-request.ts'
import type { Detached, Fetch } from './flight/fetch.ts'
import { type Controller, Flight, type FlightPlan } from './flight/flight.ts'
import { detachReply, runHandler } from './flight/run-handler.ts'
import { UnderWay } from './flight/under-way.ts'
import { freshen, freshened, type Fresh } from './freshen.ts'
import { type Dropped, droppedFields } from './poison.ts'
import { RecentMap } from './recent-map.ts'
import type { Route } from './route.ts'
import { contextSymbol } from './route-context.ts'
import { placed } from './ruled.ts'
import { asGet } from './semantics/as-get.ts'
import { single } from './semantics/fields.ts'
import { formatHttpDate } from './semantics/http-date.ts'
import { parseContentRange } from './semantics/ranges.ts'
import { updated } from './semantics/update.ts'
import { varyValues } from './semantics/vary.ts'
import type { Claim } from './store/contract.ts'
import { replaces, sameVariant } from './variants.ts'
import type { Visit } from './visit.ts'
import { keptQuery, type Where } from './where.ts'

/** Keys of which something is remembered beside the store. */
const MAX_MARKS = 20_000
/** Bytes of a shared response that are kept for late joiners. */
const RETAINED = 1024 * 1024
/** An origin that answers with these has failed, as far as a stale response may help (RFC 5861 4). */
const FAILURES = new Set([500, 502, 503, 504])

/** Can it be asked about as a whole? */
function validates ({ method }: FastifyRequest, entry: Entry | undefined): entry is Entry {
  return entry !== undefined && asGet(method) && entry.part === undefined && (entry.etag !== undefined || !Number.isNaN(entry.lastModified))
}

/**
 * What tells fetches of one key apart, as far as it may decide whether their responses can be shared: a refusal of one client's range, or of
 * what only its `Authorization` gets, says nothing about what the others would be given. `whole`: its range is not passed on.
 */
function markOf ({ headers }: FastifyRequest, { key }: Where, whole: boolean): string {
  const { range } = headers
  const mark = headers.authorization === undefined ? key : `${key}\nauthorized`
  return whole || range === undefined ? mark : `${mark}\nrange ${range} ${String(headers['if-range'] ?? '')}`
}

/** All fetches under way: starts them, lets requests share them, and decides what becomes of their responses. */
export class Flights implements Controller {
  readonly #engine: Engine
  readonly #backgroundMax: number
  readonly #underWay: UnderWay = new UnderWay()
  /** Names that the responses of a key vary by, when its variants were told apart before. */
  readonly #hints: RecentMap<readonly string[]> = new RecentMap(MAX_MARKS)
  /** Keys whose response could not be shared, and until when that is believed. */
  readonly #unshared: RecentMap<number> = new RecentMap(MAX_MARKS)
  readonly #uses: RecentMap<number> = new RecentMap(MAX_MARKS)
  readonly #dropped: WeakMap<Route, Dropped> = new WeakMap()
  /** Keys of which a response is all there, and the store is still putting it where it can be found. */
  readonly #committing: Map<string, Promise<void>> = new Map()
  #background = 0

  constructor (engine: Engine, backgroundMax: number) {
    this.#engine = engine
    this.#backgroundMax = backgroundMax
  }

  get size (): number { return this.#underWay.size }

  detached (flight: Flight): Detached | undefined {
    return flight.fetch?.detached
  }

  /** Flights of a resource, or all. */
  of (url?: string): Iterable<Flight> {
    return url === undefined ? this.#underWay.all() : this.#underWay.of(url) ?? []
  }

  /** May a fetch, or a request that waits for one, come back to this entry? Those of other resources do not. */
  mayUse ({ url }: Entry): boolean {
    return this.#underWay.of(url) !== undefined
  }

  /** Ends, never with an error, when the last response of a key that has come is in the store; `undefined` when it is. */
  committing (key: string): Promise<void> | undefined {
    return this.#committing.get(key)
  }

  /** Has a request wait for a flight: one that is under way, or its own. */
  board (visit: Visit, entries: readonly Entry[]): void {
    const { request, reply, route, where, entry } = visit
    const engine = this.#engine
    const { collapse } = route.settings
    const now = engine.clock.now()
    const stale = visit.plain ? undefined : entry
    const mark = markOf(request, where, !asGet(request.method) || validates(request, stale))
    const until = this.#unshared.size === 0 ? undefined : this.#unshared.get(mark)
    // Who takes a stale response in place of a failure can be given it by a flight only.
    if (until !== undefined && until > now && !(stale !== undefined && visit.accepts(stale))) return engine.pass(request, reply, route, visit.forward, 'hit-for-miss')
    const key = this.#keyOf(request, where, mark, entries)
    // What is never fresh has to be asked about for each request (RFC 9111 4): nobody could use another's answer.
    const shared = collapse > 0 && (stale === undefined || reusable(stale))
    const running = shared ? this.#find(visit, mark, key) : undefined
    if (running !== undefined) {
      if (running.outcome !== undefined) return visit.settled(running, running.outcome)
      return visit.wait(running, collapse, () => { engine.pass(request, reply, route, visit.forward, 'collapse-timeout') })
    }
    const flight = new Flight(this.#plan(key, mark, where, request, stale, now, shared), this)
    flight.leader = visit
    visit.wait(flight, 0, () => {})
    this.#launch(flight, request, reply, route, where, entries, collapse)
  }

  /** Fetches a stale response again, unless that is being done, or too much else is. */
  background (request: FastifyRequest, reply: FastifyReply, route: Route, where: Where, entry: Entry): void {
    const mark = markOf(request, where, true)
    const key = this.#keyOf(request, where, mark, [entry])
    if (this.#background >= this.#backgroundMax || this.#under(where.url, key)) return
    this.#background++
    this.#engine.stats.background++
    const flight = new Flight({ ...this.#plan(key, mark, where, request, entry, this.#engine.clock.now(), true), background: true }, this)
    flight.kept = true
    this.#launch(flight, request, reply, route, where, [entry], 0)
  }

  /** Somebody went away. */
  left (flight: Flight): void {
    if (!flight.idle || flight.kept || flight.writer !== undefined || flight.ended || flight.broken) return
    flight.discard()
    this.#remove(flight)
  }

  /** What is being fetched may not be used later. */
  outdate (flight: Flight): void {
    flight.outdated = true
  }

  onHead (flight: Flight): void {
    const fetch = flight.fetch!
    const engine = this.#engine
    const { plan, status } = flight
    flight.responseTime = engine.clock.now()
    fetch.route.latency.add(flight.responseTime - plan.requestTime)
    if (status === 304 && plan.validating !== undefined) return this.#validated(flight, fetch, plan.validating)
    if ((flight.failed || FAILURES.has(status)) && this.#rescued(flight, fetch)) return
    if (plan.completing !== undefined && status !== 200) {
      if (status === 206 && this.#completes(flight, plan.completing)) return this.#store(flight, fetch)
      return this.#again(flight)
    }
    this.#store(flight, fetch)
  }

  onEnd (flight: Flight, complete: boolean): void {
    const { fetch, writer } = flight
    if (fetch === undefined) return
    if (complete && writer !== undefined && !flight.outdated) {
      const committed = this.#commit(flight, fetch)
      if (!(committed instanceof Promise)) return this.#remove(flight)
      const { key } = flight.entry!
      const finish = (): void => {
        if (this.#committing.get(key) === done) this.#committing.delete(key)
        this.#remove(flight)
      }
      const done = committed.then(finish, finish)
      this.#committing.set(key, done)
      return
    }
    writer?.abort()
    flight.stored(0, undefined)
    this.#remove(flight)
    if (flight.outcome !== undefined || this.#rescued(flight, fetch)) return
    flight.settle({ kind: 'failed' })
  }

  #keyOf (request: FastifyRequest, where: Where, mark: string, entries: readonly Entry[]): string {
    const names = this.#hints.size === 0 && entries.length === 0 ? undefined : this.#hints.get(where.key) ?? entries.at(-1)?.vary
    return names === undefined || names.length === 0 ? mark : `${mark}\n${JSON.stringify(varyValues(names, request.headers))}`
  }

  /** A flight that the request may share: one whose answer is not known, or may be used for it. */
  #find (visit: Visit, mark: string, key: string): Flight | undefined {
    for (const flight of this.of(visit.where.url)) {
      const { plan, entry, outcome } = flight
      if (!plan.shared || !flight.joinable) continue
      // A first response is told apart from other variants only when it says what it varies by.
      if (outcome === undefined ? plan.key === key : plan.mark === mark && entry !== undefined && visit.mayUse(entry)) return flight
    }
    return undefined
  }

  #under (url: string, key: string): boolean {
    return this.#underWay.of(url)?.some(({ plan, joinable }) => plan.shared && joinable && plan.key === key) === true
  }

  #plan (key: string, mark: string, where: Where, request: FastifyRequest, entry: Entry | undefined, now: number, shared: boolean): FlightPlan {
    // The rest of a part that is in memory, fresh, and sure to fit what comes.
    const completes = asGet(request.method) && request.headers.range === undefined &&
      entry?.part?.start === 0 && entry.body !== undefined && sameStrong(entry, entry)
    return {
      key, mark, url: where.url, requestTime: now, validating: validates(request, entry) ? entry : undefined, completing: completes ? entry : undefined,
      stale: entry, background: false, shared, purges: this.#engine.invalidator.recent.now
    }
  }

  /** `wait`: milliseconds that this one may wait for another process that fetches the same. */
  #launch (flight: Flight, request: FastifyRequest, reply: FastifyReply, route: Route, where: Where, known: readonly Entry[], wait: number): void {
    const { validating, completing, shared } = flight.plan
    let dropped = this.#dropped.get(route)
    if (dropped === undefined) this.#dropped.set(route, dropped = droppedFields(route.settings.key.headers))
    const add: string[] = []
    if (validating?.etag !== undefined) add.push('If-None-Match', validating.etag)
    if (validating !== undefined && !Number.isNaN(validating.lastModified)) add.push('If-Modified-Since', formatHttpDate(validating.lastModified))
    if (completing !== undefined) add.push('Range', `bytes=${completing.size}-`, 'If-Range', completing.etag ?? formatHttpDate(completing.lastModified))
    const detached = detachRequest(request, {
      drop: validating === undefined && completing === undefined && !flight.plan.background && asGet(request.method) ? dropped.ranged : dropped.whole,
      add,
      scheme: where.origin.startsWith('https:') ? 'https' : 'http',
      target: where.target,
      query: keptQuery(request.query, route.settings.key.drop)
    }, contextSymbol(request)!, () => { flight.failed = true })
    flight.response = new DetachedResponse(detached.raw, flight)
    const answer = detachReply(reply, detached, flight.response)
    this.#underWay.add(flight, { request, route, where, detached: { request: detached, reply: answer, logged: answer.log } })
    const run = (): void => { runHandler(route.handler, route.server, detached, answer) }
    const { store } = this.#engine
    if (!shared || store.claim === undefined) return run()
    const claimed = store.claim({ key: where.key, url: where.url, variant: flight.plan.key, known, wait })
    if (claimed instanceof Promise) void claimed.then((claim) => { this.#claimed(flight, route, claim, run) })
    else this.#claimed(flight, route, claimed, run)
  }

  /** Of all processes that share the store, one fetches; the others look again when it has. */
  #claimed (flight: Flight, { settings }: Route, claim: Claim, run: () => void): void {
    if (claim.verdict === 'fetch') {
      // Whoever wanted it has gone meanwhile.
      if (flight.fetch === undefined) return claim.done(0)
      flight.claim = claim
      return run()
    }
    if (flight.fetch === undefined) return
    if (claim.verdict === 'pass' && settings.hitForMiss > 0) this.#unshared.set(flight.plan.mark, this.#engine.clock.now() + settings.hitForMiss)
    this.#remove(flight)
    flight.settle({ kind: 'again', plain: false })
  }

  #remove (flight: Flight): void {
    if (!this.#underWay.delete(flight)) return
    if (flight.plan.background) this.#background--
    this.#unclaim(flight, 0)
  }

  #unclaim (flight: Flight, unsharedFor: number): void {
    flight.claim?.done(unsharedFor)
    flight.claim = undefined
  }

  #fresh (flight: Flight, { request, where }: Fetch): Fresh {
    const { fields, responseTime, plan } = flight
    return { fields, requestHeaders: request.headers, requestTime: plan.requestTime, responseTime, origin: where.origin }
  }

  /** A 304 to our own validators. */
  #validated (flight: Flight, fetch: Fetch, validating: Entry): void {
    const fresh = this.#fresh(flight, fetch)
    const current = this.#engine.store.get(validating.key)
    // What is in the store now, as it may have changed since.
    const entries = current instanceof Promise || !current.includes(validating) ? [validating] : current
    const meant = freshened(entries, validating, fresh)
    if (!meant.includes(validating)) return this.#again(flight)
    for (const entry of meant) {
      if (!freshen(entry, fresh, fetch.route.settings.storage)) this.#engine.store.delete(entry)
      else {
        entry.invalidated ||= !this.#wanted(flight, entry)
        this.#engine.invalidator.freshened(entry)
      }
    }
    flight.discard()
    this.#remove(flight)
    flight.settle({ kind: 'entry', entry: validating, detail: 'revalidated' })
  }

  /** A stale response instead of a failure, where that is allowed. */
  #rescued (flight: Flight, { route }: Fetch): boolean {
    const { stale } = flight.plan
    if (stale === undefined) return false
    const outcome = { kind: 'entry', entry: stale, detail: 'stale-if-error' } as const
    const forAll = usableOnError(stale, route.settings.staleIfError, this.#engine.clock.now())
    if (!forAll && !(flight.part(outcome, (passenger) => passenger.accepts(stale)) && flight.idle)) return false
    flight.discard()
    this.#remove(flight)
    flight.settle(outcome)
    return true
  }

  #again (flight: Flight): void {
    flight.discard()
    this.#remove(flight)
    flight.settle({ kind: 'again', plain: true })
  }

  /** A 206 with just the bytes that a stored part lacks: becomes the complete response (RFC 9111 3.4). */
  #completes (flight: Flight, part: Entry): boolean {
    const range = parseContentRange(single(flight.fields, 'content-range'))
    const { total } = part.part!
    if (range === undefined || range.start !== part.size || range.end !== total - 1 || range.total !== total) return false
    const fetch = flight.fetch!
    const made = makeEntry({ ...this.#received(flight, fetch), status: 206 }, fetch.route.settings.storage, this.#engine.idOf)
    if (typeof made === 'string' || !sameStrong(part, made)) return false
    flight.become(200, 'OK', [...completeFields(updated(part.fields, flight.fields)), 'Content-Length', String(total)], part.body!)
    return true
  }

  #received (flight: Flight, { request, where }: Fetch) {
    return {
      key: where.key, url: where.url, origin: where.origin, status: flight.status, reason: flight.reason, fields: flight.fields,
      requestHeaders: request.headers, requestTime: flight.plan.requestTime, responseTime: flight.responseTime
    }
  }

  /** A response that may be stored is shared; any other is for the one who asked. */
  #store (flight: Flight, fetch: Fetch): void {
    const { route, where } = fetch
    const { settings } = route
    const { status } = flight
    const engine = this.#engine
    const entry = settings.statuses === undefined || settings.statuses.has(status) ? makeEntry(this.#received(flight, fetch), settings.storage, engine.idOf) : 'status'
    if (typeof entry === 'string') return this.#refuse(flight, fetch, entry)
    const { key, url } = placed(fetch.request, where, settings.key, engine.rules, status, flight.fields)
    entry.key = key
    entry.url = url
    if (entry.vary.length > 0) this.#hints.set(where.key, entry.vary)
    flight.entry = entry
    const uses = settings.minUses === 1 ? 1 : (this.#uses.get(where.key) ?? 0) + 1
    if (uses < settings.minUses) {
      this.#uses.set(where.key, uses)
      flight.refusal = 'min-uses'
    } else if (this.#wanted(flight, entry)) {
      flight.writer = engine.store.create(entry, flight.expected)
      if (flight.writer === undefined) return this.#refuse(flight, fetch, 'size')
      flight.writer.onDrain = () => { flight.writerDrained() }
    }
    flight.retain = RETAINED
    flight.begin()
    flight.settle({ kind: 'stream', shared: true })
  }

  #refuse (flight: Flight, { route, where }: Fetch, why: string): void {
    const { hitForMiss } = route.settings
    flight.refusal = why
    flight.entry = undefined
    if (hitForMiss > 0) this.#unshared.set(flight.plan.mark, flight.responseTime + hitForMiss)
    // Those who wait in other processes can go.
    this.#unclaim(flight, hitForMiss)
    const { store } = channels
    if (store.hasSubscribers) store.publish({ key: where.key, stored: false, reason: why, size: -1 })
    flight.begin()
    flight.settle({ kind: 'stream', shared: false })
    if (flight.idle && !flight.kept) this.left(flight)
  }

  /** Has nothing been purged since it was asked for that this is a part of? */
  #wanted (flight: Flight, entry: Entry): boolean {
    return !flight.outdated && !this.#engine.invalidator.recent.concern(entry, flight.plan.purges)
  }

  #commit (flight: Flight, fetch: Fetch): void | Promise<void> {
    const entry = flight.entry!
    const { store } = this.#engine
    const found = store.get(entry.key)
    const finish = (entries: readonly Entry[]): void | Promise<void> => {
      const replaced = entries.filter((other) => replaces(entry, other))
      const stored = commit(store, flight.writer!, entry, replaced, () => this.#wanted(flight, entry))
      if (stored instanceof Promise) return stored.then((done) => this.#committed(flight, fetch, done))
      return this.#committed(flight, fetch, stored)
    }
    return found instanceof Promise ? found.then(finish) : finish(found)
  }

  #committed (flight: Flight, { where }: Fetch, stored: boolean): void | Promise<void> {
    const entry = flight.entry!
    const { store, stats } = this.#engine
    if (channels.store.hasSubscribers) channels.store.publish({ key: where.key, stored, reason: stored ? '' : 'store', size: entry.size })
    flight.stored(entry.size, stored ? (start, end) => entry.body?.subarray(start, end + 1) ?? store.read(entry, start, end) : undefined)
    if (!stored) return
    stats.stored++
    if (entry.part !== undefined) return this.#combine(entry)
  }

  /** Joins a new part with those beside it. */
  #combine (entry: Entry): void | Promise<void> {
    const { store, invalidator: { recent } } = this.#engine
    const others = store.get(entry.key)
    if (others instanceof Promise) return
    for (const other of others) {
      if (other.id === entry.id || !sameVariant(other, entry)) continue
      const made = combined(other, entry)
      if (made === undefined) continue
      const writer = store.create(made.entry, made.body.length)
      if (writer === undefined) return
      const then = recent.now
      writer.write(made.body)
      const more = (stored: boolean): void | Promise<void> => { if (stored) return this.#combine(made.entry) }
      const stored = commit(store, writer, made.entry, [other, entry], () => !recent.concern(made.entry, then))
      return stored instanceof Promise ? stored.then(more) : more(stored)
    }
  }
}
