import type { FastifyRequest } from 'fastify'
import type { RecentMap } from './recent-map.ts'
import { applyRule, type QueryRule } from './semantics/no-vary-search.ts'

/** Parameters that only tell who sent a visitor: dropped when `dropTracking` is on. A trailing `*` stands for the rest. */
export const trackingParameters: readonly string[] = [
  'utm_*', 'gclid', 'gclsrc', 'dclid', 'gbraid', 'wbraid', 'fbclid', 'msclkid', 'mc_cid', 'mc_eid', 'yclid', '_ga', '_gl', 'igshid', 'ttclid', 'twclid'
]

export interface KeySettings {
  /** Sort parameters by name. */
  readonly sortQuery: boolean
  /** Drop a parameter? */
  readonly drop: ((name: string) => boolean) | undefined
  readonly headers: readonly string[]
  readonly cookies: readonly string[]
  readonly custom: ((request: FastifyRequest) => string) | undefined
}

/** Names, or prefixes ended by `*`, as one test. */
export function nameTest (names: readonly string[]): ((name: string) => boolean) | undefined {
  if (names.length === 0) return undefined
  const exact = new Set(names.filter((name) => !name.endsWith('*')))
  const prefixes = names.filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1))
  return (name) => exact.has(name) || prefixes.some((prefix) => name.startsWith(prefix))
}

/**
 * Scheme and authority, in lower case and without a default port. '' for a Host that could be taken for more than an authority: with
 * `a.example/x` in it, the key of one resource would be that of another.
 */
export function originOf (request: FastifyRequest): string {
  const scheme = request.protocol
  let host = request.host ?? ''
  let upper = false
  for (let i = 0; i < host.length; i++) {
    const code = host.charCodeAt(i)
    if (code >= 65 && code <= 90) upper = true
    // Controls and space, and: # / ? @ \
    else if (code <= 32 || code === 35 || code === 47 || code === 63 || code === 64 || code === 92) return ''
  }
  if (upper) host = host.toLowerCase()
  const port = scheme === 'https' ? ':443' : ':80'
  return `${scheme}://${host.endsWith(port) ? host.slice(0, -port.length) : host}`
}

function normaliseQuery (query: string, settings: KeySettings): string {
  let pairs = query.split('&')
  const name = (pair: string): string => { const at = pair.indexOf('='); return at === -1 ? pair : pair.slice(0, at) }
  const { drop } = settings
  if (drop !== undefined) pairs = pairs.filter((pair) => !drop(name(pair)))
  // By name only: which of two values of one parameter comes first can matter to the origin.
  if (settings.sortQuery) pairs.sort((a, b) => { const x = name(a); const y = name(b); return x < y ? -1 : x > y ? 1 : 0 })
  return pairs.join('&')
}

export function cookie (header: string | undefined, name: string): string {
  if (header === undefined) return ''
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=')
    if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
  }
  return ''
}

/** `origin/path?query` as the target was sent: nothing is decoded, so what an origin may tell apart stays apart. Under the rule that is known of its path. */
export function urlKey (origin: string, target: string, settings: KeySettings, rules: RecentMap<QueryRule>): string {
  const at = target.indexOf('?')
  return at === -1 ? origin + target : urlUnder(origin, target, settings, rules.size === 0 ? undefined : rules.get(origin + target.slice(0, at)))
}

/** The same under this rule, or none. */
export function urlUnder (origin: string, target: string, settings: KeySettings, rule: QueryRule | undefined): string {
  const at = target.indexOf('?')
  if (at === -1 || (rule === undefined && !settings.sortQuery && settings.drop === undefined)) return origin + target
  const path = origin + target.slice(0, at)
  let query = normaliseQuery(target.slice(at + 1), settings)
  if (rule !== undefined) query = applyRule(query, rule)
  return query === '' ? path : `${path}?${query}`
}

/** A URL of a key as it is under the rule that is known of its path. */
export function ruledUrl (url: string, rules: RecentMap<QueryRule>): string {
  const at = url.indexOf('?')
  const rule = at === -1 || rules.size === 0 ? undefined : rules.get(url.slice(0, at))
  if (rule === undefined) return url
  const query = applyRule(url.slice(at + 1), rule)
  return query === '' ? url.slice(0, at) : `${url.slice(0, at)}?${query}`
}

/** What a request adds to its URL: a method with a body, chosen fields and cookies, the user's own part. Starts with a space, which no target holds. */
export function keySuffix (request: FastifyRequest, settings: KeySettings, bodyHash: string): string {
  let suffix = bodyHash === '' ? '' : ` ${request.method} ${bodyHash}`
  for (const name of settings.headers) {
    const value = request.headers[name]
    suffix += ` h:${name}=${JSON.stringify(value === undefined ? null : Array.isArray(value) ? value.join(', ') : value)}`
  }
  for (const name of settings.cookies) suffix += ` c:${name}=${JSON.stringify(cookie(request.headers.cookie, name))}`
  if (settings.custom !== undefined) suffix += ` k:${settings.custom(request)}`
  return suffix
}

/** Path part of a key, to which No-Vary-Search rules belong. */
export function pathOf (url: string): string {
  const at = url.indexOf('?')
  return at === -1 ? url : url.slice(0, at)
}
