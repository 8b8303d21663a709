import type { Random } from '../random.ts'

/** Strides kept per size of the set: enough that two picks seldom walk the same way, few enough to stay in the cache. */
const STRIDES = 64

const coprime = (a: number, b: number): boolean => {
  let x = a
  let y = b
  while (y > 0) [x, y] = [y, x % y]
  return x === 1
}

/**
 * Distinct random candidates for the price of one random number: a random start and a random stride without a common factor
 * with n. Balancing by such double hashing is as good as by independent draws (Mitzenmacher, "Balanced allocations and
 * double hashing", SPAA 2014). Walk: `at = start`, then `at += stride`, less `n` when it passes it.
 */
export class Walk {
  start = 0
  stride = 1
  #size = 1
  #count = 1
  readonly #strides = new Int32Array(STRIDES)

  /** For sets of `size`; the strides come from `random`. */
  resize (size: number, random: Random): void {
    if (size === this.#size) return
    this.#size = size
    this.#count = 0
    // Less than one in five numbers has no common factor with n in the worst case below 2^31, so this ends soon.
    while (this.#count < STRIDES) {
      const stride = size < 3 ? 1 : 1 + Math.floor(random() * (size - 1))
      if (coprime(stride, size)) this.#strides[this.#count++] = stride
    }
  }

  /** Draws the next walk. The whole part of the number gives the start, its fraction the stride. */
  draw (random: Random): void {
    const place = random() * this.#size
    this.start = Math.floor(place)
    this.stride = this.#strides[Math.floor((place - this.start) * this.#count)]!
  }
}
