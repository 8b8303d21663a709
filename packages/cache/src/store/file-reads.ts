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
  /** One that came while it was read has made it stale: the file may not say so. */
  readonly changed: boolean
}

/** A file that is being read. */
interface Reading {
  /** Purges since it was begun. */
  readonly heard: TimedPurge[]
  /** It was changed since. */
  again: boolean
}

/** Files of entries that are being read into an index. Purges that come meanwhile cannot find them there, so they are obeyed here. */
export class FileReads {
  readonly #reading: Map<string, Reading> = new Map()
  readonly #twice: boolean

  /** `twice`: another process may be writing a head; who finds it half written looks once more. */
  constructor (twice: boolean) {
    this.#twice = twice
  }

  get ids (): Iterable<string> { return this.#reading.keys() }

  has (id: string): boolean {
    return this.#reading.has(id)
  }

  /** It has been removed: what is read of it is of no use. */
  forget (id: string): void {
    this.#reading.delete(id)
  }

  /** It has been changed: if it is being read, it is read once more. Gives whether it is. */
  again (id: string): boolean {
    const reading = this.#reading.get(id)
    if (reading !== undefined) reading.again = true
    return reading !== undefined
  }

  heard (purge: TimedPurge): void {
    for (const { heard } of this.#reading.values()) heard.push(purge)
  }

  /**
   * Reads a file and gives it, `undefined` when it is damaged, to `take` in the very turn in which its purges were looked at; resolves when what that
   * does is done. Does nothing for one that is being read. Rejects when there is none.
   */
  async read (id: string, path: string, take: (read: Read | undefined) => void | Promise<void>): Promise<void> {
    if (this.#reading.has(id)) return
    const mine: Reading = { heard: [], again: false }
    this.#reading.set(id, mine)
    let read: { readonly entry: Entry; readonly shape: Shape } | undefined
    let wanted = false
    try {
      do {
        mine.again = false
        read = await readStart(path) ?? (this.#twice ? await readStart(path) : undefined)
      } while (mine.again)
    } finally {
      wanted = this.#reading.get(id) === mine
      if (wanted) this.#reading.delete(id)
    }
    if (wanted) await take(read && { ...read, ...obey(read.entry, mine.heard) })
  }
}

/** What becomes of it. */
function obey (entry: Entry, purges: readonly TimedPurge[]): Pick<Read, 'purged' | 'changed'> {
  let [purged, changed] = [false, false]
  for (const purge of purges) {
    if (!concerns(purge)(entry)) continue
    changed = true
    if (purge.mode === 'hard') purged = true
    else if (purge.mode === 'invalidate') entry.invalidated = true
    else entry.lifetime = Math.min(entry.lifetime, ageOf(entry, purge.at))
  }
  return { purged, changed }
}
