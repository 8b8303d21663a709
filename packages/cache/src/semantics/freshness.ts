import type { Governing } from './cache-control.ts'
import { type Fields, first, single } from './fields.ts'
import { parseHttpDate } from './http-date.ts'

/** Statuses that may be given a heuristic lifetime (RFC 9110 15.1), 206 apart, which has rules of its own. */
const HEURISTIC = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])

/**
 * Seconds from `Age`: the first member of the first line, as RFC 9111 5.1 says of lists; −1 when that is no delta-seconds, so that
 * it is ignored.
 */
export function parseAge (value: string | undefined): number {
  if (value === undefined) return -1
  const member = value.split(',', 1)[0]!.trim()
  return /^\d+$/.test(member) ? Math.min(Number(member), 2_147_483_648) : -1
}

/**
 * `corrected_initial_age` of RFC 9111 4.2.3, in milliseconds. All times are milliseconds since the epoch; dates have whole
 * seconds only, so the time of the response is cut to them before it is compared.
 */
export function initialAge (fields: Fields, requestTime: number, responseTime: number): number {
  const date = parseHttpDate(single(fields, 'date'), responseTime)
  const apparent = Number.isNaN(date) ? 0 : Math.max(0, Math.floor(responseTime / 1000) * 1000 - date)
  const corrected = Math.max(0, parseAge(first(fields, 'age'))) * 1000 + (responseTime - requestTime)
  return Math.max(apparent, corrected)
}

/** How a lifetime was found. */
export interface Lifetime {
  /** `freshness_lifetime` of RFC 9111 4.2.1 in milliseconds; 0 when there is none. */
  readonly ms: number
  /** `none`: nothing says how long, and nothing may be guessed. */
  readonly from: 'explicit' | 'heuristic' | 'none'
}

const NONE: Lifetime = { ms: 0, from: 'none' }

/** Share of the time since Last-Modified, and the most it may give (RFC 9111 4.2.2). */
export interface Heuristic {
  readonly fraction: number
  readonly max: number
}

const explicit = (seconds: number): Lifetime => ({ ms: Number.isNaN(seconds) ? 0 : seconds * 1000, from: 'explicit' })

/** `s-maxage`, `max-age`, `Expires`, a heuristic: the first that is there (RFC 9111 4.2.1); invalid ones count as stale. */
export function lifetime (status: number, fields: Fields, { directives, targeted }: Governing, responseTime: number, heuristic: Heuristic): Lifetime {
  if (directives.sMaxAge !== -1) return explicit(directives.sMaxAge)
  if (directives.maxAge !== -1) return explicit(directives.maxAge)
  const date = parseHttpDate(single(fields, 'date'), responseTime)
  const base = Number.isNaN(date) ? responseTime : date
  if (!targeted) {
    const expires = single(fields, 'expires')
    if (expires !== undefined) {
      const at = parseHttpDate(expires, responseTime)
      return { ms: Number.isNaN(at) ? 0 : Math.max(0, at - base), from: 'explicit' }
    }
  }
  if (heuristic.fraction === 0 || !(HEURISTIC.has(status) || directives.public)) return NONE
  const modified = parseHttpDate(single(fields, 'last-modified'), responseTime)
  if (Number.isNaN(modified) || modified >= base) return NONE
  return { ms: Math.min((base - modified) * heuristic.fraction, heuristic.max), from: 'heuristic' }
}
