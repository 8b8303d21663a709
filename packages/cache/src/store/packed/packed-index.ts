import type { Entry } from '../../entry.ts'
import { evictions, type EvictionName, MAX_VARIANTS } from '../bounded.ts'
import { Integers } from '../columns.ts'
import type { Concern, MaybePromise } from '../contract.ts'
import type { Eviction } from '../eviction.ts'
import { hashOf, type KeyHash } from '../key-hash.ts'
import { Slots } from '../slots.ts'
import { apart, type Bodies, Codec } from './codec.ts'
import { Hot, HotSet } from './hot-set.ts'
import { Segments } from './segments.ts'
import { Shelf } from './shelf.ts'
import { SlotTable, TABLE_FIELDS } from './slot-table.ts'
import { Sweep } from './sweep.ts'
import { Texts } from './texts.ts'

export interface PackedBounds {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly eviction: EvictionName
  /** Entries that are objects at most. */
  readonly maxHot?: number
  readonly hash?: KeyHash
}

/** Bytes that an entry takes as an object, beyond its record. */
const OBJECT = 1200
const MAX_HOT = 8192
/** Keys that are packed at most with one that comes. */
const PACE = 4
/** The share of the bytes that objects may take. */
const HOT_SHARE = 16
/** Bytes of a slot in all tables. */
const SLOT = 68
/** Bodies of an entry that together are no longer are copied into its record; for longer ones the copy costs more than two objects do. */
const INLINE = 4096
/** What a body of its own takes beside its bytes. */
const BESIDE = 320
/** Bytes of a segment: of the bound, within limits. */
const SEGMENT_SHARE = 64
const [SMALLEST, LARGEST] = [16_384, 1_048_576]
/** Slots that a sweep looks at in one turn of the event loop; one that is concerned counts as four. */
const STRIDE = 4096
/** So few packed entries are swept at once. */
const FEW = 1024

const NOTHING: readonly Entry[] = []
/** Numbers of each slot: those of the table and of the segments come behind. */
const [STATE, HOT, ASIDE, SERIAL, TABLE, PLACE] = [0, 1, 2, 3, 4, 4 + TABLE_FIELDS]
const [FREE, USED, LISTED] = [0, 1, 2]

function segmentSize (maxBytes: number): number {
  let size = SMALLEST
  while (size < LARGEST && size * 2 <= maxBytes / SEGMENT_SHARE) size *= 2
  return size
}

function bodyBytes ({ body, encoded }: Entry): number {
  let bytes = body?.length ?? 0
  if (encoded !== undefined) for (const one of encoded.values()) bytes += one.body.length
  return bytes
}

/**
 * The index of a store in memory, under a bound of bytes and of entries. Entries that are in use are objects; the others are records in segments outside of
 * V8's heap, found by hashes in plain memory, so that a million of them is nothing for the collector to trace. A key's entries are all objects or all packed.
 * An entry that is an object may have a record too, as long as it has not changed.
 */
export class PackedIndex {
  readonly #bounds: PackedBounds
  readonly #maxHot: number
  readonly #removed: (entry: Entry) => void
  readonly #hash: KeyHash
  readonly #eviction: Eviction
  readonly #slots: Slots = new Slots()
  /** Of each slot: what it is, the number of its {@link Hot}, that of bodies kept beside its record, and when it came among the others. */
  readonly #columns: Integers = new Integers(PLACE + 1)
  readonly #byKey: SlotTable = new SlotTable(this.#columns, TABLE)
  /** Entries whose key is more than their URL, by that. */
  readonly #byUrl: SlotTable = new SlotTable()
  readonly #segments: Segments
  readonly #codec: Codec = new Codec(new Texts())
  readonly #hots: HotSet = new HotSet()
  readonly #hotNumbers: Shelf<Hot> = new Shelf()
  /** The last one whose entries were asked for: mostly it is what is asked about next. */
  #last: Hot | undefined
  readonly #beside: Shelf<Bodies> = new Shelf()
  readonly #guards: Set<(entry: Entry) => boolean> = new Set()
  readonly #sweeps: Set<Sweep> = new Set()
  readonly #stays: (hot: Hot) => boolean = (hot) => this.#isFixed(hot)
  #bytes = 0
  #serial = 0
  /** Entries that are objects. */
  #objects = 0

  /** `removed` is told of those that went for want of room. */
  constructor (bounds: PackedBounds, removed: (entry: Entry) => void) {
    this.#bounds = bounds
    this.#removed = removed
    this.#hash = bounds.hash ?? hashOf
    this.#eviction = new evictions[bounds.eviction]()
    this.#maxHot = Math.max(1, Math.min(bounds.maxHot ?? MAX_HOT, Math.floor(bounds.maxBytes / HOT_SHARE / OBJECT)))
    this.#segments = new Segments(segmentSize(bounds.maxBytes), this.#columns, PLACE)
  }

