/**
 * A binary heap of slots with the lowest (`key`, then `tie`) on top, which knows where each slot is: a changed key is moved
 * in O(log n). The keys are public arrays indexed by slot: write them, then call `update`.
 */
export class SlotHeap {
  key: Float64Array<ArrayBuffer> = new Float64Array(0)
  tie: Float64Array<ArrayBuffer> = new Float64Array(0)
  #heap: Int32Array<ArrayBuffer> = new Int32Array(0)
  /** Position in the heap plus one; 0: not in it. */
  #where: Int32Array<ArrayBuffer> = new Int32Array(0)
  #size = 0

  /** The slot with the lowest keys. Only for a heap that is not empty. */
  get top (): number { return this.#heap[0]! }

  has (slot: number): boolean { return (this.#where[slot] ?? 0) > 0 }

  /** Makes room for slots up to `slot`; keys of those known are kept. */
  reach (slot: number): void {
    if (slot < this.#where.length) return
    const length = Math.max(16, slot + 1, this.#where.length * 2)
    const key = new Float64Array(length)
    const tie = new Float64Array(length)
    const where = new Int32Array(length)
    const heap = new Int32Array(length)
    key.set(this.key)
    tie.set(this.tie)
    where.set(this.#where)
    heap.set(this.#heap)
    this.key = key
    this.tie = tie
    this.#where = where
    this.#heap = heap
  }

  /** Replaces the content, in O(n). Room and keys must be there. */
  fill (members: readonly { readonly slot: number }[]): void {
    for (let k = 0; k < this.#size; k++) this.#where[this.#heap[k]!] = 0
    this.#size = members.length
    for (let k = 0; k < members.length; k++) {
      const slot = members[k]!.slot
      this.#heap[k] = slot
      this.#where[slot] = k + 1
    }
    for (let k = (members.length >> 1) - 1; k >= 0; k--) this.#down(k)
  }

  /** Call after the keys of `slot` changed. Does nothing for a slot that is not in the heap. */
  update (slot: number): void {
    const at = (this.#where[slot] ?? 0) - 1
    if (at >= 0 && !this.#up(at)) this.#down(at)
  }

  #before (a: number, b: number): boolean {
    const x = this.key[a]!
    const y = this.key[b]!
    return x < y || (x === y && this.tie[a]! < this.tie[b]!)
  }

  #up (from: number): boolean {
    const heap = this.#heap
    const slot = heap[from]!
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      const other = heap[parent]!
      if (!this.#before(slot, other)) break
      heap[at] = other
      this.#where[other] = at + 1
      at = parent
    }
    heap[at] = slot
    this.#where[slot] = at + 1
    return at !== from
  }

  #down (from: number): void {
    const heap = this.#heap
    const size = this.#size
    const slot = heap[from]!
    let at = from
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && this.#before(heap[child + 1]!, heap[child]!)) child++
      const other = heap[child]!
      if (!this.#before(other, slot)) break
      heap[at] = other
      this.#where[other] = at + 1
      at = child
    }
    heap[at] = slot
    this.#where[slot] = at + 1
  }
}
