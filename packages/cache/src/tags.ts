import { parseList } from 'structured-headers'
import { type Fields, joined, listOf } from './semantics/fields.ts'

/** Names under which a response can be purged: `Cache-Tag` (commas) and `Surrogate-Key` (spaces). */
export function tagsOf (fields: Fields): string[] {
  const commas = joined(fields, 'cache-tag')
  const spaces = joined(fields, 'surrogate-key')
  if (commas === undefined && spaces === undefined) return []
  const tags = new Set<string>()
  if (commas !== undefined) for (const tag of listOf(commas)) tags.add(tag)
  if (spaces !== undefined) for (const tag of spaces.split(/[\s,]+/)) if (tag !== '') tags.add(tag)
  return [...tags]
}

/** At least this many characters and members have to be supported (RFC 9875 2); more are cut off. */
const MAX_GROUPS = 32

/** Strings of a structured list, as the Cache-Group fields are (RFC 9875 2, 3); an invalid field has none. */
function strings (value: string | undefined): string[] {
  if (value === undefined) return []
  try {
    return parseList(value).slice(0, MAX_GROUPS).map(([item]) => item).filter((item): item is string => typeof item === 'string')
  } catch {
    return []
  }
}

/** Groups belong to an origin, so its name is part of theirs. */
export function groupName (origin: string, name: string): string {
  return `${origin}\n${name}`
}

export function groupsOf (fields: Fields, origin: string): string[] {
  return strings(joined(fields, 'cache-groups')).map((name) => groupName(origin, name))
}

/** Groups that a response to an unsafe request makes stale (RFC 9875 3). */
export function invalidatedGroups (fields: Fields, origin: string): string[] {
  return strings(joined(fields, 'cache-group-invalidation')).map((name) => groupName(origin, name))
}
