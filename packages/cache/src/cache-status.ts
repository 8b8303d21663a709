import { ageOf, type Entry } from './entry.ts'
import type { Forward } from './decide.ts'

/** Our member of `Cache-Status` (RFC 9211) for an answer out of the store. A stale one has a negative ttl. */
export function hitStatus (name: string, entry: Entry, now: number, detail = ''): string {
  const lifetime = entry.invalidated ? -1 : Math.floor(entry.lifetime / 1000) - Math.floor(ageOf(entry, now) / 1000)
  return `${name}; hit; ttl=${lifetime}${detail === '' ? '' : `; detail=${detail}`}`
}

export interface ForwardStatus {
  readonly forward: Forward
  /** Status that the origin answered with, where the client gets another. */
  readonly status?: number
  readonly stored?: boolean
  readonly collapsed?: boolean
  /** A token: why it was not stored, or how it was used. */
  readonly detail?: string
}

/** Our member for an answer that came from further on. */
export function forwardStatus (name: string, { forward, status, stored, collapsed, detail }: ForwardStatus): string {
  let text = `${name}; fwd=${forward}`
  if (status !== undefined) text += `; fwd-status=${status}`
  if (stored === true) text += '; stored'
  if (collapsed === true) text += '; collapsed'
  if (detail !== undefined && detail !== '') text += `; detail=${detail}`
  return text
}
