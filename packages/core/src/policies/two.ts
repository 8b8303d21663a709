import type { Random } from '../random.ts'
import { AliasTable } from './alias.ts'
import type { Candidate, PickContext } from './contract.ts'

/**
 * Base of the policies that compare two candidates. Both are drawn by weight and are distinct: drawn with replacement, a
 * degraded one of three meets only itself in one pick of nine and then wins.
 */
export abstract class BestOfTwo<T extends Candidate> {
  readonly #random: Random
  readonly #table = new AliasTable()
  protected ready: readonly T[] = []

  constructor (random: Random) {
    this.#random = random
  }

  rebuild (ready: readonly T[]): void {
    this.ready = ready
    this.#table.build(ready)
  }

  select (_context: PickContext): T {
    const { ready } = this
    const first = this.#table.draw(this.#random)
    if (ready.length === 1) return ready[first]!
    let second = this.#table.draw(this.#random)
    for (let again = 0; second === first && again < 3; again++) second = this.#table.draw(this.#random)
    // One with most of the weight would be drawn again and again: then anybody else, evenly.
    if (second === first) {
      second = Math.floor(this.#random() * (ready.length - 1))
      if (second >= first) second++
    }
    const a = ready[first]!
    const b = ready[second]!
    return this.cost(b) < this.cost(a) ? b : a
  }

  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    let best: T | undefined
    let low = Infinity
    for (const candidate of this.ready) {
      const cost = this.cost(candidate)
      if (!(cost < low || best === undefined) || !usable(candidate)) continue
      best = candidate
      low = cost
    }
    return best
  }

  protected abstract cost (candidate: T): number
}
