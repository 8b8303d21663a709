import type { FastifyRequest } from 'fastify'
import { keySuffix, urlKey } from './keys.ts'
import type { RouteSettings } from './options.ts'
import type { RecentMap } from './recent-map.ts'
import type { QueryRule } from './semantics/no-vary-search.ts'

/** What a request is about. */
export interface Where {
  /** Scheme and authority. */
  readonly origin: string
  /** Path and query, without what the options drop. */
  readonly target: string
  /** Names the resource. */
  readonly url: string
  /** Names what may be answered with one response: the URL, and what the options add. */
  readonly key: string
}

/** `bodyHash`: '' but for methods that are keyed by their body. */
export function locate (request: FastifyRequest, origin: string, settings: RouteSettings, rules: RecentMap<QueryRule>, bodyHash: string): Where {
  const raw = request.raw.url!
  const url = urlKey(origin, raw, settings.key, rules)
  const suffix = keySuffix(request, settings.key, bodyHash)
  const target = settings.key.drop === undefined ? raw : urlKey('', raw, { ...settings.key, sortQuery: false }, noRules)
  return { origin, target, url, key: suffix === '' ? url : url + suffix }
}

const noRules = { size: 0 } as RecentMap<QueryRule>

/** Parsed query parameters without those that are dropped. */
export function keptQuery (query: unknown, drop: ((name: string) => boolean) | undefined): unknown {
  if (drop === undefined || typeof query !== 'object' || query === null) return query
  const kept: Record<string, unknown> = {}
  for (const name of Object.keys(query)) if (!drop(name)) kept[name] = (query as Record<string, unknown>)[name]
  return kept
}
