import type { Readable, Writable } from 'node:stream'
import type { Entry } from '../entry.ts'
import { RecentMap } from '../recent-map.ts'
import { MAX_VARIANTS } from './bounded.ts'
import type { CacheStore, EntryWriter, MaybePromise, StoreStats } from './contract.ts'
import { formatHead, revived } from './entry-file.ts'

interface UndiciKey { readonly origin: string; readonly method: string; readonly path: string }

interface UndiciValue {
  readonly statusCode: number
  readonly statusMessage: string
  readonly headers: Record<string, string | string[]>
  readonly cachedAt: number
  readonly staleAt: number
  readonly deleteAt: number
}

type UndiciBody = Readable | Iterable<Buffer | string> | AsyncIterable<Buffer | string> | Buffer | string | undefined

/** What undici's cache interceptor takes as `store`: its `MemoryCacheStore`, its `SqliteCacheStore`, and those of others. */
export interface UndiciCacheStore {
  get (key: UndiciKey): MaybePromise<{ readonly body?: UndiciBody } | undefined>
  createWriteStream (key: UndiciKey, value: UndiciValue): Writable | undefined
  delete (key: UndiciKey): MaybePromise<void>
}

/** Such stores drop what is old by themselves; how old a response may be is our business. */
const KEPT = 365 * 86_400_000
/** URLs of which the parsed list is kept, and which purges by prefix or tag can find. */
const MAX_URLS = 20_000
const NOTHING: readonly Entry[] = []

interface Known { readonly text: string; readonly entries: readonly Entry[] }

const keyOf = (path: string): UndiciKey => ({ origin: 'headgate:', method: 'GET', path })
const bodyPath = (entry: Entry): string => `${entry.url} ${entry.id}`

function whole (body: UndiciBody): MaybePromise<Buffer> {
  if (body === undefined) return Buffer.alloc(0)
  if (typeof body === 'string' || Buffer.isBuffer(body)) return Buffer.from(body)
  if (Array.isArray(body)) return Buffer.concat((body as (Buffer | string)[]).map((piece) => Buffer.from(piece as string)))
  return (async () => {
    const pieces: Buffer[] = []
    for await (const piece of body) pieces.push(Buffer.from(piece as string))
    return Buffer.concat(pieces)
  })()
}

/**
 * Keeps responses in a store made for undici's cache interceptor: for each URL a record of what is stored, and the bodies beside it. Such a
 * store can neither list nor count what it has, so purges by prefix, tag and group, and the counts, reach what this process has seen.
 */
export class UndiciStore implements CacheStore {
  readonly #store: UndiciCacheStore
  readonly #known: RecentMap<Known> = new RecentMap(MAX_URLS)
  /** Records that are being written: what is to be found from now on, and the writes, one after the other. */
  readonly #unwritten: Map<string, readonly Entry[]> = new Map()
  readonly #writes: Map<string, Promise<boolean>> = new Map()
  /** Never called: such a store does not tell. */
  onEvict: ((entry: Entry) => void) | undefined
  onFailure: ((error: Error) => void) | undefined

  constructor (store: UndiciCacheStore) {
    this.#store = store
  }

  get stats (): StoreStats {
    let [entries, bytes] = [0, 0]
    for (const known of this.#known.values()) {
      entries += known.entries.length
      bytes += known.text.length
      for (const { size } of known.entries) bytes += size
    }
    return { entries, bytes }
  }

  get (key: string): MaybePromise<readonly Entry[]> {
    const at = key.indexOf(' ')
    const found = this.getUrl(at === -1 ? key : key.slice(0, at))
    const ofKey = (entries: readonly Entry[]): readonly Entry[] => entries.filter((entry) => entry.key === key)
    return found instanceof Promise ? found.then(ofKey) : ofKey(found)
  }