  get bytes (): number { return this.#bytes + this.#objects * OBJECT }
  get size (): number { return this.#slots.used }
  /** Entries that are no objects. */
  get packed (): number { return this.#slots.used - this.#objects }
  /** Bytes of segments. */
  get segmentBytes (): number { return this.#segments.taken }

  /** `inUse` says that somebody holds an entry, which then stays the object that it is. Returns how to take that back. */
  guard (inUse: (entry: Entry) => boolean): () => void {
    this.#guards.add(inUse)
    return () => { this.#guards.delete(inUse) }
  }

  get (key: string): readonly Entry[] {
    const slot = this.#find(key)
    if (slot === -1) return NOTHING
    const hot = this.#last = this.#hotAt(slot) ?? this.#unpack(key, slot)
    const { entries } = hot
    return entries
  }

  /** All responses of a URL, whatever else their keys hold. */
  getUrl (url: string): readonly Entry[] {
    const own = this.get(url)
    const hash = this.#hash(url)
    const keys = new Set<string>()
    for (let slot = this.#byUrl.first(hash); slot !== -1; slot = this.#byUrl.next(slot)) keys.add(this.#keyOf(slot))
    if (keys.size === 0) return own
    const all = own.slice()
    for (const key of keys) for (const entry of this.get(key)) if (entry.url === url) all.push(entry)
    return all
  }

  touch (entry: Entry): void {
    const slot = this.#slotOf(entry)
    if (slot === -1) return
    this.#eviction.touch(slot)
    const hot = this.#hotAt(slot)
    if (hot !== undefined) hot.uses++
  }

  /** False when there is no room even for this one. */
  add (entry: Entry): boolean {
    const { key, url } = entry
    const present = this.get(key)
    if (present.length >= MAX_VARIANTS) this.#remove(this.#slotOf(present[0]!), true)
    const other = this.#find(key)
    const hot = other === -1 ? undefined : this.#hotAt(other)
    const slot = this.#slots.take()
    const hash = this.#hash(key)
    this.#columns.grow(slot)
    this.#columns.set(slot, STATE, USED)
    this.#columns.set(slot, ASIDE, 0)
    this.#columns.set(slot, SERIAL, ++this.#serial)
    this.#segments.grow(slot)
    this.#byKey.insert(slot, hash)
    if (url !== key) {
      this.#columns.set(slot, STATE, LISTED)
      this.#byUrl.insert(slot, this.#hash(url))
    }
    for (const sweep of this.#sweeps) sweep.spare(slot)
    const weight = this.#estimate(entry)
    this.#eviction.insert(slot, hash, weight)
    this.#bytes += weight
    if (hot === undefined) this.#heat(new Hot(key, [entry], [slot]))
    else {
      hot.add(entry, slot)
      this.#columns.set(slot, HOT, hot.number)
      this.#objects++
    }
    this.#settle()
    return this.#slotOf(entry) !== -1
  }

  /** The entry, or what it takes, has changed. One that is not the object of now, as that was packed meanwhile, says what has become of it. */
  update (entry: Entry): void {
    const slot = this.#slotOf(entry)
    if (slot === -1) return
    const hot = this.#hotAt(slot)
    const current = this.#entryOf(slot)
    if (current !== entry) Object.assign(current, entry, { body: entry.body ?? current.body, encoded: entry.encoded ?? current.encoded, head: undefined })
    this.#erase(slot)
    if (hot !== undefined) this.#weigh(slot, this.#estimate(current))
    // It has grown too long to be packed, and nobody uses it.
    else if (!this.#write(slot, current)) this.#remove(slot, false)
    this.#settle()
  }

  remove (entry: Entry): boolean {
    const slot = this.#slotOf(entry)
    if (slot === -1) return false
    this.#remove(slot, false)
    return true
  }

  /** Those that are packed are given as copies. */
  * values (): IterableIterator<Entry> {
    for (let slot = 0; slot < this.#slots.end; slot++) {
      if (this.#columns.get(slot, STATE) === FREE) continue
      if (this.#sweeps.size > 0 && this.#columns.get(slot, HOT) === 0) this.get(this.#keyOf(slot))
      if (this.#columns.get(slot, STATE) !== FREE) yield this.#entryOf(slot)
    }
  }

  /**
   * Calls `apply` with all entries of now that the concern is about, with each before anybody is given it again. Gives how many there were: at once,
   * unless there are many to be looked at, which is done bit by bit.
   */
  sweep (concern: Concern, apply: (entry: Entry) => void): MaybePromise<number> {
    const sweep = new Sweep(concern, apply)
    for (const hot of this.#hotNumbers.values()) this.#show(hot, sweep)
    if (this.packed <= FEW) {
      this.#step(sweep, Number.POSITIVE_INFINITY)
      return sweep.count
    }
    this.#sweeps.add(sweep)
    return new Promise((resolve) => {
      sweep.ended = () => {
        this.#sweeps.delete(sweep)
        resolve(sweep.count)
      }
      const go = (): void => {
        if (!this.#sweeps.has(sweep)) return
        this.#step(sweep, STRIDE)
        if (sweep.at < this.#slots.end) setImmediate(go)
        else sweep.ended!()
      }
      setImmediate(go)
    })
  }

  clear (): void {
    for (let slot = 0; slot < this.#slots.end; slot++) if (this.#columns.get(slot, STATE) !== FREE) this.#remove(slot, false)
    for (const sweep of this.#sweeps) sweep.ended!()
  }

  /** The keys' entries that a slot's is one of, when they are objects. */
  #hotAt (slot: number): Hot | undefined {
    return this.#hotNumbers.get(this.#columns.get(slot, HOT))
  }

  /** A slot of this key; −1 when there is none. */
  #find (key: string): number {
    if (this.size === 0) return -1
    let slot = this.#byKey.first(this.#hash(key))
    while (slot !== -1 && !this.#isOf(slot, key)) slot = this.#byKey.next(slot)
    return slot
  }

  #isOf (slot: number, key: string): boolean {
    const hot = this.#hotAt(slot)
    if (hot !== undefined) return hot.key === key
    const { bytes, start } = this.#segments.find(slot)
    return this.#codec.isKey(bytes, start, key)
  }

  #slotOf (entry: Entry): number {
    const last = this.#last
    if (last?.entries[0] === entry && this.#hotNumbers.get(last.number) === last) return last.slot(0)
    const first = this.#find(entry.key)
    const hot = first === -1 ? undefined : this.#hotAt(first)
    if (hot !== undefined) return hot.slotOf(entry)
    for (let slot = first; slot !== -1; slot = this.#byKey.next(slot)) {
      if (this.#hotAt(slot) !== undefined) continue
      const { bytes, start } = this.#segments.find(slot)
      if (this.#codec.isEntry(bytes, start, entry)) return slot
    }
    return -1
  }

  #keyOf (slot: number): string {
    const hot = this.#hotAt(slot)
    if (hot !== undefined) return hot.key
    const { bytes, start } = this.#segments.find(slot)
    return this.#codec.key(bytes, start)
  }

  #entryOf (slot: number): Entry {
    const hot = this.#hotAt(slot)
    return hot === undefined ? this.#read(slot) : hot.entry(slot)
  }

  #read (slot: number, key?: string): Entry {
    const { bytes, start } = this.#segments.find(slot)
    return this.#codec.read(bytes, start, this.#beside.get(this.#columns.get(slot, ASIDE)), key)
  }

  /** Makes objects of a key's entries, the first of which this slot has. */
  #unpack (key: string, first: number): Hot {
    const slots = [first]
    for (let slot = this.#byKey.next(first); slot !== -1; slot = this.#byKey.next(slot)) if (this.#isOf(slot, key)) slots.push(slot)
    // The oldest first, as they came.
    if (slots.length > 1) slots.sort((a, b) => this.#columns.get(a, SERIAL) - this.#columns.get(b, SERIAL) | 0)
    const hot = new Hot(key, slots.map((slot) => this.#read(slot, key)), slots)
    this.#heat(hot)
    for (const sweep of this.#sweeps) this.#show(hot, sweep)
    this.#settle()
    return hot
  }

  #heat (hot: Hot): void {
    hot.number = this.#hotNumbers.put(hot)
    for (let i = 0; i < hot.entries.length; i++) this.#columns.set(hot.slot(i), HOT, hot.number)
    this.#objects += hot.entries.length
    this.#hots.add(hot)
  }

  /** Lets a sweep have what it has not had yet. */
  #show (hot: Hot, sweep: Sweep): void {
    const list = hot.entries.map((entry, i) => ({ entry, slot: hot.slot(i) }))
    for (const { entry, slot } of list) {
      if (slot < sweep.at || sweep.isDone(slot)) continue
      sweep.spare(slot)
      sweep.visit(entry)
    }
  }

  #step (sweep: Sweep, stride: number): void {
    let left = stride
    while (left > 0 && sweep.at < this.#slots.end) {
      left--
      const slot = sweep.at++
      if (this.#columns.get(slot, STATE) === FREE || this.#columns.get(slot, HOT) !== 0 || sweep.isDone(slot)) continue
      if (this.#mayConcern(sweep, slot) && sweep.visit(this.#read(slot))) left -= 3
    }
  }

  /** Most of a million need not be unpacked to know. */
  #mayConcern ({ prefixes }: Sweep, slot: number): boolean {
    if (prefixes === undefined) return true
    const { bytes, start } = this.#segments.find(slot)
    return this.#codec.mayBegin(bytes, start, prefixes)
  }

  /** Packs what is too much as objects, and lets go of what is too much at all. */
  #settle (): void {
    for (let i = 0; i < PACE && (this.#objects > this.#maxHot || (this.packed > 0 && this.#hots.isCrowded)); i++) {
      const hot = this.#hots.coldest(this.#stays, keepApart)
      if (hot === undefined) break
      this.#pack(hot)
    }
    while (this.bytes > this.#bounds.maxBytes || this.size > this.#bounds.maxEntries) {
      const slot = this.#eviction.evict()
      if (slot === -1) break
      this.#forget(slot, true)
    }
  }

  #isFixed ({ entries }: Hot): boolean {
    for (const entry of entries) {
      for (const inUse of this.#guards) if (inUse(entry)) return true
      if (this.#codec.longest(entry, bodyBytes(entry) <= INLINE) > this.#segments.longest) return true
    }
    return false
  }

  #pack (hot: Hot): void {
    const { length } = hot.entries
    for (let i = 0; i < length; i++) if (!this.#segments.has(hot.slot(i)) && !this.#write(hot.slot(i), hot.entries[i]!)) return
    this.#cool(hot)
    for (let i = 0; i < length; i++) this.#columns.set(hot.slot(i), HOT, 0)
    this.#objects -= length
  }

  #cool (hot: Hot): void {
    this.#hots.remove(hot)
    this.#hotNumbers.take(hot.number)
  }

  /** Writes the record of a slot that has none. */
  #write (slot: number, entry: Entry): boolean {
    const inline = bodyBytes(entry) <= INLINE
    const longest = this.#codec.longest(entry, inline)
    if (longest > this.#segments.longest) return false
    if (!this.#segments.add(slot, longest, (bytes, start) => this.#codec.write(entry, inline, bytes, start))) return false
    if (!inline) this.#columns.set(slot, ASIDE, this.#beside.put({ body: entry.body, encoded: entry.encoded }))
    const { start, end } = this.#segments.find(slot)
    this.#weigh(slot, this.#weight(end - start, inline ? 0 : bodyBytes(entry)))
    return true
  }

  #erase (slot: number): void {
    if (!this.#segments.has(slot)) return
    const { bytes, start } = this.#segments.find(slot)
    this.#codec.release(bytes, start)
    this.#segments.remove(slot)
    const aside = this.#columns.get(slot, ASIDE)
    if (aside === 0) return
    this.#beside.take(aside)
    this.#columns.set(slot, ASIDE, 0)
  }

  /** Bytes of an entry with a record so long: segments are let become empty to an eighth. */
  #weight (length: number, beside: number): number {
    return SLOT + Math.ceil(Segments.room(length) * 9 / 8) + (beside === 0 ? 0 : beside + BESIDE)
  }

  /** What it will weigh, about: before it is written nobody knows which of its texts are known. */
  #estimate (entry: Entry): number {
    const bodies = bodyBytes(entry)
    let length = 128 + entry.key.length
    for (const text of entry.fields) length += text.length
    return bodies <= INLINE ? this.#weight(length + bodies, 0) : this.#weight(length, bodies)
  }

  #weigh (slot: number, weight: number): void {
    this.#bytes += weight - this.#eviction.cost(slot)
    this.#eviction.resize(slot, weight)
  }

  #remove (slot: number, evicted: boolean): void {
    this.#eviction.remove(slot)
    this.#forget(slot, evicted)
  }

  /** Lets go of a slot that the eviction knows no more. */
  #forget (slot: number, evicted: boolean): void {
    const gone = evicted ? this.#entryOf(slot) : undefined
    const hot = this.#hotAt(slot)
    if (hot !== undefined) {
      this.#columns.set(slot, HOT, 0)
      this.#objects--
      hot.remove(slot)
      if (hot.entries.length === 0) this.#cool(hot)
    }
    this.#bytes -= this.#eviction.cost(slot)
    this.#erase(slot)
    this.#byKey.remove(slot)
    if (this.#columns.get(slot, STATE) === LISTED) this.#byUrl.remove(slot)
    this.#columns.set(slot, STATE, FREE)
    this.#slots.give(slot)
    if (this.size === 0) {
      this.#segments.clear()
      this.#columns.cut(0)
    }
    if (gone !== undefined) this.#removed(gone)
  }
}

function keepApart ({ entries }: Hot): void {
  for (const entry of entries) if (entry.body !== undefined) entry.body = apart(entry.body)
}
