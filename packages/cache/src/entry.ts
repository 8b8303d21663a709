import type { IncomingHttpHeaders } from 'node:http'
import type { HitHead } from './hit-head.ts'
import { interned } from './interned.ts'
import { governing } from './semantics/cache-control.ts'
import { type Fields, first, single, storable, without } from './semantics/fields.ts'
import { initialAge, lifetime, type Heuristic } from './semantics/freshness.ts'
import { formatHttpDate, parseHttpDate } from './semantics/http-date.ts'
import { parseContentRange } from './semantics/ranges.ts'
import { refusal, type SetCookiePolicy } from './semantics/storability.ts'
import { isEtag } from './semantics/validators.ts'
import { varyNames, varyValues } from './semantics/vary.ts'
import { groupsOf, tagsOf } from './tags.ts'

/** A part of a representation (RFC 9111 3.3): which bytes the stored body holds, and of how many. */
export interface Part {
  readonly start: number
  readonly total: number
  /** The Range that was asked for; the same one may get the same answer. */
  readonly asked: string
}

/**
 * One stored response, with all that a hit has to know parsed when it was stored. Times are milliseconds since the epoch or
 * lengths of time in milliseconds. Everything but the body is plain data, so that a store can write it as JSON.
 */
export interface Entry {
  /** Primary key: see `keys.ts`. */
  key: string
  /** The part of the key that names the resource, by which it is purged and invalidated. */
  url: string
  /** Tells entries of one key apart, and names files. */
  readonly id: string
  status: number
  reason: string
  /** Fields as received, without hop-by-hop ones, Age and Content-Length (which is `size`); always with Date. */
  fields: Fields
  responseTime: number
  initialAge: number
  lifetime: number
  /** Milliseconds after the lifetime; 0 where staleness is forbidden. */
  staleWhileRevalidate: number
  /** Milliseconds after the lifetime; 0 where staleness is forbidden, −1 where the route's option counts. */
  staleIfError: number
  /** `no-cache`: never used without validation. */
  noCache: boolean
  /**
   * `must-revalidate`, `proxy-revalidate` or `s-maxage`: not used stale (RFC 9111 5.2.2.2, .8, .10). Only beside `s-maxage` can the
   * response itself make exceptions, with `stale-while-revalidate` and `stale-if-error` (RFC 5861).
   */
  mustRevalidate: boolean
  vary: readonly string[]
  varyValues: readonly (string | undefined)[]
  language: string | undefined
  etag: string | undefined
  /** `NaN` without a valid one; null in JSON. */
  lastModified: number
  date: number
  part: Part | undefined
  tags: readonly string[]
  groups: readonly string[]
  /** Made stale by a soft purge, an invalidation or a HEAD that differs. */
  invalidated: boolean
  /** Bytes of the body (of the part); −1 until all of it is there. */
  size: number
  /** The body, when the store holds it in memory. */
  body: Buffer | undefined
  /** The body in other codings, by their names; kept beside it while it is in memory. Never stored elsewhere. */
  encoded?: Map<string, Encoded> | undefined
  /** Head of a hit, kept for the second in which it was made. Never stored. */
  head?: HitHead | undefined
  /** Age in seconds at the last hit that found no head. Never stored. */
  hitAt?: number | undefined
}

/** A stored body in another coding. */
export interface Encoded {
  readonly body: Buffer
  head: HitHead | undefined
}

/** What decides over a response, taken from the route's options once. */
export interface StoragePolicy {
  readonly targets: readonly string[]
  readonly heuristic: Heuristic
  readonly setCookie: SetCookiePolicy
  /** Lifetime in milliseconds for a status whose response does not say; `undefined` without one. */
  readonly ttl: (status: number) => number | undefined
  /** The lifetime above wins over what the response says. */
  readonly ttlOverrides: boolean
  /** Milliseconds where the response does not say. */
  readonly staleWhileRevalidate: number
}

export interface Received {
  readonly key: string
  readonly url: string
  readonly origin: string
  readonly status: number
  readonly reason: string
  readonly fields: Fields
  readonly requestHeaders: IncomingHttpHeaders
  readonly requestTime: number
  readonly responseTime: number
}

