import type { DiscoveredUpstream } from './discovery/contract.ts'
import { type SubsetOptions, subsetOf } from './discovery/subset.ts'
import { DuplicateUpstreamError } from './errors.ts'
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

interface Counts {
  added: number
  removed: number
  changed: number
  readonly leaving: Promise<void>[]
}

/** A checked entry. */
interface Entry extends ParsedUpstream {
  readonly draining: boolean
  /** The last list that named it. */
  seen: number
}

interface Brought {
  readonly upstream: Upstream
  readonly entry: Entry
}

/**
 * Makes the members of a pool be those of a list, again and again. An entry that comes again, as the very object or an equal text, is
 * neither checked nor compared again: of 10,000 members a few that change cost a look at a number for each of the others.
 */
export class MemberList {
  readonly #pool: Pool
  readonly #path: string
  readonly #whole: boolean
  readonly #subset: SubsetOptions | undefined
  /** Entries by what was given, by id, and by address. */
  readonly #entries = new Map<DiscoveredUpstream, Entry>()
  readonly #byId = new Map<string, Entry>()
  readonly #byHref = new Map<string, Entry>()
  /** Members that lists brought, by id. */
  readonly #brought = new Map<string, Brought>()
  /** Entries whose place is taken by a member of other origin. */
  readonly #waiting = new Set<Entry>()
  #lists = 0

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
    const fresh = this.#check(list)
    const gone = this.#enter(list.length, fresh)
    const counts: Counts = { added: 0, removed: 0, changed: 0, leaving: [] }
    this.#pool.batch(() => {
      if (this.#whole) this.#all(counts)
      else if (this.#subset === undefined) this.#differences(gone, fresh, counts)
      else this.#part(this.#subset, counts)
    })
    return counts
  }

  /** Gives what is new. */
  #check (list: readonly DiscoveredUpstream[]): Map<DiscoveredUpstream, Entry> {
    const now = ++this.#lists
    const fresh = new Map<DiscoveredUpstream, Entry>()
    for (let index = 0; index < list.length; index++) {
      const spec = list[index]!
      const known = this.#entries.get(spec) ?? fresh.get(spec)
      const entry = known ?? this.#parse(spec, `${this.#path}[${index}]`)
      if (entry.seen === now) throw new DuplicateUpstreamError(`${this.#path}[${index}]`, entry.settings.target.href, entry.settings.id)
      entry.seen = now
      if (known === undefined) fresh.set(spec, entry)
    }
    const names = new Set<string>()
    for (const [spec, { settings: { id, target: { href } } }] of fresh) {
      // Ids have no colons.
      let twin: string | undefined
      if (this.#byId.get(id)?.seen === now || names.has(id)) twin = id
      else if (this.#byHref.get(href)?.seen === now || names.has(`:${href}`)) twin = href
      if (twin !== undefined) throw new DuplicateUpstreamError(`${this.#path}[${list.lastIndexOf(spec)}]`, href, twin)
      names.add(id).add(`:${href}`)
    }
    return fresh
  }

  #parse (spec: DiscoveredUpstream, path: string): Entry {
    const { settings, kind } = this.#pool
    if (typeof spec === 'string') return { ...parseUpstream(spec, path, settings, kind.parseTarget), draining: false, seen: 0 }
    const { draining = false, ...options } = spec
    return { ...parseUpstream(options, path, settings, kind.parseTarget), draining, seen: 0 }
  }

  /** Forgets entries that the list of `length` does not name, takes the new ones, and gives what was forgotten. */
  #enter (length: number, fresh: ReadonlyMap<DiscoveredUpstream, Entry>): Entry[] {
    const gone: Entry[] = []
    if (this.#entries.size + fresh.size > length) {
      for (const [spec, entry] of this.#entries) {
        if (entry.seen === this.#lists) continue
        const { id, target: { href } } = entry.settings
        this.#entries.delete(spec)
        this.#waiting.delete(entry)
        if (this.#byId.get(id) === entry) this.#byId.delete(id)
        if (this.#byHref.get(href) === entry) this.#byHref.delete(href)
        gone.push(entry)
      }
    }
    for (const [spec, entry] of fresh) {
      this.#entries.set(spec, entry)
      this.#byId.set(entry.settings.id, entry)
      this.#byHref.set(entry.settings.target.href, entry)
    }
    return gone
  }

  #differences (gone: readonly Entry[], fresh: ReadonlyMap<DiscoveredUpstream, Entry>, counts: Counts): void {
    for (const { settings: { id } } of gone) if (!this.#byId.has(id)) this.#leave(id, counts)
    const again = [...this.#waiting]
    // An operator removed it: who is a member is up to the source.
    for (const { upstream, entry } of this.#brought.values()) if (upstream.health.leaving && entry.seen === this.#lists) again.push(entry)
    for (const entry of fresh.values()) this.#settle(entry, counts)
    for (const entry of again) this.#settle(entry, counts)
  }

  #part (subset: SubsetOptions, counts: Counts): void {
    const tiers = new Map<number, string[]>()
    for (const [id, { settings: { priority } }] of this.#byId) {
      const tier = tiers.get(priority)
      if (tier === undefined) tiers.set(priority, [id])
      else tier.push(id)
    }
    const part = new Set<string>()
    for (const ids of tiers.values()) for (const id of subsetOf(ids, subset)) part.add(id)
    for (const id of this.#brought.keys()) if (!part.has(id)) this.#leave(id, counts)
    for (const id of part) this.#settle(this.#byId.get(id)!, counts)
  }

  #all (counts: Counts): void {
    const pool = this.#pool
    for (const [id, upstream] of pool.entries()) {
      if (this.#byId.has(id) || upstream.health.leaving) continue
      this.#brought.delete(id)
      counts.removed++
      counts.leaving.push(pool.remove(id))
    }
    for (const entry of this.#entries.values()) this.#settle(entry, counts)
  }

  #leave (id: string, counts: Counts): void {
    const upstream = this.#brought.get(id)?.upstream
    this.#brought.delete(id)
    if (upstream === undefined || this.#pool.get(id) !== upstream || upstream.health.leaving) return
    counts.removed++
    counts.leaving.push(this.#pool.remove(id))
  }

  /** Makes sure that an entry has its member, as it says, unless its place is somebody else's whom no list brought. */
  #settle (entry: Entry, counts: Counts): void {
    const pool = this.#pool
    const { settings } = entry
    const present = pool.get(settings.id)
    const before = this.#brought.get(settings.id)
    const mine = this.#whole || present === undefined || before?.upstream === present || present.health.leaving
    const taken = present === undefined ? pool.at(settings.target.href) : undefined
    this.#waiting.delete(entry)
    if (!mine || taken !== undefined || (present !== undefined && !pool.keep(present))) {
      if (taken !== undefined && this.#whole) throw new DuplicateUpstreamError(this.#path, taken.url, taken.id)
      this.#brought.delete(settings.id)
      this.#waiting.add(entry)
      return
    }
    let upstream = present
    if (upstream === undefined) {
      upstream = pool.join(entry)
      counts.added++
    } else if (before?.entry !== entry && isElsewhere(upstream, settings)) {
      upstream = pool.replace(upstream, entry)
      counts.changed++
    } else if ((before?.entry !== entry || this.#whole) && this.#adjust(upstream, settings, before?.entry.settings)) {
      counts.changed++
    }
    if (entry.draining) upstream.health.retire('its source says that it is about to go')
    else if (before?.entry.draining === true) upstream.health.retire(undefined)
    if (before?.entry !== entry || before.upstream !== upstream) this.#brought.set(settings.id, { upstream, entry })
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
