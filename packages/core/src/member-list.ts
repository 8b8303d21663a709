import { DuplicateUpstreamError } from './errors.ts'
import type { DiscoveredUpstream } from './discovery/contract.ts'
import { type SubsetOptions, subsetOf } from './discovery/subset.ts'
import type { Pool } from './pool.ts'
import { type ParsedUpstream, parseUpstream } from './pool-options.ts'
import type { Upstream, UpstreamSettings } from './upstream.ts'

/** What one list changed. */
export interface Applied {
  readonly added: number
  readonly removed: number
  readonly changed: number
  /** Each resolves when one that the list does not name any more has ended its work and is gone. */
  readonly leaving: readonly Promise<void>[]
}

/** A checked entry, and what was checked: an entry that comes again, the very object or an equal text, is not checked again. */
interface Entry extends ParsedUpstream {
  readonly draining: boolean
}

interface Brought {
  readonly upstream: Upstream
  readonly entry: Entry
}

/**
 * Makes the members of a pool be those of a list, again and again, in time linear in its length and with little work for what did not
 * change: 10,000 members of which a few change cost some milliseconds, not the checking of them all.
 */
export class MemberList {
  readonly #pool: Pool
  readonly #path: string
  readonly #whole: boolean
  readonly #subset: SubsetOptions | undefined
  #entries = new Map<DiscoveredUpstream, Entry>()
  #brought = new Map<string, Brought>()

  /**
   * `whole`: the list speaks for all members; else only for those that an earlier list brought. `subset`: of each tier only these
   * are taken. `path` begins errors.
   */
  constructor (pool: Pool, path: string, { whole, subset }: { readonly whole: boolean; readonly subset?: SubsetOptions | undefined }) {
    this.#pool = pool
    this.#path = path
    this.#whole = whole
    this.#subset = subset
  }

  /** Members that lists brought and that are still there. */
  get size (): number { return this.#brought.size }

  /** Throws `HG_POOL_INVALID_OPTION` and `HG_UPSTREAM_DUPLICATE`, and then has changed nothing. */
  apply (list: readonly DiscoveredUpstream[]): Applied {
    const wanted = this.#check(list)
    const counts = { added: 0, removed: 0, changed: 0, leaving: [] as Promise<void>[] }
    const brought = new Map<string, Brought>()
    const pool = this.#pool
    pool.batch(() => {
      for (const [id, upstream] of this.#whole ? pool.entries() : this.#mine()) {
        if (wanted.has(id) || upstream.health.leaving) continue
        counts.removed++
        counts.leaving.push(pool.remove(id))
      }
      for (const [id, entry] of wanted) {
        const upstream = this.#settle(pool.get(id), entry, counts)
        if (upstream !== undefined) brought.set(id, { upstream, entry })
      }
    })
    this.#brought = brought
    return counts
  }

  #check (list: readonly DiscoveredUpstream[]): Map<string, Entry> {
    const entries = new Map<DiscoveredUpstream, Entry>()
    const wanted = new Map<string, Entry>()
    const addresses = new Map<string, string>()
    for (const [index, spec] of list.entries()) {
      const entry = this.#entries.get(spec) ?? this.#parse(spec, `${this.#path}[${index}]`)
      const { id, target: { href } } = entry.settings
      const twin = wanted.has(id) ? id : addresses.get(href)
      if (twin !== undefined) throw new DuplicateUpstreamError(`${this.#path}[${index}]`, href, twin)
      entries.set(spec, entry)
      wanted.set(id, entry)
      addresses.set(href, id)
    }
    this.#entries = entries
    return this.#subset === undefined ? wanted : this.#part(wanted, this.#subset)
  }

  #part (wanted: Map<string, Entry>, subset: SubsetOptions): Map<string, Entry> {
    const tiers = new Map<number, string[]>()
    for (const [id, { settings: { priority } }] of wanted) {
      const tier = tiers.get(priority)
      if (tier === undefined) tiers.set(priority, [id])
      else tier.push(id)
    }
    const part = new Map<string, Entry>()
    for (const ids of tiers.values()) for (const id of subsetOf(ids, subset)) part.set(id, wanted.get(id)!)
    return part
  }

  #parse (spec: DiscoveredUpstream, path: string): Entry {
    const { settings, kind } = this.#pool
    if (typeof spec === 'string') return { ...parseUpstream(spec, path, settings, kind.parseTarget), draining: false }
    const { draining = false, ...options } = spec
    return { ...parseUpstream(options, path, settings, kind.parseTarget), draining }
  }

  * #mine (): Iterable<[string, Upstream]> {
    for (const [id, { upstream }] of this.#brought) if (this.#pool.get(id) === upstream) yield [id, upstream]
  }

  /** Gives the member that stands for an entry now; `undefined` when its place is somebody else's, who was not brought by a list. */
  #settle (present: Upstream | undefined, entry: Entry, counts: { added: number; changed: number }): Upstream | undefined {
    const pool = this.#pool
    const before = present === undefined ? undefined : this.#brought.get(present.id)
    const mine = this.#whole || before?.upstream === present
    let upstream = present
    if (upstream === undefined) {
      const taken = pool.at(entry.settings.target.href)
      if (taken !== undefined) {
        if (this.#whole) throw new DuplicateUpstreamError(this.#path, taken.url, taken.id)
        return undefined
      }
      upstream = pool.join(entry)
      counts.added++
    } else if (!mine && !upstream.health.leaving) {
      return undefined
    } else if (!pool.keep(upstream)) {
      return undefined
    } else if (before?.entry !== entry && isElsewhere(upstream, entry.settings)) {
      upstream = pool.replace(upstream, entry)
      counts.changed++
    } else if (before?.entry !== entry || this.#whole) {
      if (this.#adjust(upstream, entry.settings, before?.entry.settings)) counts.changed++
    }
    if (entry.draining) upstream.health.retire('its source says that it is about to go')
    else if (before?.entry.draining === true) upstream.health.retire(undefined)
    return upstream
  }

  /** An operator's weight stays until the source names another; a list that speaks for all members is the operator's own word. */
  #adjust (upstream: Upstream, settings: UpstreamSettings, before: UpstreamSettings | undefined): boolean {
    const pool = this.#pool
    const weighed = settings.weight !== (this.#whole ? upstream.configuredWeight : before?.weight)
    const moved = settings.priority !== upstream.priority
    const bounded = settings.maxInFlight !== upstream.maxInFlight
    if (weighed) pool.setWeight(upstream.id, settings.weight)
    if (moved) pool.setPriority(upstream, settings.priority)
    upstream.maxInFlight = settings.maxInFlight
    return weighed || moved || bounded
  }
}

/** Is it another server by now, or the same one in another place? */
function isElsewhere (upstream: Upstream, { target, zone, location }: UpstreamSettings): boolean {
  const old = upstream.target
  return target.href !== old.href || target.host !== old.host || String(target.addresses) !== String(old.addresses) || zone !== upstream.zone ||
    location?.latitude !== upstream.location?.latitude || location?.longitude !== upstream.location?.longitude
}