/** A window in milliseconds: what the response says in seconds, else `fallback`. */
const window = (seconds: number, fallback: number): number => seconds === -1 ? fallback : seconds * 1000

const NONE: readonly never[] = []
/** Most responses have none of them: then one list for all. */
const orNone = <T>(list: readonly T[]): readonly T[] => list.length === 0 ? NONE : list

/** Parses a response into an entry, or says in a word why it may not be stored. `idOf` makes its name from the time of the response. */
export function makeEntry (received: Received, policy: StoragePolicy, idOf: (responseTime: number) => string): Entry | string {
  const { status, requestHeaders, responseTime } = received
  const rules = governing(received.fields, policy.targets)
  const { directives } = rules
  let life = lifetime(status, received.fields, rules, responseTime, policy.heuristic)
  const ttl = policy.ttl(status)
  if (ttl !== undefined && (policy.ttlOverrides || life.from !== 'explicit')) life = { ms: ttl, from: 'explicit' }
  const fields = storable(received.fields)
  const named = [directives.noCache, directives.private].flatMap((names) => typeof names === 'boolean' ? [] : names)
  const why = refusal({
    status, fields, named, directives, lifetime: life, url: received.url, setCookie: policy.setCookie,
    authorized: requestHeaders.authorization !== undefined, grace: policy.staleWhileRevalidate > 0
  })
  if (why !== undefined) return why
  const range = status === 206 ? parseContentRange(single(fields, 'content-range')) : undefined
  if (status === 206 && range === undefined) return 'content-range'
  const dropped = new Set(['age', 'content-length', ...named])
  if (policy.setCookie === 'strip') dropped.add('set-cookie')
  const kept = without(fields, dropped)
  if (first(kept, 'date') === undefined) kept.push('Date', formatHttpDate(responseTime))
  for (let i = 0; i < kept.length; i++) kept[i] = interned(kept[i]!)
  const date = parseHttpDate(single(fields, 'date'), responseTime)
  const etag = single(fields, 'etag')
  const language = single(fields, 'content-language')
  const vary = varyNames(fields)
  const strict = directives.mustRevalidate || directives.proxyRevalidate
  return {
    key: received.key,
    url: received.url,
    id: idOf(responseTime),
    status,
    reason: received.reason,
    // Without the room that the list had to grow.
    fields: kept.slice(),
    responseTime,
    initialAge: initialAge(received.fields, received.requestTime, responseTime),
    lifetime: life.ms,
    staleWhileRevalidate: strict ? 0 : window(directives.staleWhileRevalidate, directives.sMaxAge === -1 ? policy.staleWhileRevalidate : 0),
    staleIfError: strict ? 0 : window(directives.staleIfError, directives.sMaxAge === -1 ? -1 : 0),
    noCache: directives.noCache === true,
    mustRevalidate: strict || directives.sMaxAge !== -1,
    vary: orNone(vary),
    varyValues: orNone(varyValues(vary, requestHeaders)),
    language: language === undefined || language.includes(',') ? undefined : language.trim().toLowerCase(),
    etag: etag === undefined || !isEtag(etag) ? undefined : etag,
    lastModified: parseHttpDate(single(fields, 'last-modified'), responseTime),
    date: Number.isNaN(date) ? responseTime : date,
    part: range === undefined ? undefined : { start: range.start, total: range.total, asked: requestHeaders.range ?? '' },
    tags: orNone(tagsOf(fields)),
    groups: orNone(groupsOf(fields, received.origin)),
    invalidated: false,
    size: -1,
    body: undefined,
    // Named here, so that they need not be added to each.
    head: undefined,
    hitAt: undefined
  }
}

/** `current_age` of RFC 9111 4.2.3. */
export function ageOf (entry: Entry, now: number): number {
  return entry.initialAge + Math.max(0, now - entry.responseTime)
}

/** Milliseconds that it stays fresh; negative when it is stale. */
export function freshFor (entry: Entry, now: number): number {
  return entry.invalidated ? Math.min(-1, entry.lifetime - ageOf(entry, now)) : entry.lifetime - ageOf(entry, now)
}
