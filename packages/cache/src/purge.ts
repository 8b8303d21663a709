import type { CacheDictionaries } from './dictionaries.ts'
import type { Engine } from './engine.ts'
import { PurgeRequestError } from './errors.ts'
import type { CacheStats } from './stats.ts'
import type { PurgeMode, StoreStats } from './store/contract.ts'
import { groupName } from './tags.ts'

/** What to purge; of several, all. */
export interface Purge {
  /** Absolute URLs, as clients see them. All variants go. */
  readonly urls?: readonly string[]
  /** Beginnings of absolute URLs: `https://a.example/news/`. */
  readonly prefixes?: readonly string[]
  /** Tags of `Cache-Tag` and `Surrogate-Key`. */
  readonly tags?: readonly string[]
  /** Groups of `Cache-Groups` (RFC 9875), which belong to an origin. */
  readonly groups?: readonly { readonly origin: string; readonly name: string }[]
  readonly all?: boolean
  /** Mark as stale instead of deleting: what allows staleness may still be used, and the rest is validated. @default false */
  readonly soft?: boolean
}

/** `app.cache`. */
export class CacheControls {
  readonly #engine: Engine
  /** Former versions of assets, for a plugin that encodes with them; `undefined` with a store that cannot keep them. */
  readonly dictionaries: CacheDictionaries | undefined

  constructor (engine: Engine, dictionaries?: CacheDictionaries) {
    this.#engine = engine
    this.dictionaries = dictionaries
  }

  /** Counts since the app was made. */
  get stats (): Readonly<CacheStats & StoreStats> {
    return { ...this.#engine.stats, ...this.#engine.store.stats }
  }

  /**
   * Removes stored responses, and those being fetched now are not stored. Resolves to the number that was stored. Tags, groups and prefixes look
   * at every stored response. Throws `HG_CACHE_PURGE` for a URL that is not absolute.
   */
  async purge (what: Purge): Promise<number> {
    const mode: PurgeMode = what.soft === true ? 'soft' : 'hard'
    const { invalidator } = this.#engine
    let count = 0
    for (const url of what.urls ?? []) {
      const { origin, target } = split(url)
      count += await invalidator.url(origin, target, mode, 'url')
    }
    for (const prefix of what.prefixes ?? []) {
      const { origin, target } = split(prefix)
      count += await invalidator.every({ by: 'prefix', names: [origin + target] }, mode, prefix)
    }
    const { tags = [], groups = [] } = what
    if (tags.length > 0) {
      count += await invalidator.every({ by: 'tag', names: tags }, mode, tags.join(' '))
    }
    if (groups.length > 0) {
      const names = groups.map(({ origin, name }) => groupName(split(origin).origin, name))
      count += await invalidator.every({ by: 'group', names }, mode, names.join(' '))
    }
    if (what.all === true) count += await invalidator.every({ by: 'all', names: [] }, mode, '')
    return count
  }
}

/** Origin as in keys, and the rest byte for byte. */
function split (url: string): { origin: string; target: string } {
  const match = /^(https?):\/\/([^/?#\s]+)([^#\s]*)$/i.exec(url)
  if (match === null) throw new PurgeRequestError(`'${url}' is no absolute http or https URL`)
  const scheme = match[1]!.toLowerCase()
  const host = match[2]!.toLowerCase().replace(scheme === 'https' ? /:443$/ : /:80$/, '')
  return { origin: `${scheme}://${host}`, target: match[3] === '' || match[3]!.startsWith('?') ? `/${match[3]!}` : match[3]! }
}
