import type { IncomingHttpHeaders } from 'node:http'
import { type Fields, joined, listOf } from './fields.ts'

/** Names that select a response, in lower case and sorted; empty without `Vary`. `*` never gets here: it is not stored. */
export function varyNames (fields: Fields): string[] {
  const value = joined(fields, 'vary')
  if (value === undefined) return []
  return [...new Set(listOf(value).map((name) => name.toLowerCase()))].sort()
}

interface Weighted { readonly name: string; readonly q: number }

/** Members of an Accept-* field by falling quality, then name; `undefined` when it does not parse. */
function weighted (value: string): Weighted[] | undefined {
  const members: Weighted[] = []
  for (const item of listOf(value)) {
    const match = /^([^\s;]+)\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?$/i.exec(item)
    if (match === null) return undefined
    members.push({ name: match[1]!.toLowerCase(), q: match[2] === undefined ? 1 : Number(match[2]) })
  }
  return members.sort((a, b) => b.q - a.q || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

/** Codings that origins really choose between; the rest of Accept-Encoding only splits the cache. */
const CODINGS = new Set(['gzip', 'br', 'zstd', 'deflate', 'dcb', 'dcz', 'identity', '*', 'x-gzip'])

/**
 * Two values that mean the same become one (RFC 9111 4.1): the order of members of equal quality, the case of languages and
 * codings, the spaces around commas of any list.
 */
export function normalise (name: string, value: string): string {
  if (name === 'accept-encoding' || name === 'accept-language') {
    const members = weighted(value)
    if (members !== undefined) {
      const kept = name === 'accept-encoding' ? members.filter((member) => CODINGS.has(member.name)) : members
      return kept.map(({ name, q }) => q === 1 ? name : `${name};q=${q}`).join(',')
    }
  }
  return listOf(value).join(',')
}

/** One selecting field of a request, normalised; `undefined` when it is absent, which only an absent one equals. */
export function selecting (headers: IncomingHttpHeaders, name: string): string | undefined {
  const value: unknown = headers[name]
  if (typeof value === 'string') return normalise(name, value)
  // Anything else comes from Object's prototype: `Vary: constructor` is legal.
  return Array.isArray(value) ? normalise(name, value.join(', ')) : undefined
}

/** The selecting fields of a request. */
export function varyValues (names: readonly string[], headers: IncomingHttpHeaders): (string | undefined)[] {
  return names.map((name) => selecting(headers, name))
}

/**
 * The language that the client wants most, when there is only one such. A stored response in that language is what any
 * negotiation by language would have chosen, however the rest of the field reads.
 */
function preferred (value: string): string | undefined {
  const members = weighted(value)
  if (members === undefined || members.length === 0 || members[0]!.q === 0 || members[0]!.name === '*') return undefined
  return members.length > 1 && members[1]!.q === members[0]!.q ? undefined : members[0]!.name
}

/** Does a request's value of one selecting field match the stored one? */
export function sameField (name: string, stored: string | undefined, now: string | undefined, language: string | undefined): boolean {
  if (stored === now) return true
  if (name !== 'accept-language' || now === undefined || language === undefined) return false
  return preferred(now) === language
}

/** Both sorted, as {@link varyNames} gives them. */
export function sameNames (a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i])
}
