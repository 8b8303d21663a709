/** As a rule one, at times thousands: a Set that is made for the second, since one for each flight costs more than all else that is done with it. */
export class Few<T extends object> {
  #one: T | undefined
  /** All of them, from the second on. */
  #all: Set<T> | undefined

  get size (): number { return this.#all?.size ?? (this.#one === undefined ? 0 : 1) }

  add (one: T): void {
    if (this.#all !== undefined) this.#all.add(one)
    else if (this.#one === undefined) this.#one = one
    else {
      this.#all = new Set([this.#one, one])
      this.#one = undefined
    }
  }

  /** False when it was not there. */
  delete (one: T): boolean {
    if (this.#all !== undefined) return this.#all.delete(one)
    if (this.#one !== one) return false
    this.#one = undefined
    return true
  }

  /** As they are now, in the order in which they came: a list of their own, so that they may go while it is gone through. */
  list (): readonly T[] {
    if (this.#all !== undefined) return [...this.#all]
    return this.#one === undefined ? [] : [this.#one]
  }

  /** The same, and none is left. */
  take (): readonly T[] {
    const all = this.list()
    this.#one = this.#all = undefined
    return all
  }
}
