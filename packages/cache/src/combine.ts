import type { Entry } from './entry.ts'
import { without } from './semantics/fields.ts'

/** Do both have the same strong validator, as combining asks for (RFC 9111 3.4, RFC 9110 8.8.1)? */
export function sameStrong (a: Entry, b: Entry): boolean {
  if (a.etag !== undefined || b.etag !== undefined) return a.etag === b.etag && !a.etag!.startsWith('W/')
  // A date is a strong validator when it is at least a second, here a minute, before the response's own (RFC 9110 8.8.2.2).
  return a.lastModified === b.lastModified && a.date - a.lastModified >= 60_000 && b.date - b.lastModified >= 60_000
}

/** Fields of a complete response, out of those of one of its parts. */
export function completeFields (fields: readonly string[]): string[] {
  return without(fields, new Set(['content-range', 'content-length']))
}

/**
 * Two stored parts of one representation that touch or overlap, as one: fields and freshness of the newer, bytes of both (RFC 9111
 * 3.4). `undefined` when they cannot be combined, or their bodies are not in memory.
 */
export function combined (older: Entry, newer: Entry): { entry: Entry; body: Buffer } | undefined {
  const [a, b] = [older.part, newer.part]
  if (a === undefined || b === undefined || a.total !== b.total || !sameStrong(older, newer)) return undefined
  if (older.body === undefined || newer.body === undefined) return undefined
  const [endA, endB] = [a.start + older.size, b.start + newer.size]
  if (a.start > endB || b.start > endA) return undefined
  const start = Math.min(a.start, b.start)
  const end = Math.max(endA, endB)
  const body = Buffer.allocUnsafeSlow(end - start)
  older.body.copy(body, a.start - start)
  newer.body.copy(body, b.start - start)
  const whole = start === 0 && end === a.total
  const fields = completeFields(newer.fields)
  if (!whole) fields.push('Content-Range', `bytes ${start}-${end - 1}/${a.total}`)
  return {
    entry: {
      ...newer,
      id: `${newer.id}c`,
      status: whole ? 200 : 206,
      reason: whole ? 'OK' : newer.reason,
      fields,
      part: whole ? undefined : { start, total: a.total, asked: '' },
      head: undefined
    },
    body
  }
}
