/** Numbers of one page. */
const PAGE = 1024
const SHIFT = 10

/**
 * Whole numbers of 32 bits, `width` of them for each slot, 0 at first. They grow by pages: an array that doubles is copied whole, which with a million
 * slots holds everything up.
 */
export class Integers {
  readonly #width: number
  #pages: Int32Array[] = []

  constructor (width: number) {
    this.#width = width
  }

  get (slot: number, field: number): number {
    return this.#pages[slot >>> SHIFT]![(slot & PAGE - 1) * this.#width + field]!
  }

  /** The slot has been reached by {@link grow}. */
  set (slot: number, field: number, value: number): void {
    this.#pages[slot >>> SHIFT]![(slot & PAGE - 1) * this.#width + field] = value
  }

  /** Makes room for a slot, when those before it have theirs. */
  grow (slot: number): void {
    if (slot >>> SHIFT >= this.#pages.length) this.#pages.push(new Int32Array(PAGE * this.#width))
  }

  /** Gives back what slots from this one on took, as far as whole pages. */
  cut (slot: number): void {
    this.#pages.length = Math.min(this.#pages.length, slot + PAGE - 1 >>> SHIFT)
  }
}

/** One number of 64 bits for each slot, 0 at first; grows as {@link Integers} do. */
export class Floats {
  #pages: Float64Array[] = []

  get (slot: number): number {
    return this.#pages[slot >>> SHIFT]![slot & PAGE - 1]!
  }

  set (slot: number, value: number): void {
    this.#pages[slot >>> SHIFT]![slot & PAGE - 1] = value
  }

  grow (slot: number): void {
    if (slot >>> SHIFT >= this.#pages.length) this.#pages.push(new Float64Array(PAGE))
  }
}
