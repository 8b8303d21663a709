import { type FileHandle, open, rename, unlink } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { Entry } from '../entry.ts'
import type { EntryWriter } from './contract.ts'
import { formatHead, formatStart, PREAMBLE, roomFor, type Shape } from './entry-file.ts'

/** Bytes that may wait to be written before the source is held back. */
const PENDING = 1024 * 1024

export interface WriterPlan {
  readonly entry: Entry
  /** Where it is written, and where it goes when it is complete: within one file system. */
  readonly temporary: string
  readonly final: string
  readonly maxBytes: number
  /** The file has its name: bookkeeping. */
  readonly done: (entry: Entry, shape: Shape, replaces: readonly Entry[]) => boolean
  readonly failed: (error: Error) => void
  /** It is being completed: until then nothing that was asked for before has come to rest. */
  readonly busy: (work: Promise<unknown>) => void
}

/** Writes one entry: first under another name, which it loses when all of it is there. */
export class DiskWriter implements EntryWriter {
  readonly #plan: WriterPlan
  readonly #room: number
  #queue: Buffer[] = []
  #pending = 0
  #size = 0
  #sum = 0
  #alive = true
  #work: Promise<void> | undefined
  #file: FileHandle | undefined
  onDrain: (() => void) | undefined

  constructor (plan: WriterPlan) {
    this.#plan = plan
    this.#room = roomFor(formatHead(plan.entry))
  }

  get alive (): boolean { return this.#alive }

  write (chunk: Buffer): boolean {
    if (!this.#alive) return true
    this.#size += chunk.length
    if (this.#size > this.#plan.maxBytes) {
      this.abort()
      return true
    }
    this.#sum = crc32(chunk, this.#sum)
    this.#queue.push(chunk)
    this.#pending += chunk.length
    this.#work ??= this.#run()
    return this.#pending < PENDING
  }

  commit (replaces: readonly Entry[], wanted?: () => boolean): Promise<boolean> {
    const work = this.#commit(replaces, wanted ?? always)
    this.#plan.busy(work)
    return work
  }

  async #commit (replaces: readonly Entry[], wanted: () => boolean): Promise<boolean> {
    const { entry, temporary, final, done, failed } = this.#plan
    if (!this.#alive) return false
    try {
      await (this.#work ??= this.#run())
      if (!this.#alive || this.#file === undefined) return false
      entry.size = this.#size
      const shape = { room: this.#room, sum: this.#sum }
      const start = formatStart(formatHead(entry), shape, this.#size)
      if (start === undefined) throw new Error('the fields are too long')
      await writeAll(this.#file, start, 0)
      await this.#file.close()
      this.#file = undefined
      if (!wanted()) {
        this.abort()
        return false
      }
      await rename(temporary, final)
      this.#alive = false
      if (wanted()) return done(entry, shape, replaces)
      await unlink(final)
      return false
    } catch (error) {
      this.abort()
      failed(error as Error)
      return false
    }
  }

  abort (): void {
    if (!this.#alive) return
    this.#alive = false
    this.#queue = []
    void this.#discard()
  }

  async #discard (): Promise<void> {
    await this.#work
    await this.#file?.close().catch(() => {})
    this.#file = undefined
    await unlink(this.#plan.temporary).catch(() => {})
  }

  async #run (): Promise<void> {
    try {
      this.#file ??= await open(this.#plan.temporary, 'wx')
      for (let at = PREAMBLE + this.#room + this.#size - this.#pending; this.#queue.length > 0;) {
        const chunks = this.#queue
        this.#queue = []
        const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
        await writeAll(this.#file, bytes, at)
        at += bytes.length
        const full = this.#pending >= PENDING
        this.#pending -= bytes.length
        if (full && this.#pending < PENDING) this.onDrain?.()
      }
    } catch (error) {
      this.#alive = false
      this.#queue = []
      this.#pending = 0
      this.#plan.failed(error as Error)
      this.onDrain?.()
      await this.#file?.close().catch(() => {})
      this.#file = undefined
      await unlink(this.#plan.temporary).catch(() => {})
    } finally {
      this.#work = undefined
    }
  }
}

const always = (): boolean => true

async function writeAll (file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
}
