import { type Clock, systemClock } from '@headgate/core'
import { MemoryStore } from './memory-store.ts'
import type { StickEntry, StickStore } from './store.ts'

/** The other processes of the same machine: `colleagues` of a worker of `@headgate/workers`. */
export interface StickSharing {
  /** This one answers for all. */
  readonly speaks: boolean
  /** Resolves when it is known who speaks. */
  readonly ready: Promise<void>
  /** Answers a topic from now on; returns how to stop. */
  on (topic: string, handler: (data: never) => unknown): () => void
  /** Tells all others, in the order of the calls. */
  tell (to: 'others', topic: string, data: unknown): void
  /** Resolves to what the speaker answers; rejects when there is none who can. */
  ask (to: 'speaker', topic: string, data: unknown): Promise<unknown>
}

export interface ReplicatedStoreOptions {
  /** Clients that each process remembers, 1 or more. @default 100000 */
  readonly maxEntries?: number
  /** Tells tables apart, where processes share several. @default 'table' */
  readonly name?: string
  /** Where time comes from, for tests. @default the system's */
  readonly clock?: Clock
}

type Bound = readonly [key: string, upstreamId: string, boundAt: number, ttl: number]

/** One change, in the order in which it was made. */
type Change =
  | { readonly bound: Bound }
  | { readonly touched: readonly [key: string, ttl: number] }
  | { readonly gone: readonly [key: string, upstreamId: string, boundAt: number] }

/** Share of a life that may be used up, or gained, before the others are told that it was prolonged. */
const UNTOLD = 0.1
/** What keys may begin with: base64url. */
const BEGINNINGS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
/** Milliseconds that a newcomer waits for what there is. */
const PATIENCE = 5000
/** Questions about one part: who speaks may have ended, and another does. */
const TRIES = 5

/**
 * A stick table that each process of a machine has the whole of: changes are told to the others once a turn of the event loop, of two that differ the
 * later one holds (of the same millisecond, the greater id), and who comes later takes what the one has that speaks for all. What prolongs a life is told
 * when a tenth of it has gone, so elsewhere an entry may end that much earlier.
 */
export class ReplicatedStore implements StickStore {
  readonly #sharing: StickSharing
  readonly #name: string
  readonly #memory: MemoryStore
  readonly #clock: Clock
  /** Until when the others believe an entry to live, by the clock. */
  readonly #believed: WeakMap<StickEntry, number> = new WeakMap()
  readonly #changes: Change[] = []
  /** What was deleted since the last sweep but one: a message from before may still be under way. */
  #graves: Map<string, StickEntry> = new Map()
  #oldGraves: Map<string, StickEntry> = new Map()
  #copied = false
  readonly #offs: readonly (() => void)[]
  /** Resolves when what there was before is here, after 5 s at the latest. */
  readonly ready: Promise<void>

  constructor (sharing: StickSharing, { maxEntries = 100_000, name = 'table', clock = systemClock }: ReplicatedStoreOptions = {}) {
    this.#sharing = sharing
    this.#name = name
    this.#clock = clock
    this.#memory = new MemoryStore(maxEntries, clock)
    this.#offs = [
      sharing.on(`sticky.changes ${name}`, (changes: readonly Change[]) => { for (const change of changes) this.#follow(change) }),
      sharing.on(`sticky.part ${name}`, (beginning: string): Bound[] => this.#part(beginning))
    ]
    this.ready = this.#begin().finally(() => { this.#copied = true })
  }

  get size (): number { return this.#memory.size }

  get (key: string): StickEntry | undefined {
    return this.#memory.get(key)
  }

  set (key: string, entry: StickEntry, ttl: number): void {
    this.#keep(key, entry, ttl)
    this.#tell({ bound: [key, entry.upstreamId, entry.boundAt, ttl] })
  }

  touch (key: string, ttl: number): boolean {
    const entry = this.#memory.get(key)
    if (entry === undefined) return false
    this.#memory.touch(key, ttl)
    const until = this.#clock.now() + ttl
    if (Math.abs(until - this.#believed.get(entry)!) < ttl * UNTOLD) return true
    this.#believed.set(entry, until)
    this.#tell({ touched: [key, ttl] })
    return true
  }

  delete (key: string): boolean {
    const entry = this.#memory.get(key)
    if (entry === undefined) return false
    this.#graves.set(key, entry)
    this.#tell({ gone: [key, entry.upstreamId, entry.boundAt] })
    return this.#memory.delete(key)
  }

  expire (limit: number): number {
    if (this.#copied && this.#graves.size + this.#oldGraves.size > 0) {
      this.#oldGraves = this.#graves
      this.#graves = new Map()
    }
    return this.#memory.expire(limit)
  }

  /** Hears nothing of the others any more. */
  close (): void {
    for (const off of this.#offs) off()
  }

  #keep (key: string, entry: StickEntry, ttl: number): void {
    this.#memory.set(key, entry, ttl)
    this.#believed.set(entry, this.#clock.now() + ttl)
  }

  #tell (change: Change): void {
    if (this.#changes.push(change) > 1) return
    setImmediate(() => { this.#sharing.tell('others', `sticky.changes ${this.#name}`, this.#changes.splice(0)) })
  }

  #follow (change: Change): void {
    if ('bound' in change) return this.#take(change.bound)
    if ('touched' in change) {
      const [key, ttl] = change.touched
      const entry = this.#memory.get(key)
      if (entry === undefined) return
      this.#memory.touch(key, ttl)
      this.#believed.set(entry, this.#clock.now() + ttl)
      return
    }
    const [key, upstreamId, boundAt] = change.gone
    this.#graves.set(key, { upstreamId, boundAt })
    const mine = this.#memory.get(key)
    if (mine !== undefined && !isLater(mine, { upstreamId, boundAt })) this.#memory.delete(key)
  }

  #take ([key, upstreamId, boundAt, ttl]: Bound): void {
    const mine = this.#memory.get(key) ?? this.#graves.get(key) ?? this.#oldGraves.get(key)
    if (mine === undefined || isLater({ upstreamId, boundAt }, mine)) this.#keep(key, { upstreamId, boundAt }, ttl)
  }

  #part (beginning: string): Bound[] {
    const part: Bound[] = []
    for (const [key, { upstreamId, boundAt }, ttl] of this.#memory.entries()) if (key.startsWith(beginning)) part.push([key, upstreamId, boundAt, ttl])
    return part
  }

  async #begin (): Promise<void> {
    await this.#sharing.ready
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimeout(resolve, PATIENCE)
      void this.#copy().then(() => {
        this.#clock.clearTimeout(timer)
        resolve()
      })
    })
  }

  /** In parts, so that no process is held up for long by a large table. */
  async #copy (): Promise<void> {
    for (const beginning of BEGINNINGS) {
      for (let tries = 0; tries < TRIES && !this.#sharing.speaks; tries++) {
        const part = await this.#sharing.ask('speaker', `sticky.part ${this.#name}`, beginning).catch(() => undefined) as readonly Bound[] | undefined
        if (part === undefined) continue
        for (const bound of part) this.#take(bound)
        break
      }
    }
  }
}

function isLater (entry: StickEntry, than: StickEntry): boolean {
  return entry.boundAt === than.boundAt ? entry.upstreamId > than.upstreamId : entry.boundAt > than.boundAt
}
