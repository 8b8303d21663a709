import type { FastifyReply, FastifyRequest } from 'fastify'
import { bypassReason } from './bypass-reason.ts'
import { forwardStatus } from './cache-status.ts'
import { channels, type CacheResult } from './channels.ts'
import { type CacheClock, within } from './clock.ts'
import { completeFields } from './combine.ts'
import { decide, type Forward, usableWhileSlow } from './decide.ts'
import { sendHints } from './early-hints.ts'
import type { Entry } from './entry.ts'
import { entryIds } from './entry-ids.ts'
import { OnlyIfCachedError } from './errors.ts'
import { sendExpected } from './expected.ts'
import { handBack } from './flight/detached-request.ts'
import type { Flight } from './flight/flight.ts'
import { runHandler } from './flight/run-handler.ts'
import { Flights } from './flights.ts'
import { Invalidator } from './invalidator.ts'
import { originOf } from './keys.ts'
import { observeHead } from './observe.ts'
import { openOutput, sendComplete } from './output.ts'
import { postedEntry, storePosted } from './posted.ts'
import { RecentMap } from './recent-map.ts'
import { requestBody } from './request-body.ts'
import type { Route } from './route.ts'
import { hasOnSend, isObserved } from './route-context.ts'
import { meant } from './ruled.ts'
import { ScopedOutput } from './scope.ts'
import { rangeOf } from './semantics/as-get.ts'
import { parseRequestCacheControl } from './semantics/cache-control.ts'
import { first, storable, without } from './semantics/fields.ts'
import { isSafe } from './semantics/invalidation.ts'
import type { QueryRule } from './semantics/no-vary-search.ts'
import { parseRange, resolve } from './semantics/ranges.ts'
import { ifRangeHolds, notModified } from './semantics/validators.ts'
import { serveEntry } from './serve.ts'
import type { CacheSharing } from './sharing.ts'
import { type CacheStats, noStats } from './stats.ts'
import type { CacheStore } from './store/contract.ts'
import { UrlKeys } from './url-keys.ts'
import { Visit } from './visit.ts'
import { locate, type Where } from './where.ts'

export interface EngineOptions {
  readonly name: string
  readonly store: CacheStore
  readonly clock: CacheClock
  readonly backgroundMax: number
  readonly random: () => number
  readonly sharing: CacheSharing | undefined
}

/** Paths whose No-Vary-Search rule is remembered. */
const MAX_RULES = 10_000
const OF_BODY = new Set(['content-length', 'content-type', 'content-encoding', 'content-language', 'content-range'])

/** Decides for each request of a cached route who answers it: the store, a fetch that is under way, or the route's handler. */
export class Engine {
  readonly name: string
  readonly store: CacheStore
  readonly clock: CacheClock
  readonly stats: CacheStats = noStats()
  readonly rules: RecentMap<QueryRule> = new RecentMap(MAX_RULES)
  readonly urlKeys: UrlKeys = new UrlKeys()
  readonly flights: Flights
  readonly invalidator: Invalidator
  /** Makes a name for an entry. */
  readonly idOf: (responseTime: number) => string

  constructor ({ name, store, clock, backgroundMax, random, sharing }: EngineOptions) {
    this.name = name
    this.store = store
    this.clock = clock
    this.idOf = entryIds(random)
    this.flights = new Flights(this, backgroundMax)
    this.invalidator = new Invalidator(this, sharing)
  }

  /** Takes the place of a route's handler; what it returns is for Fastify. */
  handle (request: FastifyRequest, reply: FastifyReply, route: Route): unknown {
    const { settings } = route
    const { method, headers } = request
    const plain = method === 'GET' ? settings.bodyless : method === 'HEAD' && settings.head
    if (!plain && !settings.bodyMethods.has(method)) return this.#direct(request, reply, route, 'method', '')
    const hasBody = headers['transfer-encoding'] !== undefined || (headers['content-length'] !== undefined && headers['content-length'] !== '0')
    const origin = originOf(request)
    const why = origin === '' ? 'host' : plain && hasBody ? 'body' : bypassReason(request, settings)
    if (why !== '') return this.#direct(request, reply, route, 'bypass', why)
    if (plain) {
      this.#lookup(request, reply, route, locate(request, origin, settings, this.rules, ''))
      return
    }
    requestBody(request, settings.maxRequestBody, (hash) => {
      if (hash === undefined) this.pass(request, reply, route, 'bypass', 'body')
      else this.#lookup(request, reply, route, locate(request, origin, settings, this.rules, hash))
    })
  }

