import { PurgeUnconfirmedError } from './errors.ts'
import type { CacheSharing } from './sharing.ts'
import type { Concern, MaybePromise, TimedPurge } from './store/contract.ts'

/** One cache of this process. */
export interface Member {
  /** Several processes see the same responses: what one stores the others find. */
  readonly common: boolean
  /** Makes what is stored here, and what is being fetched, obey; gives how many there were. `elsewhere`: it was made by another process. */
  obey (purge: TimedPurge, elsewhere: boolean): MaybePromise<number>
}

const circles = new WeakMap<CacheSharing, Map<string, Circle>>()

/**
 * The caches of one name in all processes of a machine, and in this one: while a configuration takes another's place, both have theirs. A purge
 * resolves when all of them have obeyed it; invalidations are told and not waited for.
 */
export class Circle {
  readonly #sharing: CacheSharing
  readonly #name: string
  readonly #members: Set<Member> = new Set()
  readonly #told: Concern[] = []
  #offs: (() => void)[] = []

  private constructor (sharing: CacheSharing, name: string) {
    this.#sharing = sharing
    this.#name = name
  }

  static of (sharing: CacheSharing, name: string): Circle {
    let named = circles.get(sharing)
    if (named === undefined) circles.set(sharing, named = new Map())
    let circle = named.get(name)
    if (circle === undefined) named.set(name, circle = new Circle(sharing, name))
    return circle
  }

  /** Returns how to leave. */
  join (member: Member): () => void {
    if (this.#members.size === 0) this.#listen()
    this.#members.add(member)
    return () => {
      if (!this.#members.delete(member) || this.#members.size > 0) return
      for (const off of this.#offs.splice(0)) off()
    }
  }

  /** Resolves to how many responses there were in all. Rejects with `HG_CACHE_PURGE_UNCONFIRMED` when somebody did not answer in time. */
  async purge (purge: TimedPurge): Promise<number> {
    const topic = this.#topic('purge')
    const common = [...this.#members].some((member) => member.common)
    let count = await this.#obey(purge, false)
    const first = await this.#sharing.gather(topic, purge)
    let { missing } = first
    if (common) {
      // What one of them had stored before it heard of it, it told the others of before it answered: all know of it by now. Here first, as who begins it
      // writes it down for those who have still to read it.
      await this.#obey(purge, false)
      missing = Math.max(missing, (await this.#sharing.gather(topic, purge)).missing)
    } else for (const { data } of first.answers) count += Number(data)
    if (missing > 0) throw new PurgeUnconfirmedError(String(missing))
    return count
  }

  /** For what is not waited for; the other members of this process, and those of others, are told at the end of this turn. */
  tell (concern: Concern, by: Member): void {
    for (const member of this.#members) if (member !== by) void member.obey({ ...concern, mode: 'invalidate', at: 0 }, false)
    if (this.#told.push(concern) > 1) return
    setImmediate(() => { this.#sharing.tell('others', this.#topic('invalidate'), this.#told.splice(0)) })
  }

  #topic (what: string): string {
    return `cache.${what} ${this.#name}`
  }

  #listen (): void {
    this.#offs = [
      this.#sharing.on(this.#topic('purge'), (purge: TimedPurge) => this.#obey(purge, true)),
      this.#sharing.on(this.#topic('invalidate'), (concerns: readonly Concern[]) => {
        for (const concern of concerns) void this.#obey({ ...concern, mode: 'invalidate', at: 0 }, true)
      })
    ]
  }

  async #obey (purge: TimedPurge, elsewhere: boolean): Promise<number> {
    let count = 0
    for (const found of [...this.#members].map((member) => member.obey(purge, elsewhere))) count += await found
    return count
  }
}
