/** Texts that have a number at one time. */
const MOST = 16_384
/** Longer ones are rarely the same twice. */
const LONGEST = 256
/** Texts of one generation that were seen once. */
const SEEN = 4096

/** Numbers for texts that many records hold: field names, and what responses repeat. A text has one as long as somebody counts on it. */
export class Texts {
  readonly #numbers: Map<string, number> = new Map()
  readonly #texts: (string | undefined)[] = []
  readonly #counts: number[] = []
  readonly #free: number[] = []
  #young: Set<string> = new Set()
  #old: Set<string> = new Set()

  /** Counts the text once more and gives its number; −1 for one that is to be written out, as it is long or comes for the first time. */
  use (text: string): number {
    const known = this.#numbers.get(text)
    if (known !== undefined) {
      this.#counts[known]!++
      return known
    }
    if (text.length > LONGEST || !this.#again(text)) return -1
    const number = this.#free.pop() ?? this.#texts.length
    if (number === MOST) return -1
    this.#texts[number] = text
    this.#counts[number] = 1
    this.#numbers.set(text, number)
    return number
  }

  get (number: number): string {
    return this.#texts[number]!
  }

  /** One less counts on it. */
  release (number: number): void {
    if (--this.#counts[number]! > 0) return
    this.#numbers.delete(this.#texts[number]!)
    this.#texts[number] = undefined
    this.#free.push(number)
  }

  get size (): number { return this.#numbers.size }

  /** Was it seen lately? */
  #again (text: string): boolean {
    if (this.#young.has(text) || this.#old.has(text)) return true
    if (this.#young.size >= SEEN) {
      this.#old = this.#young
      this.#young = new Set()
    }
    this.#young.add(text)
    return false
  }
}
