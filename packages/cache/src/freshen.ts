import { type Entry, makeEntry, type StoragePolicy } from './entry.ts'
import { first, single, storable } from './semantics/fields.ts'
import { formatHttpDate, parseHttpDate } from './semantics/http-date.ts'
import { isEtag } from './semantics/validators.ts'
import { updated } from './semantics/update.ts'
import type { IncomingHttpHeaders } from 'node:http'

/** The head of a 304, or of a HEAD's 200, with the request that it answers. Times are milliseconds since the epoch. */
export interface Fresh {
  readonly fields: readonly string[]
  readonly requestHeaders: IncomingHttpHeaders
  readonly requestTime: number
  readonly responseTime: number
  readonly origin: string
}

/** The stored responses that a 304 speaks of (RFC 9111 4.3.4). */
export function freshened (entries: readonly Entry[], validating: Entry, fresh: Fresh): Entry[] {
  const etag = single(fresh.fields, 'etag')
  if (etag !== undefined && isEtag(etag) && !etag.startsWith('W/')) return entries.filter((entry) => entry.etag === etag)
  if (etag !== undefined) return validating.etag === etag || validating.etag === undefined ? [validating] : []
  const modified = first(fresh.fields, 'last-modified')
  if (modified !== undefined && !Number.isNaN(validating.lastModified)) {
    return parseHttpDate(modified, fresh.responseTime) === validating.lastModified ? [validating] : []
  }
  // Without a validator it can only mean what was asked about.
  return [validating]
}

/** Gives a stored response the fields, and with them the freshness, of the new head; `false` when it may not be kept any more. */
export function freshen (entry: Entry, fresh: Fresh, policy: StoragePolicy): boolean {
  const incoming = storable(fresh.fields)
  // What comes without a Date gets the time at which it came (RFC 9110 6.6.1); the stored one says nothing about it.
  if (first(incoming, 'date') === undefined) incoming.push('Date', formatHttpDate(fresh.responseTime))
  const fields = updated(entry.fields, incoming)
  const age = first(fresh.fields, 'age')
  const made = makeEntry({
    key: entry.key, url: entry.url, origin: fresh.origin, status: entry.status, reason: entry.reason,
    fields: age === undefined ? fields : [...fields, 'Age', age],
    requestHeaders: fresh.requestHeaders, requestTime: fresh.requestTime, responseTime: fresh.responseTime
  }, policy, () => entry.id)
  if (typeof made === 'string') return false
  const { id, key, url, vary, varyValues, part, size, body } = entry
  Object.assign(entry, made, { id, key, url, vary, varyValues, part, size, body, head: undefined })
  for (const encoded of entry.encoded?.values() ?? []) encoded.head = undefined
  return true
}
