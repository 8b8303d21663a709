import { type KeySettings, urlKey, urlUnder } from './keys.ts'
import type { KeyOptions } from './options.ts'
import type { RecentMap } from './recent-map.ts'
import type { QueryRule } from './semantics/no-vary-search.ts'

/**
 * The keys of a URL under the options of all routes. Who names a URL, as a purge, an unsafe request or its Location does, does not say which route has stored
 * what is there: a route may sort the parameters that another one takes as they are.
 */
export class UrlKeys {
  readonly #settings: Map<string, KeySettings> = new Map()

  /** `options`: what `settings` was made of. */
  add ({ sortQuery = false, dropQuery = false }: KeyOptions = {}, settings: KeySettings): void {
    this.#settings.set(JSON.stringify([sortQuery, dropQuery]), settings)
  }

  of (origin: string, target: string, rules: RecentMap<QueryRule>): string[] {
    const keys = new Set<string>()
    for (const settings of this.#settings.values()) {
      keys.add(urlKey(origin, target, settings, rules))
      // What has no No-Vary-Search of its own is found under all of its query.
      keys.add(urlUnder(origin, target, settings, undefined))
    }
    return [...keys]
  }
}
