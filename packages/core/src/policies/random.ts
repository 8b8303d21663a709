import type { Environment } from '../clock.ts'
import type { Random } from '../random.ts'
import { AliasTable } from './alias.ts'
import type { Candidate, PickContext, Policy, Selector } from './contract.ts'

class RandomSelector<T extends Candidate> implements Selector<T> {
  readonly #random: Random
  readonly #table = new AliasTable()
  #ready: readonly T[] = []

  constructor (environment: Environment) {
    this.#random = environment.random
  }

  rebuild (ready: readonly T[]): void {
    this.#ready = ready
    this.#table.build(ready)
  }

  select (_context: PickContext): T {
    return this.#ready[this.#table.draw(this.#random)]!
  }

  /** One pass that keeps each usable one with probability weight / (weights so far): by weight among the usable. */
  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    let kept: T | undefined
    let total = 0
    for (const candidate of this.#ready) {
      if (!usable(candidate)) continue
      total += candidate.weight
      if (this.#random() * total < candidate.weight) kept = candidate
    }
    return kept
  }
}

/** Independent draws in proportion to weights. */
export const random: Policy = {
  name: 'random',
  describe: 'Independent draws in proportion to weights: no state, no order, no herds.',
  create: <T extends Candidate> (environment: Environment) => new RandomSelector<T>(environment)
}
