import { Integers } from '../columns.ts'

/** Places are counted in units of this many bytes, so that 32 bits reach far. */
const UNIT = 8
/** Slot and length, before each record. */
const HEAD = 8
const NOWHERE = 0
/** In a slot's place, behind the last record. */
const END = -1
/** Bytes looked at by the cleaner for each byte that comes or goes: segments are let become sparse to an eighth, so the sparsest one has at least as much. */
const PACE = 8
/** Bytes that it looks at in one go. */
const LONGEST = 65_536
/** Empty segments kept for the next ones. */
const SPARE = 1

interface Segment {
  readonly bytes: Buffer
  readonly words: Int32Array
}

function made (size: number): Segment {
  const bytes = Buffer.allocUnsafeSlow(size)
  return { bytes, words: new Int32Array(bytes.buffer) }
}

/** Where a record is: in `bytes`, from `start` to `end`. Valid until the next is asked for. */
export interface Extent {
  bytes: Buffer
  start: number
  end: number
}

/**
 * Records in a log of segments outside of V8's heap, one for a slot at most. What is written is not changed; room of what has gone comes back when its
 * segment is empty, and a cleaner moves what is left in the sparsest ones to the end of the log, some records with each that comes or goes.
 */
export class Segments {
  readonly #size: number
  /** Units of a segment, as a power of two. */
  readonly #shift: number
  readonly #segments: (Segment | undefined)[] = []
  /** Bytes in use of each segment. */
  readonly #live: number[] = []
  readonly #free: number[] = []
  readonly #spare: Segment[] = []
  /** Place of each slot's record, plus one. */
  readonly #places: Integers
  /** Which of the slots' numbers that is. */
  readonly #place: number
  readonly #extent: Extent = { bytes: Buffer.alloc(0), start: 0, end: 0 }
  #current = -1
  /** Where the next record begins in the current segment. */
  #at = 0
  /** Segments in use. */
  #count = 0
  #used = 0
  /** The segment that is being cleaned, and how far. */
  #victim = -1
  #cleaned = 0

  /** `size`: bytes of a segment, a power of two. `places`: where it keeps a number of each slot, which one is `place`. */
  constructor (size: number, places: Integers = new Integers(1), place: number = 0) {
    this.#places = places
    this.#place = place
    this.#size = size
    this.#shift = 31 - Math.clz32(size / UNIT)
  }

