import type { CacheSharing } from '../sharing.ts'

/** What a process does to a folder that others use as well, by the ids of entries. */
interface News {
  readonly gone: readonly string[]
  readonly added: readonly string[]
  readonly changed: readonly string[]
}

/** A store in this process, as far as others have a say in it. */
export interface FolderReader {
  /** `undefined`: not all of it is known yet. */
  readonly ids: Iterable<string> | undefined
  /** Others stored it. */
  found (id: string): void
  /** Others changed its fields. */
  changed (id: string): void
  /** It is not there any more. */
  gone (id: string): void
}

/**
 * What the processes that share a folder tell each other of it: once a turn, and never of bodies. Nothing is told of what a purge takes, since
 * each of them hears of purges by itself.
 */
export class FolderNews {
  readonly #sharing: CacheSharing
  readonly #path: string
  readonly #gone: Set<string> = new Set()
  readonly #added: Set<string> = new Set()
  readonly #changed: Set<string> = new Set()
  readonly #offs: readonly (() => void)[]
  #waiting = false

  constructor (sharing: CacheSharing, path: string, reader: FolderReader) {
    this.#sharing = sharing
    this.#path = path
    this.#offs = [
      sharing.on(`cache.folder ${path}`, ({ gone, added, changed }: News) => {
        // Room is made before it is taken.
        for (const id of gone) reader.gone(id)
        for (const id of added) reader.found(id)
        for (const id of changed) reader.changed(id)
      }),
      sharing.on(`cache.ids ${path}`, () => {
        const { ids } = reader
        return ids === undefined ? null : [...ids]
      })
    ]
  }

  /** What is in the folder, as one who knows says; `undefined` when there is none but this process. */
  async ids (): Promise<readonly string[] | undefined> {
    if (this.#sharing.speaks) return undefined
    const answer = await this.#sharing.ask('speaker', `cache.ids ${this.#path}`, null).catch(() => null) as readonly string[] | null
    return answer ?? undefined
  }

  added (id: string): void {
    this.#added.add(id)
    this.#soon()
  }

  changed (id: string): void {
    this.#changed.add(id)
    this.#soon()
  }

  gone (id: string): void {
    this.#added.delete(id)
    this.#changed.delete(id)
    // Told in any case: somebody may have come upon the file.
    this.#gone.add(id)
    this.#soon()
  }

  close (): void {
    for (const off of this.#offs) off()
    this.flush()
  }

  #soon (): void {
    if (this.#waiting) return
    this.#waiting = true
    setImmediate(() => { this.flush() })
  }

  /** Tells now what it would tell at the end of the turn. Who answers a purge calls it before: what it had by then, the others know of then. */
  flush (): void {
    this.#waiting = false
    if (this.#gone.size + this.#added.size + this.#changed.size === 0) return
    this.#sharing.tell('others', `cache.folder ${this.#path}`, { gone: [...this.#gone], added: [...this.#added], changed: [...this.#changed] } satisfies News)
    this.#gone.clear()
    this.#added.clear()
    this.#changed.clear()
  }
}
