import type { Candidate, PickContext, Policy, Selector } from './contract.ts'

class First<T extends Candidate> implements Selector<T> {
  #ready: readonly T[] = []
  rebuild (ready: readonly T[]): void { this.#ready = ready }
  select (_context: PickContext): T { return this.#ready[0]! }
  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    for (const candidate of this.#ready) if (usable(candidate)) return candidate
    return undefined
  }
}

/** The first ready one in configured order; the next when it is full. An order leaves no meaning to weights. */
export const first: Policy = {
  name: 'first',
  describe: 'The first ready one in the order of configuration, the next when it is full; weights have no meaning here.',
  create: <T extends Candidate> () => new First<T>()
}
