import type { IncomingHttpHeaders } from 'node:http'
import { parseHttpDate } from './http-date.ts'

const ETAG = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/

/** Is it an entity-tag by the grammar (RFC 9110 8.8.3)? */
export function isEtag (value: string): boolean {
  return ETAG.test(value)
}

/** Opaque part, for the weak comparison (RFC 9110 8.8.3.2). */
const opaque = (etag: string): string => etag.startsWith('W/') ? etag.slice(2) : etag

export function weakMatch (a: string, b: string): boolean {
  return opaque(a) === opaque(b)
}

/** Both strong and equal. */
export function strongMatch (a: string, b: string): boolean {
  return a === b && !a.startsWith('W/')
}

/** Entity-tags of If-None-Match or If-Match; `'*'`, or `undefined` when the field does not parse, which makes it ignored. */
export function parseEtags (value: string): readonly string[] | '*' | undefined {
  if (value.trim() === '*') return '*'
  const etags: string[] = []
  let rest = value
  for (;;) {
    const match = /^[\s,]*((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?=,|$)/.exec(rest)
    if (match === null) break
    etags.push(match[1]!)
    rest = rest.slice(match[0].length)
  }
  return etags.length === 0 || !/^[\s,]*$/.test(rest) ? undefined : etags
}

/** What a cache knows of a stored response's validators. Times in milliseconds since the epoch. */
export interface Validators {
  readonly etag: string | undefined
  /** `NaN` without a valid one. */
  readonly lastModified: number
  /** Date of the response, or the time it came. */
  readonly date: number
}

/** Would the origin answer 304 to this request, given that what is stored is current (RFC 9110 13.2.2, RFC 9111 4.3.2)? */
export function notModified (headers: IncomingHttpHeaders, validators: Validators, now: number): boolean {
  const none = headers['if-none-match']
  if (none !== undefined) {
    // If-None-Match comes before If-Modified-Since, which is then ignored.
    const { etag } = validators
    // What nearly every client sends: the one that it was given.
    if (none === etag && isEtag(etag)) return true
    const etags = parseEtags(none)
    if (etags === undefined) return false
    if (etags === '*') return true
    return etag !== undefined && isEtag(etag) && etags.some((one) => weakMatch(one, etag))
  }
  const since = headers['if-modified-since']
  if (since === undefined) return false
  const at = parseHttpDate(since, now)
  if (Number.isNaN(at)) return false
  // Without Last-Modified its Date, or its time of arrival, stands in (RFC 9111 4.3.2).
  return (Number.isNaN(validators.lastModified) ? validators.date : validators.lastModified) <= at
}

/**
 * May a range be answered under this If-Range (RFC 9110 13.1.5)? Only an exact strong validator says yes; a date counts when it
 * is strong, that is at least a second (here 60, as 8.8.2.2 suggests) older than the response's Date.
 */
export function ifRangeHolds (value: string | undefined, validators: Validators, now: number): boolean {
  if (value === undefined) return true
  if (value.includes('"')) return validators.etag !== undefined && strongMatch(value, validators.etag)
  const at = parseHttpDate(value, now)
  return !Number.isNaN(at) && at === validators.lastModified && validators.date - at >= 60_000
}
