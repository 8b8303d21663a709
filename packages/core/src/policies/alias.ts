import type { Random } from '../random.ts'

/**
 * Draws indices in proportion to weights in O(1): Walker's alias method, built as by Vose in O(n). Each column of equal width
 * is split between its own index and one alias.
 */
export class AliasTable {
  #size = 0
  #alias: Int32Array<ArrayBuffer> = new Int32Array(0)
  #share: Float64Array<ArrayBuffer> = new Float64Array(0)
  #equal = true

  build (members: readonly { readonly weight: number }[]): void {
    const n = this.#size = members.length
    const first = members[0]!.weight
    this.#equal = members.every(({ weight }) => weight === first)
    if (this.#equal) return
    if (this.#alias.length < n) {
      this.#alias = new Int32Array(n * 2)
      this.#share = new Float64Array(n * 2)
    }
    let total = 0
    for (const { weight } of members) total += weight
    // One array holds both work lists: light columns grow from its start, heavy ones from its end.
    const lists = new Int32Array(n)
    let light = 0
    let heavy = n
    for (let k = 0; k < n; k++) {
      this.#alias[k] = k
      const share = this.#share[k] = members[k]!.weight * n / total
      if (share < 1) lists[light++] = k
      else lists[--heavy] = k
    }
    while (light > 0 && heavy < n) {
      const small = lists[--light]!
      const large = lists[heavy]!
      this.#alias[small] = large
      const rest = this.#share[large]! + this.#share[small]! - 1
      this.#share[large] = rest
      if (rest < 1) {
        heavy++
        lists[light++] = large
      }
    }
    // What remains is 1 but for rounding.
    while (light > 0) this.#share[lists[--light]!] = 1
    while (heavy < n) this.#share[lists[heavy++]!] = 1
  }

  draw (random: Random): number {
    const place = random() * this.#size
    const column = Math.floor(place)
    return this.#equal || place - column < this.#share[column]! ? column : this.#alias[column]!
  }
}
