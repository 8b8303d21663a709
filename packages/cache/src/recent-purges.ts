import type { Entry } from './entry.ts'
import type { Concern } from './store/contract.ts'

/** Names that are remembered; of what is older than those, any response may have been purged. */
const MAX_NAMES = 50_000
/** As each of them is looked at. */
const MAX_PREFIXES = 1000

/**
 * The last purge of each name, so that whoever has had a response under way can ask whether it was purged since, however its URL, tags and groups came to
 * be known. Times are counts of purges.
 */
export class RecentPurges {
  readonly #names: Map<string, number> = new Map()
  readonly #prefixes: Map<string, number> = new Map()
  readonly #maxNames: number
  /** Everything that was under way then counts as purged. */
  #floor = 0
  #now = 0

  constructor (maxNames: number = MAX_NAMES) {
    this.#maxNames = maxNames
  }

  /** To be kept when something begins that may be stored later. */
  get now (): number { return this.#now }

  add ({ by, names }: Concern): void {
    this.#now++
    if (by === 'all') {
      this.#floor = this.#now
      this.#names.clear()
      this.#prefixes.clear()
      return
    }
    const [map, max] = by === 'prefix' ? [this.#prefixes, MAX_PREFIXES] : [this.#names, this.#maxNames]
    for (const name of names) {
      const key = by === 'prefix' ? name : `${by} ${name}`
      // The last one is at the end.
      map.delete(key)
      map.set(key, this.#now)
      if (map.size <= max) continue
      const [oldest, at] = map.entries().next().value!
      map.delete(oldest)
      this.#floor = Math.max(this.#floor, at)
    }
  }

  /** Was it purged since `then`, one way or another? */
  concern (entry: Entry, then: number): boolean {
    if (then === this.#now) return false
    if (then < this.#floor) return true
    const since = (name: string): boolean => (this.#names.get(name) ?? 0) > then
    if (since(`url ${entry.url}`) || entry.tags.some((tag) => since(`tag ${tag}`)) || entry.groups.some((group) => since(`group ${group}`))) return true
    for (const [prefix, at] of this.#prefixes) if (at > then && entry.url.startsWith(prefix)) return true
    return false
  }
}
