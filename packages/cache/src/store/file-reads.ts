import { concerns } from '../concern.ts'
import { ageOf, type Entry } from '../entry.ts'
import type { TimedPurge } from './contract.ts'
import { readStart, type Shape } from './entry-file.ts'

/** What a file holds. */
export interface Read {
  readonly entry: Entry
  readonly shape: Shape
  /** A purge that came while it was read takes it. */
  readonly purged: boolean
}

/** Files of entries that are being read into an index. Purges that come meanwhile cannot find them there, so they are obeyed here. */
export class FileReads {
  readonly #reading: Set<string> = new Set()
  /** Purges since the first of those was begun. */
  #heard: TimedPurge[] = []
  readonly #twice: boolean

  /** `twice`: another process may be writing a head; who finds it half written looks once more. */
  constructor (twice: boolean) {
    this.#twice = twice
  }

  get ids (): Iterable<string> { return this.#reading }

  has (id: string): boolean {
    return this.#reading.has(id)
  }

  /** It has been removed: what is read of it is of no use. */
  forget (id: string): void {
    this.#reading.delete(id)
  }

  heard (purge: TimedPurge): void {
    if (this.#reading.size > 0) this.#heard.push(purge)
  }

  /**
   * Reads a file and gives it, `undefined` when it is damaged, to `take` in the very turn in which its purges were looked at. Does nothing for one
   * that is being read. Rejects when there is none.
   */
  async read (id: string, path: string, take: (read: Read | undefined) => void): Promise<void> {
    if (this.#reading.has(id)) return
    this.#reading.add(id)
    const from = this.#heard.length
    let read: { readonly entry: Entry; readonly shape: Shape } | undefined
    let wanted = false
    let purges: readonly TimedPurge[] = []
    try {
      read = await readStart(path) ?? (this.#twice ? await readStart(path) : undefined)
    } finally {
      purges = this.#heard.slice(from)
      wanted = this.#reading.delete(id)
      if (this.#reading.size === 0) this.#heard = []
    }
    if (wanted) take(read && { ...read, purged: obey(read.entry, purges) })
  }
}

/** Gives whether one of them takes it. */
function obey (entry: Entry, purges: readonly TimedPurge[]): boolean {
  let purged = false
  for (const purge of purges) {
    if (!concerns(purge)(entry)) continue
    if (purge.mode === 'hard') purged = true
    else if (purge.mode === 'invalidate') entry.invalidated = true
    else entry.lifetime = Math.min(entry.lifetime, ageOf(entry, purge.at))
  }
  return purged
}