  /** Looks again, for a request that could not use the flight it waited for. */
  again (visit: Visit): void {
    this.#lookup(visit.request, visit.reply, visit.route, visit.where, visit.plain)
  }

  /** Lets the route's handler answer this one request by itself. */
  pass (request: FastifyRequest, reply: FastifyReply, route: Route, forward: Forward, detail: string): void {
    if (reply.raw.destroyed) return
    this.#observe(request, reply, route, forward, detail)
    runHandler(route.handler, route.server, request, reply)
  }

  /** Nobody may wait any more for this flight. */
  left (flight: Flight): void {
    this.flights.left(flight)
  }

  /** The leader's hooks and log line get what the handler put on its request. */
  handBack (flight: Flight, visit: Visit): void {
    const own = this.flights.detached(flight)
    if (own === undefined) return
    handBack(own.request, visit.request)
    if (own.reply.log !== visit.reply.log && own.logged !== own.reply.log) visit.reply.log = own.reply.log
  }

  answerEntry (visit: Visit, entry: Entry, detail: 'revalidated' | 'stale-if-error' | 'stale-while-slow', status: number, collapsed: boolean): void {
    const { request, reply, route, where, forward } = visit
    this.count(detail === 'revalidated' ? 'revalidated' : 'stale', where.key, detail)
    this.#serve(request, reply, route, where, entry, forwardStatus(this.name, {
      forward, ...(status > 0 && { status }), collapsed, ...(detail !== 'revalidated' && { detail })
    }))
  }

  /** Answers from a flight; returns how to stop. */
  answerStream (visit: Visit, flight: Flight, collapsed: boolean): (() => void) | undefined {
    const { request, reply, forward, where } = visit
    if (reply.raw.destroyed) return undefined
    this.count(collapsed ? 'collapsed' : 'miss', where.key, forward)
    const { entry, status, reason } = flight
    const fast = !hasOnSend(request)
    // Others get what is stored: a field that is for the one who asked (`private="…"`, a cookie that is stripped) is not for them.
    let fields = collapsed && entry !== undefined ? sharedFields(flight, entry) : storable(flight.fields)
    fields.push('Cache-Status', forwardStatus(this.name, { forward, stored: flight.writer !== undefined, collapsed, detail: flight.refusal }))
    const { headers } = request
    if (entry !== undefined && status === 200 && notModified(headers, entry, this.clock.now())) {
      sendComplete(reply, 304, '', without(fields, OF_BODY), undefined, fast)
      return undefined
    }
    let [skip, length, answered] = [0, Number.POSITIVE_INFINITY, status]
    const total = flight.expected
    const asked = rangeOf(request)
    if (asked !== undefined && status === 200 && total > 0 && entry !== undefined && ifRangeHolds(headers['if-range'] as string | undefined, entry, this.clock.now())) {
      const specs = parseRange(asked)
      const [range, more] = specs === undefined ? [] : resolve(specs, total)
      if (range !== undefined && more === undefined) {
        skip = range.start
        length = range.end - range.start + 1
        answered = 206
        fields = completeFields(fields)
        fields.push('Content-Range', `bytes ${range.start}-${range.end}/${total}`, 'Content-Length', String(length))
      }
    }
    if (status === 304 || status === 204) {
      sendComplete(reply, status, reason, fields, undefined, fast)
      return undefined
    }
    return flight.read((drained) => {
      const output = openOutput(reply, answered, answered === status ? reason : '', fields, fast, drained)
      return isObserved(request) ? new ScopedOutput(visit.scope, output) : output
    }, skip, length)
  }

  count (result: CacheResult, key: string, reason: string): void {
    const { stats } = this
    switch (result) {
      case 'hit': stats.hits++; break
      case 'stale': stats.stale++; break
      case 'revalidated': stats.revalidated++; break
      case 'miss': stats.misses++; break
      case 'collapsed': stats.collapsed++; break
      case 'bypass': stats.bypassed++; break
    }
    if (channels.lookup.hasSubscribers) channels.lookup.publish({ key, result, reason })
  }

  /** `waited`: it has waited for what the store was putting away. */
  #lookup (request: FastifyRequest, reply: FastifyReply, route: Route, where: Where, plain = false, waited = false): void {
    const found = this.store.get(where.key)
    if (!(found instanceof Promise)) return this.#decide(request, reply, route, where, found, plain, waited)
    void found.catch(() => []).then((entries) => { this.#decide(request, reply, route, where, entries, plain, waited) })
  }

  #decide (request: FastifyRequest, reply: FastifyReply, route: Route, where: Where, entries: readonly Entry[], plain: boolean, waited: boolean): void {
    const { settings } = route
    const { headers } = request
    const directives = parseRequestCacheControl(settings.requestDirectives ? headers['cache-control'] : undefined)
    const now = this.clock.now()
    const decision = decide(meant(entries, request, where, settings.key, this.rules), headers, rangeOf(request), directives, now)
    if (decision.use === 'fresh') {
      this.count('hit', where.key, '')
      return this.#serve(request, reply, route, where, decision.entry, undefined)
    }
    if (decision.use === 'stale') {
      this.count('stale', where.key, decision.revalidate ? 'stale-while-revalidate' : 'max-stale')
      this.#serve(request, reply, route, where, decision.entry, undefined)
      if (decision.revalidate) this.flights.background(request, reply, route, where, decision.entry)
      return
    }
    const committing = waited || settings.collapse === 0 ? undefined : this.flights.committing(where.key)
    if (committing !== undefined) {
      void within(this.clock, committing, settings.collapse, () => {}).then(() => { this.#lookup(request, reply, route, where, plain, true) })
      return
    }
    const { forward, entry } = decision
    if (directives.onlyIfCached) {
      this.count('only-if-cached', where.key, forward)
      reply.header('cache-status', forwardStatus(this.name, { forward, detail: 'only-if-cached' }))
      sendExpected(request, reply, new OnlyIfCachedError())
      return
    }
    // A HEAD's response is not stored, but tells about what is (RFC 9111 4.3.5).
    if (request.method === 'HEAD') return this.pass(request, reply, route, forward, '')
    const visit = new Visit(this, request, reply, route, where, directives, forward, entry)
    visit.plain = plain
    if (settings.earlyHints && entry !== undefined && !plain) sendHints(request, reply, entry)
    this.flights.board(visit, entries)
    this.#armSlow(visit, now)
  }

  /** A stale copy is better than a slow origin, where the route says so. */
  #armSlow (visit: Visit, now: number): void {
    const { staleWhileSlow, staleWhileSlowMax } = visit.route.settings
    // Who asks for a newer one than that waits for it.
    if (staleWhileSlow === false || visit.entry === undefined || visit.forward === 'request' || !usableWhileSlow(visit.entry, staleWhileSlowMax, now)) return
    const ms = staleWhileSlow === 'p95' ? visit.route.latency.p95 : staleWhileSlow
    visit.deadline(ms, () => { this.answerEntry(visit, visit.entry!, 'stale-while-slow', 0, false) })
  }

  #serve (request: FastifyRequest, reply: FastifyReply, route: Route, where: Where, entry: Entry, status: string | undefined): void {
    if (reply.raw.destroyed) return
    this.store.touch(entry)
    serveEntry({
      request, reply, entry, now: this.clock.now(), name: this.name, status, store: this.store, compressor: route.compressor,
      lost: () => { this.#lookup(request, reply, route, where, true) }
    })
  }

  #direct (request: FastifyRequest, reply: FastifyReply, route: Route, forward: Forward, detail: string): unknown {
    this.#observe(request, reply, route, forward, detail)
    return route.handler.call(route.server, request, reply)
  }

  #observe (request: FastifyRequest, reply: FastifyReply, route: Route, forward: Forward, detail: string): void {
    const { method } = request
    this.count('bypass', request.url, detail === '' ? forward : detail)
    const requestTime = this.clock.now()
    const purges = this.invalidator.recent.now
    // Now: once a body has been read, Node forgets its socket, and Fastify the scheme with it.
    const origin = originOf(request)
    // What was looked up is safe on this route, whatever its method: so the route has listed it.
    const unsafe = !isSafe(method) && (forward === 'bypass' || forward === 'method')
    observeHead(reply, (status, fields) => {
      if (unsafe) {
        // Looked at before what this request itself makes unusable.
        const posted = method === 'POST' && status === 200 ? postedEntry(this, request, origin, route, fields, requestTime, purges) : undefined
        this.invalidator.unsafe(request, origin, status, fields)
        if (posted !== undefined) storePosted(this, reply, posted, fields)
      }
      else if (method === 'HEAD' && status === 200) this.invalidator.head(request, origin, route, fields, requestTime, purges)
      return ['Cache-Status', forwardStatus(this.name, { forward, detail })]
    })
  }
}

/** An entry's fields while its body is still coming. */
function sharedFields ({ fields, expected }: Flight, entry: Entry): string[] {
  const shared = entry.fields.slice()
  if (expected !== -1) shared.push('Content-Length', String(expected))
  const age = first(fields, 'age')
  if (age !== undefined) shared.push('Age', age)
  return shared
}
