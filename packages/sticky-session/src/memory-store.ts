import type { Clock } from '@headgate/core'
import type { StickEntry, StickStore } from './store.ts'

interface Kept {
  entry: StickEntry
  expiresAt: number
}

/** A stick table in this process. Full, it forgets the entry that was not used for the longest time. */
export class MemoryStore implements StickStore {
  // In the order of use, the longest unused first.
  readonly #entries = new Map<string, Kept>()
  readonly #maxEntries: number
  readonly #clock: Clock
  #cursor: Iterator<[string, Kept]> | undefined

  constructor (maxEntries: number, clock: Clock) {
    this.#maxEntries = maxEntries
    this.#clock = clock
  }

  get size (): number { return this.#entries.size }

  get (key: string): StickEntry | undefined {
    return this.#alive(key)?.entry
  }

  set (key: string, entry: StickEntry, ttl: number): void {
    this.#entries.delete(key)
    if (this.#entries.size >= this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value!)
    this.#entries.set(key, { entry, expiresAt: this.#clock.now() + ttl })
  }

  touch (key: string, ttl: number): boolean {
    const kept = this.#alive(key)
    if (kept === undefined) return false
    kept.expiresAt = this.#clock.now() + ttl
    this.#entries.delete(key)
    this.#entries.set(key, kept)
    return true
  }

  delete (key: string): boolean {
    return this.#alive(key) !== undefined && this.#entries.delete(key)
  }

  /** All that live, with the milliseconds that are left to them. */
  * entries (): Generator<[key: string, entry: StickEntry, ttl: number]> {
    const now = this.#clock.now()
    for (const [key, { entry, expiresAt }] of this.#entries) if (expiresAt > now) yield [key, entry, expiresAt - now]
  }

  /** Goes on where the last call stopped: lives differ, so the order of use is not that of expiry. */
  expire (limit: number): number {
    const now = this.#clock.now()
    let removed = 0
    for (let looked = 0; looked < limit; looked++) {
      this.#cursor ??= this.#entries[Symbol.iterator]()
      const next = this.#cursor.next()
      if (next.done === true) {
        this.#cursor = undefined
        break
      }
      const [key, kept] = next.value
      if (kept.expiresAt > now) continue
      this.#entries.delete(key)
      removed++
    }
    return removed
  }

  #alive (key: string): Kept | undefined {
    const kept = this.#entries.get(key)
    if (kept === undefined || kept.expiresAt > this.#clock.now()) return kept
    this.#entries.delete(key)
    return undefined
  }
}
