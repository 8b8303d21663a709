import { mkdirSync } from 'node:fs'
import { open, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import type { Entry } from '../entry.ts'
import { CacheStoreError } from '../errors.ts'
import { replaces } from '../variants.ts'
import { BoundedIndex, type EvictionName } from './bounded.ts'
import type { CacheStore, EntryWriter, StoreStats } from './contract.ts'
import { Checked } from './checked.ts'
import { formatHead, formatStart, parseStart, PREAMBLE, type Shape, shapeOf } from './entry-file.ts'
import { DiskWriter } from './entry-writer.ts'
import { lock } from './lock.ts'

export interface DiskStoreOptions {
  /** Folder of its own, made when it is missing; one process may use it at a time. */
  readonly path: string
  /** Bytes for everything, 1 MiB or more. @default 10 GiB */
  readonly maxBytes?: number
  /** Responses at most; each costs about 2 KB of memory for its fields. @default 200000 */
  readonly maxEntries?: number
  /** Bytes of one body at most. @default 1 GiB */
  readonly maxEntryBytes?: number
  /** Who goes when it is full. @default 's3-fifo' */
  readonly eviction?: EvictionName
}

/** Ranges up to this many bytes are read at once. */
const SMALL = 64 * 1024
/** Files looked at together when it starts. */
const SCANNERS = 8
const GIB = 1024 ** 3

/**
 * Keeps responses in files, bodies behind their fields. The index is in memory and made anew from the files, in the background, when it
 * starts. A file gets its name when all of it is there, so that a process killed at any moment leaves nothing half written that could be
 * served. Nothing is forced to the disk (fsync): what a loss of power spoils is found by checksums, of the fields when it starts, of a body
 * whenever all of it is read.
 */
export class DiskStore implements CacheStore {
  readonly #path: string
  readonly #maxEntryBytes: number
  readonly #index: BoundedIndex
  readonly #shapes: WeakMap<Entry, Shape> = new WeakMap()
  readonly #pending: Set<Promise<void>> = new Set()
  readonly #unlock: () => void
  #closed = false
  readonly ready: Promise<void>
  onEvict: ((entry: Entry) => void) | undefined
  onFailure: ((error: Error) => void) | undefined

  /** Throws `HG_CACHE_STORE` when the folder cannot be used. */
  constructor (options: DiskStoreOptions) {
    const maxBytes = options.maxBytes ?? 10 * GIB
    this.#path = options.path
    this.#maxEntryBytes = Math.min(options.maxEntryBytes ?? GIB, maxBytes)
    this.#index = new BoundedIndex(maxBytes, options.maxEntries ?? 200_000, options.eviction ?? 's3-fifo', (entry, evicted) => {
      this.#do(unlink(this.#fileOf(entry.id)))
      if (evicted) this.onEvict?.(entry)
    })
    try {
      mkdirSync(join(this.#path, 'tmp'), { recursive: true })
      this.#unlock = lock(this.#path)
    } catch (error) {
      if (error instanceof CacheStoreError) throw error
      throw new CacheStoreError(`The folder ${this.#path} cannot be used: ${(error as Error).message}`)
    }
    this.ready = this.#scan()
  }

  get stats (): StoreStats {
    return { entries: this.#index.size, bytes: this.#index.bytes }
  }

  get (key: string): readonly Entry[] {
    return this.#index.get(key)
  }

  getUrl (url: string): readonly Entry[] {
    return this.#index.getUrl(url)
  }

  touch (entry: Entry): void {
    this.#index.touch(entry)
  }

  create (entry: Entry, size: number): EntryWriter | undefined {
    if (size > this.#maxEntryBytes || this.#closed) return undefined
    return new DiskWriter({
      entry,
      temporary: join(this.#path, 'tmp', entry.id),
      final: this.#fileOf(entry.id),
      maxBytes: this.#maxEntryBytes,
      done: (whole, shape, replaced) => {
        this.#shapes.set(whole, shape)
        for (const other of replaced) this.#index.remove(other)
        this.#index.add(whole)
        return this.#index.has(whole)
      },
      failed: (error) => { this.onFailure?.(error) }
    })
  }

  /** Writes the head again, in its place. One that has grown too much is marked, so that it is validated after a restart. */
  update (entry: Entry): void {
    const shape = this.#shapes.get(entry)
    if (shape === undefined || !this.#index.has(entry)) return
    const start = formatStart(formatHead(entry), shape, entry.size) ?? formatStart(formatHead({ ...entry, fields: [], invalidated: true }), shape, entry.size)
    if (start === undefined) return this.delete(entry)
    this.#do(this.#overwrite(entry, start))
  }

  delete (entry: Entry): void {
    this.#index.remove(entry)
  }

  async read (entry: Entry, start: number, end: number): Promise<Buffer | Readable | undefined> {
    const { room, sum } = this.#shapes.get(entry) ?? { room: 0, sum: 0 }
    const from = PREAMBLE + room
    const length = end - start + 1
    const whole = length === entry.size
    try {
      const file = await open(this.#fileOf(entry.id), 'r')
      if (length > SMALL) {
        const stream = file.createReadStream({ start: from + start, end: from + end, highWaterMark: SMALL })
        return whole ? new Checked(stream, sum, (error) => { this.#spoiled(entry, error) }) : stream
      }
      try {
        const bytes = Buffer.allocUnsafeSlow(length)
        const { bytesRead } = await file.read(bytes, 0, length, from + start)
        if (bytesRead !== length) throw new Error(`${this.#fileOf(entry.id)} is shorter than it was`)
        if (whole && crc32(bytes) !== sum) throw new Error(`${this.#fileOf(entry.id)} is damaged`)
        return bytes
      } finally {
        await file.close()
      }
    } catch (error) {
      this.#spoiled(entry, error as Error)
      return undefined
    }
  }

  #spoiled (entry: Entry, error: Error): void {
    // One that was just pushed out is no failure.
    if (!this.#index.remove(entry)) return
    this.onFailure?.(error)
  }

  entries (): Iterable<Entry> {
    return this.#index.values()
  }

  /** Everything asked for so far is in the files. */
  async settled (): Promise<void> {
    await Promise.all(this.#pending)
  }

  async close (): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.ready
    await this.settled()
    this.#unlock()
  }

  #fileOf (id: string): string {
    return join(this.#path, `${id}.entry`)
  }

  #do (work: Promise<void>): void {
    const tracked = work.catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') this.onFailure?.(error) }).finally(() => { this.#pending.delete(tracked) })
    this.#pending.add(tracked)
  }

  async #overwrite (entry: Entry, start: Buffer): Promise<void> {
    const file = await open(this.#fileOf(entry.id), 'r+')
    try {
      await file.write(start, 0, start.length, 0)
    } finally {
      await file.close()
    }
  }

  async #scan (): Promise<void> {
    try {
      for (const name of await readdir(join(this.#path, 'tmp'))) await unlink(join(this.#path, 'tmp', name)).catch(() => {})
      const names = (await readdir(this.#path)).filter((name) => name.endsWith('.entry')).values()
      await Promise.all(Array.from({ length: SCANNERS }, async () => {
        for (const name of names) if (!this.#closed) await this.#load(name.slice(0, -'.entry'.length))
      }))
    } catch (error) {
      this.onFailure?.(error as Error)
    }
  }

  /** Takes one file into the index; one that is damaged, or older than what is there already, goes. */
  async #load (id: string): Promise<void> {
    const path = this.#fileOf(id)
    try {
      const file = await open(path, 'r')
      let entry: Entry | undefined
      let shape: Shape | undefined
      try {
        const { size } = await file.stat()
        const preamble = Buffer.alloc(PREAMBLE)
        await file.read(preamble, 0, PREAMBLE, 0)
        shape = shapeOf(preamble)
        if (shape !== undefined) {
          const start = Buffer.alloc(PREAMBLE + shape.room)
          await file.read(start, 0, start.length, 0)
          entry = parseStart(start, size)
        }
      } finally {
        await file.close()
      }
      // A file that was written since the start is in the index already.
      if (this.#index.get(entry?.key ?? '').some((other) => other.id === id)) return
      if (entry === undefined || entry.id !== id || this.#index.get(entry.key).some((other) => replaces(other, entry))) return await unlink(path)
      this.#shapes.set(entry, shape!)
      this.#index.add(entry)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.onFailure?.(error as Error)
    }
  }
}
