import { type Fields, without } from './fields.ts'

/** What a 304 or HEAD may not change in a stored response: its body depends on it (RFC 9111 3.2), or where it is stored. */
const KEPT = new Set(['content-length', 'content-encoding', 'content-range', 'vary', 'no-vary-search'])

/** The stored fields with those of a 304 or HEAD response in their place (RFC 9111 3.2). `fresh` has no hop-by-hop ones. */
export function updated (stored: Fields, fresh: Fields): string[] {
  const incoming = without(fresh, KEPT)
  const names = new Set<string>()
  for (let i = 0; i < incoming.length; i += 2) names.add(incoming[i]!.toLowerCase())
  // An Age of the stored response says nothing about one that was validated just now.
  names.add('age')
  return [...without(stored, names), ...incoming]
}
