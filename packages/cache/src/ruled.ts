import type { FastifyRequest } from 'fastify'
import type { Entry } from './entry.ts'
import { type KeySettings, pathOf, urlUnder } from './keys.ts'
import type { RecentMap } from './recent-map.ts'
import { type Fields, joined } from './semantics/fields.ts'
import { parseNoVarySearch, type QueryRule } from './semantics/no-vary-search.ts'
import type { Where } from './where.ts'

const ofFields = (fields: Fields): string | undefined => joined(fields, 'no-vary-search')

/**
 * Where a response belongs by its own No-Vary-Search, whatever was known of its path when it was asked for; the last one that is no error says what is known
 * from now on.
 */
export function placed (
  { raw }: FastifyRequest, where: Where, settings: KeySettings, rules: RecentMap<QueryRule>, status: number, fields: Fields
): { readonly key: string; readonly url: string } {
  const rule = parseNoVarySearch(ofFields(fields))
  if (rule === undefined && rules.size === 0) return { key: where.key, url: where.url }
  const path = pathOf(where.url)
  if (rule !== undefined) rules.set(path, rule)
  else if (status < 400) rules.delete(path)
  const url = urlUnder(where.origin, raw.url!, settings, rule)
  return { key: url + where.key.slice(where.url.length), url }
}

/** Is the response one for this URL by its own No-Vary-Search? `known`: the rule by which it was found. */
export function isMeant (entry: Entry, { raw }: FastifyRequest, { origin }: Where, settings: KeySettings, known: QueryRule | undefined): boolean {
  const text = ofFields(entry.fields)
  return (text !== undefined && text === known?.text) || urlUnder(origin, raw.url!, settings, parseNoVarySearch(text)) === entry.url
}

/** Those of a key that are for this URL by what they say themselves, and not only by what another one of their path has said. */
export function meant (entries: readonly Entry[], request: FastifyRequest, where: Where, settings: KeySettings, rules: RecentMap<QueryRule>): readonly Entry[] {
  const known = rules.size === 0 || entries.length === 0 ? undefined : rules.get(pathOf(where.url))
  return known === undefined ? entries : entries.filter((entry) => isMeant(entry, request, where, settings, known))
}
