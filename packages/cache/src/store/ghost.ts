/** Most keys of one generation. */
const LONGEST = 50_000

/**
 * Keys of what has gone. In two generations, of which the older is forgotten whole: to take the
 * oldest out of a Map one by one has it step over the places of all that went before.
 */
export class Ghost {
  #young: Set<string> = new Set()
  #old: Set<string> = new Set()
  #cost = 0

  /** `target`: as many bytes of what has gone are to be remembered. */
  remember (key: string, cost: number, target: number): void {
    if (this.#young.size >= LONGEST || this.#cost + cost > target / 2) {
      this.#old = this.#young
      this.#young = new Set()
      this.#cost = 0
    }
    this.#young.add(key)
    this.#cost += cost
  }

  /** Is it remembered? Then it is so no longer. */
  take (key: string): boolean {
    return this.#young.delete(key) || this.#old.delete(key)
  }
}
