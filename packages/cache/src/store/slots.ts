import { Integers } from './columns.ts'

/** Gives out small numbers, and those that came back first. */
export class Slots {
  readonly #next: Integers = new Integers(1)
  /** Behind the last that came back, plus one; 0: none. */
  #free = 0
  #end = 0
  #used = 0

  /** All slots ever used are below. */
  get end (): number { return this.#end }
  get used (): number { return this.#used }

  take (): number {
    this.#used++
    if (this.#free !== 0) {
      const slot = this.#free - 1
      this.#free = this.#next.get(slot, 0)
      return slot
    }
    this.#next.grow(this.#end)
    return this.#end++
  }

  /** When the last one comes back all begin anew. */
  give (slot: number): void {
    if (--this.#used === 0) {
      this.#free = this.#end = 0
      this.#next.cut(0)
      return
    }
    this.#next.set(slot, 0, this.#free)
    this.#free = slot + 1
  }
}
