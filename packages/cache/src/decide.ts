import type { IncomingHttpHeaders } from 'node:http'
import { ageOf, freshFor, type Entry } from './entry.ts'
import type { RequestDirectives } from './semantics/cache-control.ts'
import { parseRange, resolve } from './semantics/ranges.ts'
import { ifRangeHolds } from './semantics/validators.ts'
import { sameField, selecting } from './semantics/vary.ts'

/** Why a request is forwarded, in the words of RFC 9211 2.2. */
export type Forward = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'request' | 'stale' | 'partial'

export type Decision =
  | { readonly use: 'fresh'; readonly entry: Entry }
  /** Stale, but it may be used at once; `revalidate` asks for a background fetch. */
  | { readonly use: 'stale'; readonly entry: Entry; readonly revalidate: boolean }
  /** Has to be fetched; `entry` can be validated, or used when that fails. */
  | { readonly use: 'none'; readonly forward: Forward; readonly entry: Entry | undefined }

/** Does the stored response answer requests with these selecting fields (RFC 9111 4.1)? */
export function selects (entry: Entry, headers: IncomingHttpHeaders): boolean {
  const { vary } = entry
  for (let i = 0; i < vary.length; i++) {
    const name = vary[i]!
    if (!sameField(name, entry.varyValues[i], selecting(headers, name), entry.language)) return false
  }
  return true
}

/** Are all bytes that a request asks for in a stored part (RFC 9111 3.3)? One whose If-Range names another version asks for all (RFC 9110 13.1.5). */
export function holds (entry: Entry, headers: IncomingHttpHeaders, range: string | undefined, now: number): boolean {
  const { part } = entry
  if (part === undefined) return true
  if (range === undefined || !ifRangeHolds(headers['if-range'] as string | undefined, entry, now)) return false
  if (range === part.asked) return true
  const specs = parseRange(range)
  if (specs === undefined || specs.length !== 1) return false
  const [wanted] = resolve(specs, part.total)
  return wanted !== undefined && wanted.start >= part.start && wanted.end < part.start + entry.size
}

/** The most recent of the stored responses that the request selects, one that holds its range first (RFC 9111 4). */
export function select (entries: readonly Entry[], headers: IncomingHttpHeaders, range: string | undefined, now: number): Entry | undefined {
  let best: Entry | undefined
  for (const entry of entries) {
    if (entry.vary.length > 0 && !selects(entry, headers)) continue
    if (best === undefined) {
      best = entry
      continue
    }
    const held = Number(holds(entry, headers, range, now)) - Number(holds(best, headers, range, now))
    const better = held || entry.date - best.date || entry.responseTime - best.responseTime
    if (better > 0) best = entry
  }
  return best
}

/** Decides over a stored response by a few comparisons: all parsing was done when it was stored. `range`: what is asked for of it. */
export function decide (
  entries: readonly Entry[], headers: IncomingHttpHeaders, range: string | undefined, directives: RequestDirectives, now: number
): Decision {
  if (entries.length === 0) return { use: 'none', forward: 'uri-miss', entry: undefined }
  const entry = entries.length === 1 && entries[0]!.vary.length === 0 ? entries[0]! : select(entries, headers, range, now)
  if (entry === undefined) return { use: 'none', forward: 'vary-miss', entry: undefined }
  if (entry.part !== undefined && !holds(entry, headers, range, now)) return { use: 'none', forward: 'partial', entry }
  if (entry.noCache) return { use: 'none', forward: 'stale', entry }
  if (directives.noCache) return { use: 'none', forward: 'request', entry }
  const fresh = freshFor(entry, now)
  if (directives.maxAge !== -1 && ageOf(entry, now) > directives.maxAge * 1000 && !(directives.maxStale > 0 && !entry.mustRevalidate)) return { use: 'none', forward: 'request', entry }
  if (fresh > 0) {
    if (directives.minFresh !== -1 && fresh < directives.minFresh * 1000) return { use: 'none', forward: 'request', entry }
    return { use: 'fresh', entry }
  }
  // Invalidated is not the same as old: no request and no window may bring such a response back (4.4).
  if (entry.invalidated) return { use: 'none', forward: 'stale', entry }
  if (directives.maxStale !== -1 && !entry.mustRevalidate && -fresh <= directives.maxStale * 1000) return { use: 'stale', entry, revalidate: false }
  if (directives.minFresh === -1 && directives.maxAge === -1 && -fresh < entry.staleWhileRevalidate) return { use: 'stale', entry, revalidate: true }
  return { use: 'none', forward: 'stale', entry }
}

/** Can the response ever be used without asking the origin about it, if only stale? */
export function reusable (entry: Entry): boolean {
  return !entry.noCache && entry.lifetime + entry.staleWhileRevalidate > 0
}

/**
 * May a response that has just come be used for requests that waited for it (RFC 9111 4)? The time that it took is not held against it: they
 * came after it was asked for.
 */
export function reusableAtOnce (entry: Entry, requestTime: number): boolean {
  return reusable(entry) && freshFor(entry, entry.responseTime) + entry.responseTime - requestTime + entry.staleWhileRevalidate > 0
}

/** May the stale response stand in for an origin that fails? `fallback` is the route's own window in milliseconds. */
export function usableOnError (entry: Entry, fallback: number, now: number): boolean {
  if (entry.noCache || entry.invalidated || entry.part !== undefined) return false
  return -freshFor(entry, now) < (entry.staleIfError === -1 ? fallback : entry.staleIfError)
}

/** The same for one request, by its own word (RFC 5861 4): as with `max-stale`, a client decides for itself, but not against what forbids staleness. */
export function acceptedOnError (entry: Entry, { staleIfError }: RequestDirectives, now: number): boolean {
  return staleIfError > 0 && !entry.mustRevalidate && !entry.noCache && !entry.invalidated && entry.part === undefined &&
    -freshFor(entry, now) <= staleIfError * 1000
}

/** May the stale response be used while the origin takes its time? `window`: milliseconds after its lifetime. */
export function usableWhileSlow (entry: Entry, window: number, now: number): boolean {
  return !entry.mustRevalidate && !entry.noCache && !entry.invalidated && entry.part === undefined && -freshFor(entry, now) < window
}
