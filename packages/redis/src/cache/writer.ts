import type { Entry, EntryWriter } from '@headgate/cache'
import type { Stored } from './codec.ts'

/** Bodies up to this many bytes are in the value beside their head. */
export const INLINE: number = 16 * 1024
/** Bytes of one chunk of a longer body. */
export const CHUNK: number = 256 * 1024
/** Bytes under way to Redis before the source is held back. */
const WINDOW = 1024 * 1024

/** What a writer does in Redis. Both reject when Redis does not. */
export interface Target {
  chunk (entry: Entry, blob: string, index: number, bytes: Buffer): Promise<unknown>
  put (entry: Entry, stored: Stored, body: Buffer | undefined, replaces: readonly Entry[]): Promise<unknown>
}

export interface WriterPlan {
  readonly entry: Entry
  readonly stored: Stored
  /** Name for the chunks, if it needs some. */
  readonly blob: string
  /** The tier in this process; `undefined` when it takes no such body. */
  readonly memory: EntryWriter | undefined
  /** `undefined` when Redis is not asked now, or takes no such body. */
  readonly target: Target | undefined
  readonly maxBytes: number
  readonly failed: (error: unknown) => void
  /** All is there, `shared` in Redis: bookkeeping. `false`: it was purged meanwhile. */
  readonly done: (shared: boolean) => boolean
}

/** Writes one response to both tiers; one of them is enough. */
export class TwoWriter implements EntryWriter {
  readonly #plan: WriterPlan
  readonly #memory: EntryWriter | undefined
  #target: Target | undefined
  #pieces: Buffer[] = []
  #waiting = 0
  #size = 0
  #chunks = 0
  #underway = 0
  readonly #work: Set<Promise<void>> = new Set()
  onDrain: (() => void) | undefined

  constructor (plan: WriterPlan) {
    this.#plan = plan
    this.#memory = plan.memory
    this.#target = plan.target
  }

  get alive (): boolean { return this.#target !== undefined || this.#memory?.alive === true }

  write (chunk: Buffer): boolean {
    this.#size += chunk.length
    this.#memory?.write(chunk)
    if (this.#target === undefined) return true
    if (this.#size > this.#plan.maxBytes) {
      this.#drop()
      return true
    }
    this.#pieces.push(chunk)
    this.#waiting += chunk.length
    while (this.#waiting >= CHUNK) this.#send(CHUNK)
    return this.#underway < WINDOW
  }

  commit (replaces: readonly Entry[]): boolean | Promise<boolean> {
    return this.#target === undefined ? this.#finish(replaces, false) : this.#share(this.#target, replaces)
  }

  abort (): void {
    this.#memory?.abort()
    this.#drop()
  }

  async #share (target: Target, replaces: readonly Entry[]): Promise<boolean> {
    const { entry, stored, blob, failed } = this.#plan
    let shared = false
    try {
      entry.size = this.#size
      if (this.#chunks === 0 && this.#size <= INLINE) await target.put(entry, stored, Buffer.concat(this.#pieces), replaces)
      else {
        if (this.#waiting > 0) this.#send(this.#waiting)
        await Promise.all(this.#work)
        // A chunk that was refused has been dropped.
        if (this.#target === undefined) throw new Error('a part of the body could not be stored')
        stored.blob = blob
        await target.put(entry, stored, undefined, replaces)
      }
      shared = true
    } catch (error) {
      failed(error)
    }
    return this.#finish(replaces, shared)
  }

  #finish (replaces: readonly Entry[], shared: boolean): boolean {
    const { entry, done } = this.#plan
    this.#drop()
    entry.size = this.#size
    if (!done(shared)) {
      this.#memory?.abort()
      return false
    }
    const kept = this.#memory?.alive === true && this.#memory.commit(replaces) === true
    return kept || shared
  }

  /** The next bytes of the body as one chunk. */
  #send (length: number): void {
    const all = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces)
    const bytes = all.subarray(0, length)
    this.#pieces = all.length === length ? [] : [all.subarray(length)]
    this.#waiting -= length
    this.#underway += length
    const { entry, blob, failed } = this.#plan
    const work = this.#target!.chunk(entry, blob, this.#chunks++, bytes).then(() => {}, (error: unknown) => {
      failed(error)
      this.#drop()
    }).finally(() => {
      this.#work.delete(work)
      const full = this.#underway >= WINDOW
      this.#underway -= length
      if (full && this.#underway < WINDOW) this.onDrain?.()
    })
    this.#work.add(work)
  }

  #drop (): void {
    this.#target = undefined
    this.#pieces = []
    this.#waiting = 0
  }
}