  getUrl (url: string): MaybePromise<readonly Entry[]> {
    const unwritten = this.#unwritten.get(url)
    if (unwritten !== undefined) return unwritten
    try {
      const found = this.#store.get(keyOf(url))
      if (!(found instanceof Promise)) return this.#list(url, found?.body)
      return found.then((value) => this.#list(url, value?.body)).catch((error: unknown) => this.#failed(error))
    } catch (error) {
      return this.#failed(error)
    }
  }

  touch (): void {}

  create (entry: Entry): EntryWriter | undefined {
    const stream = this.#open(bodyPath(entry))
    return stream === undefined ? undefined : new UndiciWriter(stream, entry, (replaces) => this.#change(entry.url, (entries) => {
      const rest = entries.filter((other) => !replaces.some(({ id }) => id === other.id))
      const same = rest.filter(({ key }) => key === entry.key)
      const surplus = same.length >= MAX_VARIANTS ? same[0] : undefined
      for (const other of surplus === undefined ? replaces : [...replaces, surplus]) this.#drop(other)
      return [...rest.filter((other) => other !== surplus), entry]
    }))
  }

  update (entry: Entry): void {
    void this.#change(entry.url, (entries) => entries.map((other) => other.id === entry.id ? entry : other))
  }

  delete (entry: Entry): void {
    void this.#change(entry.url, (entries) => entries.filter((other) => other.id !== entry.id))
    this.#drop(entry)
  }

  async read (entry: Entry, start: number, end: number): Promise<Buffer | undefined> {
    try {
      const found = await this.#store.get(keyOf(bodyPath(entry)))
      const body = found === undefined ? undefined : await whole(found.body)
      if (body?.length === entry.size) return body.subarray(start, end + 1)
    } catch (error) {
      this.#failed(error)
    }
    this.delete(entry)
    return undefined
  }

  * entries (): Iterable<Entry> {
    for (const { entries } of this.#known.values()) yield * entries
  }

  async settled (): Promise<void> {
    await Promise.all(this.#writes.values())
  }

  async close (): Promise<void> {
    await this.settled()
  }

  #list (url: string, body: UndiciBody): MaybePromise<readonly Entry[]> {
    if (body === undefined) {
      this.#known.delete(url)
      return NOTHING
    }
    const bytes = whole(body)
    return bytes instanceof Promise ? bytes.then((all) => this.#parse(url, all.toString())) : this.#parse(url, bytes.toString())
  }

  #parse (url: string, text: string): readonly Entry[] {
    const before = this.#known.get(url)
    if (before?.text === text) return before.entries
    const entries = (JSON.parse(text) as Entry[]).map(revived)
    this.#known.set(url, { text, entries })
    return entries
  }

  #failed (error: unknown): readonly Entry[] {
    this.onFailure?.(error as Error)
    return NOTHING
  }

  #open (path: string): Writable | undefined {
    const now = Date.now()
    try {
      return this.#store.createWriteStream(keyOf(path), { statusCode: 200, statusMessage: '', headers: {}, cachedAt: now, staleAt: now + KEPT, deleteAt: now + KEPT })
    } catch (error) {
      this.#failed(error)
      return undefined
    }
  }

  #drop (entry: Entry): void {
    try {
      void Promise.resolve(this.#store.delete(keyOf(bodyPath(entry)))).catch((error: unknown) => { this.#failed(error) })
    } catch (error) {
      this.#failed(error)
    }
  }

  /** Changes a URL's record: for `get` at once where the store answers at once. Resolves to whether it was written. */
  #change (url: string, edit: (entries: readonly Entry[]) => readonly Entry[]): MaybePromise<boolean> {
    const found = this.getUrl(url)
    return found instanceof Promise ? found.then((entries) => this.#set(url, edit(this.#unwritten.get(url) ?? entries))) : this.#set(url, edit(found))
  }

  #set (url: string, entries: readonly Entry[]): Promise<boolean> {
    this.#unwritten.set(url, entries)
    if (entries.length === 0) this.#known.delete(url)
    else this.#known.set(url, { text: '', entries })
    const work = (this.#writes.get(url) ?? Promise.resolve(true)).then(async () => {
      // A later change has it all.
      if (this.#unwritten.get(url) !== entries) return true
      const written = await this.#write(url, entries)
      if (this.#unwritten.get(url) === entries) {
        this.#unwritten.delete(url)
        this.#writes.delete(url)
      }
      return written
    })
    this.#writes.set(url, work)
    return work
  }

  async #write (url: string, entries: readonly Entry[]): Promise<boolean> {
    try {
      if (entries.length === 0) {
        await this.#store.delete(keyOf(url))
        return true
      }
      const text = `[${entries.map((entry) => formatHead(entry).toString()).join(',')}]`
      const stream = this.#open(url)
      if (stream === undefined || !await ended(stream, Buffer.from(text))) return false
      this.#known.set(url, { text, entries })
      return true
    } catch (error) {
      this.#failed(error)
      return false
    }
  }
}

/** Ends a stream; resolves to whether all was taken. */
function ended (stream: Writable, last?: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    stream.once('finish', () => { resolve(true) }).once('error', () => { resolve(false) }).once('close', () => { resolve(false) })
    if (last === undefined) stream.end()
    else stream.end(last)
  })
}

class UndiciWriter implements EntryWriter {
  readonly #stream: Writable
  readonly #entry: Entry
  readonly #record: (replaces: readonly Entry[]) => MaybePromise<boolean>
  #size = 0
  onDrain: (() => void) | undefined

  constructor (stream: Writable, entry: Entry, record: (replaces: readonly Entry[]) => MaybePromise<boolean>) {
    this.#stream = stream
    this.#entry = entry
    this.#record = record
    stream.on('drain', () => { this.onDrain?.() }).on('close', () => { this.onDrain?.() }).on('error', () => {})
  }

  get alive (): boolean { return !this.#stream.destroyed }

  write (chunk: Buffer): boolean {
    if (this.#stream.destroyed) return true
    this.#size += chunk.length
    return this.#stream.write(chunk) || this.#stream.destroyed
  }

  async commit (replaces: readonly Entry[]): Promise<boolean> {
    if (this.#stream.destroyed || !await ended(this.#stream)) return false
    this.#entry.size = this.#size
    return this.#record(replaces)
  }

  abort (): void {
    this.#stream.destroy()
  }
}
