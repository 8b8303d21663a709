/** Members after which the set is made anew, at least. */
const RENEWED = 1024

/**
 * A Set through which much passes, in order of insertion. V8 gives a Set a new table every few dozen changes, and the one that is left points to its
 * successor: once one of them has got into the old generation, each collection of the young one keeps all tables after it and what was in
 * them when they were left, until the whole heap is marked. So the set is replaced before the chain gets long.
 */
export class PassingSet<T> {
  #set: Set<T> = new Set()
  #added = 0

  get size (): number { return this.#set.size }

  add (one: T): void {
    if (++this.#added >= RENEWED && this.#added >= 4 * this.#set.size) {
      this.#added = 0
      this.#set = new Set(this.#set)
    }
    this.#set.add(one)
  }

  /** False when it was not there. */
  delete (one: T): boolean {
    return this.#set.delete(one)
  }

  /** The one that has been there for longest. */
  first (): T | undefined {
    for (const one of this.#set) return one
    return undefined
  }

  /** As they are now: they may go while the list is gone through. */
  list (): readonly T[] {
    return [...this.#set]
  }
}
