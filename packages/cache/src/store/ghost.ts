/** Most hashes of one generation. */
const LONGEST = 131_072
const FIRST = 1024

/** A set of hashes other than 0, half full at most: open addresses, so that it is a plain piece of memory. */
class Hashes {
  #table: Int32Array = new Int32Array(FIRST)
  size = 0

  add (hash: number): void {
    if (this.size * 2 >= this.#table.length) this.#grow()
    const table = this.#table
    let at = hash & table.length - 1
    while (table[at] !== 0) {
      if (table[at] === hash) return
      at = at + 1 & table.length - 1
    }
    table[at] = hash
    this.size++
  }

  delete (hash: number): boolean {
    const table = this.#table
    const mask = table.length - 1
    let at = hash & mask
    while (table[at] !== hash) {
      if (table[at] === 0) return false
      at = at + 1 & mask
    }
    // What comes behind moves up, where it may: a hole would hide it.
    for (let next = at + 1 & mask; table[next] !== 0; next = next + 1 & mask) {
      if ((next - table[next]! & mask) < (next - at & mask)) continue
      table[at] = table[next]!
      at = next
    }
    table[at] = 0
    this.size--
    return true
  }

  #grow (): void {
    const before = this.#table
    this.#table = new Int32Array(before.length * 2)
    this.size = 0
    for (const hash of before) if (hash !== 0) this.add(hash)
  }
}

/** Hashes of the keys of what has gone. In two generations, of which the older is forgotten whole. */
export class Ghost {
  #young: Hashes = new Hashes()
  #old: Hashes = new Hashes()
  #cost = 0

  /** `target`: as many bytes of what has gone are to be remembered. */
  remember (hash: number, cost: number, target: number): void {
    if (this.#young.size >= LONGEST || this.#cost + cost > target / 2) {
      this.#old = this.#young
      this.#young = new Hashes()
      this.#cost = 0
    }
    this.#young.add(plain(hash))
    this.#cost += cost
  }

  /** Is it remembered? Then it is so no longer. */
  take (hash: number): boolean {
    return this.#young.delete(plain(hash)) || this.#old.delete(plain(hash))
  }
}

/** 32 bits with their sign, as the tables hold them; 0 stands for an empty place there. */
function plain (hash: number): number {
  return hash | 0 || 1
}
