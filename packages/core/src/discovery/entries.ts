import type { DiscoveredUpstream } from './contract.ts'

/** Reads `[…]` or `{ "upstreams": […] }`; what stands inside is checked as a pool's upstreams are. Throws for anything else. */
export function entriesOf (value: unknown): readonly DiscoveredUpstream[] {
  const list = typeof value === 'object' && value !== null && 'upstreams' in value ? value.upstreams : value
  if (!Array.isArray(list)) throw new Error("must be a list of upstreams, or an object with 'upstreams'")
  const odd = list.findIndex((entry) => typeof entry !== 'string' && (typeof entry !== 'object' || entry === null || 'app' in entry))
  if (odd !== -1) throw new Error(`[${odd}] must be an address or an object with a url`)
  return list as readonly DiscoveredUpstream[]
}

/**
 * Keeps entries that have not changed as the very objects that they were, so that a long list of which one entry changed costs little
 * behind it.
 */
export class SameEntries<T extends DiscoveredUpstream = DiscoveredUpstream> {
  #before = new Map<string, T>()

  of (list: readonly T[]): readonly T[] {
    const now = new Map<string, T>()
    const same = list.map((entry) => {
      if (typeof entry === 'string') return entry
      const key = JSON.stringify(entry)
      const kept = this.#before.get(key) ?? entry
      now.set(key, kept)
      return kept
    })
    this.#before = now
    return same
  }
}
