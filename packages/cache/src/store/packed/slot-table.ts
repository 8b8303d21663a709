import { Integers } from '../columns.ts'

const NONE = -1
/** Numbers that the table keeps of each slot. */
export const TABLE_FIELDS = 3
/** Buckets at least. */
const FEWEST = 1024

/**
 * Slots by hashes: chains from buckets whose number grows, and shrinks, by one at a time (linear hashing; Litwin, 1980), so that no insertion waits for
 * all to be laid out anew.
 */
export class SlotTable {
  readonly #slots: Integers
  /** Which of the slots' numbers are its own. */
  readonly #hash: number
  readonly #next: number
  readonly #previous: number
  /** First slot of each chain, plus one. */
  readonly #buckets: Integers = new Integers(1)
  #length = 0
  /** The power of two that is not above the number of buckets. */
  #round: number = FEWEST
  #size = 0

  /** `slots`: where it keeps three numbers of each slot, from number `first` on: what is used together is to lie together. */
  constructor (slots: Integers = new Integers(TABLE_FIELDS), first: number = 0) {
    this.#slots = slots
    this.#hash = first
    this.#next = first + 1
    this.#previous = first + 2
    while (this.#length < FEWEST) this.#buckets.grow(this.#length++)
  }

  get size (): number { return this.#size }

  insert (slot: number, hash: number): void {
    this.#slots.grow(slot)
    this.#slots.set(slot, this.#hash, hash)
    this.#link(slot, this.#bucket(hash))
    if (++this.#size > this.#length) this.#split()
  }

  remove (slot: number): void {
    this.#unlink(slot)
    if (--this.#size * 4 < this.#length && this.#length > FEWEST) this.#merge()
  }

  /** The first slot with this hash, or −1. */
  first (hash: number): number {
    return this.#same(this.#buckets.get(this.#bucket(hash), 0) - 1, hash)
  }

  /** The next one with the same hash, or −1. */
  next (slot: number): number {
    return this.#same(this.#slots.get(slot, this.#next), this.#slots.get(slot, this.#hash))
  }

  #same (from: number, hash: number): number {
    let slot = from
    while (slot !== NONE && this.#slots.get(slot, this.#hash) !== hash) slot = this.#slots.get(slot, this.#next)
    return slot
  }

  #bucket (hash: number): number {
    const bucket = hash & this.#round * 2 - 1
    return bucket < this.#length ? bucket : hash & this.#round - 1
  }

  #link (slot: number, bucket: number): void {
    const first = this.#buckets.get(bucket, 0) - 1
    this.#slots.set(slot, this.#next, first)
    this.#slots.set(slot, this.#previous, NONE)
    if (first !== NONE) this.#slots.set(first, this.#previous, slot)
    this.#buckets.set(bucket, 0, slot + 1)
  }

  #unlink (slot: number): void {
    const [next, previous] = [this.#slots.get(slot, this.#next), this.#slots.get(slot, this.#previous)]
    if (next !== NONE) this.#slots.set(next, this.#previous, previous)
    if (previous !== NONE) this.#slots.set(previous, this.#next, next)
    else this.#buckets.set(this.#bucket(this.#slots.get(slot, this.#hash)), 0, next + 1)
  }

  /** One bucket more, with what belongs there of the one that it is split from. */
  #split (): void {
    const bucket = this.#length
    this.#buckets.grow(bucket)
    this.#buckets.set(bucket, 0, 0)
    let slot = this.#buckets.get(bucket - this.#round, 0) - 1
    while (slot !== NONE) {
      const next = this.#slots.get(slot, this.#next)
      if ((this.#slots.get(slot, this.#hash) & this.#round * 2 - 1) === bucket) {
        this.#unlink(slot)
        this.#link(slot, bucket)
      }
      slot = next
    }
    if (++this.#length === this.#round * 2) this.#round *= 2
  }

  #merge (): void {
    if (this.#length === this.#round) this.#round /= 2
    const bucket = this.#length - 1
    let slot = this.#buckets.get(bucket, 0) - 1
    while (slot !== NONE) {
      const next = this.#slots.get(slot, this.#next)
      this.#unlink(slot)
      this.#link(slot, bucket - this.#round)
      slot = next
    }
    this.#length--
    this.#buckets.cut(this.#length)
  }
}