  /** Longest record, in bytes: no more than half a segment stays empty at its end. */
  get longest (): number { return this.#size / 2 - HEAD }
  /** Bytes of records. */
  get used (): number { return this.#used }
  /** Bytes taken from the system. */
  get taken (): number { return (this.#count + this.#spare.length) * this.#size }

  /** Bytes that a record of this length takes. */
  static room (length: number): number {
    return HEAD + length + UNIT - 1 & -UNIT
  }

  /** Units of a segment. */
  get #units (): number { return 1 << this.#shift }

  has (slot: number): boolean {
    return this.#places.get(slot, this.#place) !== NOWHERE
  }

  /** Makes room for a slot. */
  grow (slot: number): void {
    this.#places.grow(slot)
    this.#places.set(slot, this.#place, NOWHERE)
  }

  /** Where the record of a slot that has one is. */
  find (slot: number): Extent {
    const place = (this.#places.get(slot, this.#place) >>> 0) - 1
    const { bytes, words } = this.#segments[place >>> this.#shift]!
    const unit = place & this.#units - 1
    const extent = this.#extent
    extent.bytes = bytes
    extent.start = unit * UNIT + HEAD
    extent.end = extent.start + words[unit * 2 + 1]!
    return extent
  }

  /**
   * Has a record of at most `longest` bytes written, by a function that gives its end. False when no more can be addressed. The slot has none before.
   */
  add (slot: number, longest: number, write: (bytes: Buffer, start: number) => number): boolean {
    if (!this.#reserve(Segments.room(longest))) return false
    const { bytes } = this.#segments[this.#current]!
    const start = this.#at + HEAD
    const length = write(bytes, start) - start
    this.#put(slot, length)
    this.#clean(Segments.room(length))
    return true
  }

  remove (slot: number): void {
    const place = (this.#places.get(slot, this.#place) >>> 0) - 1
    this.#places.set(slot, this.#place, NOWHERE)
    const index = place >>> this.#shift
    const room = Segments.room(this.#segments[index]!.words[(place & this.#units - 1) * 2 + 1]!)
    this.#leave(index, room)
    this.#clean(room)
  }

  /** Forgets everything. */
  clear (): void {
    this.#segments.length = this.#live.length = this.#free.length = this.#spare.length = 0
    this.#places.cut(0)
    this.#current = this.#victim = -1
    this.#count = this.#used = this.#at = 0
  }

  /** The record that was written at the end of the log. */
  #put (slot: number, length: number): void {
    const { words } = this.#segments[this.#current]!
    const unit = this.#at / UNIT
    words[unit * 2] = slot
    words[unit * 2 + 1] = length
    const room = Segments.room(length)
    this.#places.set(slot, this.#place, this.#current * this.#units + unit + 1 | 0)
    this.#live[this.#current]! += room
    this.#used += room
    this.#at += room
    if (this.#at < this.#size) words[this.#at / 4] = END
  }

  /** Has the current segment so much room; false when there can be no more segments. */
  #reserve (room: number): boolean {
    if (this.#current !== -1 && this.#at + room <= this.#size) return true
    const index = this.#free.pop() ?? this.#segments.length
    if ((index + 1) * this.#units > 0xffff_fffe) {
      this.#free.push(index)
      return false
    }
    const segment = this.#spare.pop() ?? made(this.#size)
    segment.words[0] = END
    this.#segments[index] = segment
    this.#live[index] = 0
    this.#count++
    const before = this.#current
    this.#current = index
    this.#at = 0
    if (before !== -1 && this.#live[before] === 0) this.#release(before)
    return true
  }

  #leave (index: number, room: number): void {
    this.#live[index]! -= room
    this.#used -= room
    if (this.#live[index] === 0 && index !== this.#current) this.#release(index)
  }

  #release (index: number): void {
    const segment = this.#segments[index]!
    this.#segments[index] = undefined
    this.#free.push(index)
    this.#count--
    if (this.#victim === index) this.#victim = -1
    if (this.#spare.length < SPARE) this.#spare.push(segment)
  }

  /** Moves what is in use out of sparse segments, as long as an eighth and more is not. */
  #clean (room: number): void {
    let left = Math.min(LONGEST, room * PACE)
    while (left > 0) {
      if (this.#victim === -1) {
        // The last segment is being filled, and a second one may be left half empty for a long record.
        if ((this.#count - 2) * this.#size * 7 / 8 <= this.#used) return
        this.#victim = this.#sparsest()
        this.#cleaned = 0
        if (this.#victim === -1) return
      }
      const { bytes, words } = this.#segments[this.#victim]!
      const unit = this.#cleaned / UNIT
      const slot = this.#cleaned < this.#size ? words[unit * 2]! : END
      if (slot === END) {
        // Nothing more is in it: what was has gone or been moved, which has released it, unless it could not be.
        this.#victim = -1
        return
      }
      const length = words[unit * 2 + 1]!
      const size = Segments.room(length)
      if ((this.#places.get(slot, this.#place) >>> 0) - 1 === this.#victim * this.#units + unit) {
        const from = this.#victim
        if (!this.#reserve(size)) return
        bytes.copy(this.#segments[this.#current]!.bytes, this.#at + HEAD, this.#cleaned + HEAD, this.#cleaned + HEAD + length)
        this.#put(slot, length)
        this.#leave(from, size)
      }
      this.#cleaned += size
      left -= size
    }
  }

  #sparsest (): number {
    let [found, least] = [-1, Number.POSITIVE_INFINITY]
    for (let i = 0; i < this.#live.length; i++) {
      if (i === this.#current || this.#segments[i] === undefined || this.#live[i]! >= least) continue
      found = i
      least = this.#live[i]!
    }
    return found
  }
}
