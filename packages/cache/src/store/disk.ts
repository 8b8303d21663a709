import { mkdirSync } from 'node:fs'
import { open, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import type { Entry } from '../entry.ts'
import { CacheStoreError } from '../errors.ts'
import type { CacheSharing } from '../sharing.ts'
import { replaces } from '../variants.ts'
import { BoundedIndex, type EvictionName } from './bounded.ts'
import type { CacheStore, EntryWriter, StoreStats, TimedPurge } from './contract.ts'
import { Checked } from './checked.ts'
import { formatHead, formatStart, PREAMBLE, type Shape } from './entry-file.ts'
import { DiskWriter } from './entry-writer.ts'
import { FileReads, type Read } from './file-reads.ts'
import { FolderNews, type FolderReader } from './folder-news.ts'
import { lock } from './lock.ts'
import { sweep } from './left-over.ts'

export interface DiskStoreOptions {
  /** Folder of its own, made when it is missing. One process may use it at a time, or those that share it. */
  readonly path: string
  /** Bytes for everything, 1 MiB or more. @default 10 GiB */
  readonly maxBytes?: number
  /** Responses at most; each costs about 2 KB of memory for its fields, in each process. @default 200000 */
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
 *
 * With `sharing` the processes of one machine use the folder together: each has the whole index, hears what the others store, change and
 * remove, and reads their files. What is read while a purge comes obeys it when it has been read, and a purge comes twice: each tells of what it has
 * stored before it says that it has obeyed the first time, so that all know of it before the second.
 */
export class DiskStore implements CacheStore, FolderReader {
  readonly anyKey: boolean = true
  readonly #path: string
  readonly #maxEntryBytes: number
  readonly #index: BoundedIndex
  readonly #byId: Map<string, Entry> = new Map()
  readonly #shapes: WeakMap<Entry, Shape> = new WeakMap()
  readonly #pending: Set<Promise<void>> = new Set()
  /** Heads being written, by ids: those of one file one after the other, so that the last one stays. */
  readonly #heads: Map<string, Promise<void>> = new Map()
  readonly #reads: FileReads
  readonly #news: FolderNews | undefined
  readonly #unlock: () => void
  #scanned = false
  #closed = false
  readonly ready: Promise<void>
  onEvict: ((entry: Entry) => void) | undefined
  onDrop: ((entry: Entry) => void) | undefined
  onFailure: ((error: Error) => void) | undefined

  /** Throws `HG_CACHE_STORE` when the folder cannot be used. */
  constructor (options: DiskStoreOptions, sharing?: CacheSharing) {
    const maxBytes = options.maxBytes ?? 10 * GIB
    this.#path = options.path
    this.#maxEntryBytes = Math.min(options.maxEntryBytes ?? GIB, maxBytes)
    this.#index = new BoundedIndex(maxBytes, options.maxEntries ?? 200_000, options.eviction ?? 's3-fifo', (entry, evicted) => {
      this.#byId.delete(entry.id)
      this.onDrop?.(entry)
      if (!evicted) return
      void this.#unlink(entry.id)
      this.#news?.gone(entry.id)
      this.onEvict?.(entry)
    })
    try {
      mkdirSync(join(this.#path, 'tmp'), { recursive: true })
      this.#unlock = lock(this.#path, sharing === undefined ? process.pid : process.ppid)
      sweep(join(this.#path, 'tmp'), sharing !== undefined)
    } catch (error) {
      if (error instanceof CacheStoreError) throw error
      throw new CacheStoreError(`The folder ${this.#path} cannot be used: ${(error as Error).message}`)
    }
    this.#reads = new FileReads(sharing !== undefined)
    if (sharing !== undefined) this.#news = new FolderNews(sharing, this.#path, this)
    this.ready = this.#scan().finally(() => { this.#scanned = true })
  }

  get stats (): StoreStats {
    return { entries: this.#index.size, bytes: this.#index.bytes }
  }

  get common (): boolean { return this.#news !== undefined }

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
      temporary: join(this.#path, 'tmp', `${process.pid}-${entry.id}`),
      final: this.#fileOf(entry.id),
      maxBytes: this.#maxEntryBytes,
      done: (whole, shape, replaced) => {
        for (const other of replaced) this.#remove(other)
        this.#add(whole, shape)
        if (!this.#index.has(whole)) return false
        this.#news?.added(whole.id)
        return true
      },
      failed: (error) => { this.onFailure?.(error) },
      busy: (work) => { void this.#do(work) }
    })
  }

  /** Writes the head again, in its place. One that has grown too much is marked, so that it is validated after a restart. */
  update (entry: Entry, everywhere = false): void {
    void this.#rewrite(entry, everywhere)
  }

  #rewrite (entry: Entry, everywhere: boolean): Promise<void> | undefined {
    const shape = this.#shapes.get(entry)
    if (shape === undefined || !this.#index.has(entry)) return undefined
    const start = formatStart(formatHead(entry), shape, entry.size) ?? formatStart(formatHead({ ...entry, fields: [], invalidated: true }), shape, entry.size)
    if (start === undefined) {
      this.delete(entry)
      return undefined
    }
    const written = this.#overwrite(entry.id, start)
    return this.#do(everywhere ? written : written.then(() => { this.#news?.changed(entry.id) }))
  }

  delete (entry: Entry, everywhere = false): void {
    if (this.#remove(entry) && !everywhere) this.#news?.gone(entry.id)
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
    // One that was just pushed out is no failure, nor is one that another process removed.
    if (!this.#remove(entry) || (this.common && (error as NodeJS.ErrnoException).code === 'ENOENT')) return
    this.#news?.gone(entry.id)
    this.onFailure?.(error)
  }

  entries (): Iterable<Entry> {
    return this.#index.values()
  }

  heard (purge: TimedPurge): void {
    this.#reads.heard(purge)
  }

  /** Everything asked for so far is in the files, and the others have been told. */
  async settled (): Promise<void> {
    await Promise.all(this.#pending)
    this.#news?.flush()
  }

  async close (): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.ready
    await this.settled()
    this.#news?.close()
    this.#unlock()
  }

  // What others tell.

  get ids (): Iterable<string> | undefined {
    return this.#scanned ? [...this.#byId.keys(), ...this.#reads.ids] : undefined
  }

  found (id: string): void {
    if (!this.#closed) void this.#do(this.#load(id))
  }

  changed (id: string): void {
    if (this.#reads.again(id)) return
    const entry = this.#byId.get(id)
    if (entry !== undefined && !this.#closed) void this.#do(this.#reads.read(id, this.#fileOf(id), (read) => { this.#retake(entry, read) }))
  }

  gone (id: string): void {
    this.#reads.forget(id)
    const entry = this.#byId.get(id)
    if (entry !== undefined) this.#index.remove(entry)
  }

  #fileOf (id: string): string {
    return join(this.#path, `${id}.entry`)
  }

  #add (entry: Entry, shape: Shape): void {
    this.#shapes.set(entry, shape)
    this.#byId.set(entry.id, entry)
    this.#index.add(entry)
  }

  #remove (entry: Entry): boolean {
    if (!this.#index.remove(entry)) return false
    void this.#unlink(entry.id)
    return true
  }

  #unlink (id: string): Promise<void> {
    return this.#do(unlink(this.#fileOf(id)))
  }

  #do (work: Promise<unknown>): Promise<void> {
    const tracked: Promise<void> = work.then(() => {}).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') this.onFailure?.(error) })
      .finally(() => { this.#pending.delete(tracked) })
    this.#pending.add(tracked)
    return tracked
  }

  #overwrite (id: string, start: Buffer): Promise<void> {
    const write = (): Promise<void> => this.#writeHead(id, start)
    const before = this.#heads.get(id)
    const work = (before === undefined ? write() : before.then(write, write)).finally(() => { if (this.#heads.get(id) === work) this.#heads.delete(id) })
    this.#heads.set(id, work)
    return work
  }

  async #writeHead (id: string, start: Buffer): Promise<void> {
    const file = await open(this.#fileOf(id), 'r+')
    try {
      await file.write(start, 0, start.length, 0)
    } finally {
      await file.close()
    }
  }

  async #scan (): Promise<void> {
    try {
      const there = (await readdir(this.#path)).filter((name) => name.endsWith('.entry')).map((name) => name.slice(0, -'.entry'.length))
      const known = await this.#news?.ids()
      const names = (known ?? there).values()
      await Promise.all(Array.from({ length: SCANNERS }, async () => {
        for (const id of names) if (!this.#closed) await this.#load(id).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') this.onFailure?.(error) })
      }))
      // What was found to be of no use is gone then.
      await Promise.all(this.#pending)
      if (known === undefined) return
      // Of a process that died before it told anybody, so no purge could reach it.
      for (const id of there) if (!this.#byId.has(id) && !this.#reads.has(id)) await unlink(this.#fileOf(id)).catch(() => {})
    } catch (error) {
      this.onFailure?.(error as Error)
    }
  }

  async #load (id: string): Promise<void> {
    if (!this.#byId.has(id)) await this.#reads.read(id, this.#fileOf(id), (read) => this.#take(id, read))
  }

  /** Takes one file into the index; one that is damaged, or older than what is there already, goes. */
  #take (id: string, read: Read | undefined): Promise<void> | undefined {
    // This process wrote it.
    if (this.#byId.has(id)) return undefined
    const others = read === undefined ? [] : this.#index.get(read.entry.key)
    if (read === undefined || read.entry.id !== id || read.purged || others.some((other) => replaces(other, read.entry) && isNewer(other, read.entry))) {
      return this.#unlink(id)
    }
    for (const other of others) if (replaces(read.entry, other)) this.#remove(other)
    this.#add(read.entry, read.shape)
    // Whoever purged could not write it down, if it was this process and it was still to be read.
    return read.changed ? this.#rewrite(read.entry, true) : undefined
  }

  #retake (entry: Entry, read: Read | undefined): void {
    if (read === undefined || read.purged || read.entry.responseTime < entry.responseTime || !this.#index.has(entry)) return
    // What is known here of a purge stays so: the file may have been written before it. Only a later answer of the origin makes it fresh again.
    const same = read.entry.responseTime === entry.responseTime
    const invalidated = read.entry.invalidated || (same && entry.invalidated)
    const lifetime = same ? Math.min(read.entry.lifetime, entry.lifetime) : read.entry.lifetime
    Object.assign(entry, { ...read.entry, invalidated, lifetime, body: entry.body, encoded: entry.encoded, head: undefined })
    for (const encoded of entry.encoded?.values() ?? []) encoded.head = undefined
  }
}

function isNewer (entry: Entry, than: Entry): boolean {
  return entry.responseTime === than.responseTime ? entry.id > than.id : entry.responseTime > than.responseTime
}
