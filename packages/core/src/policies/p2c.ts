import type { Environment } from '../clock.ts'
import type { Candidate, Policy } from './contract.ts'
import { BestOfTwo } from './two.ts'

class TwoChoices<T extends Candidate> extends BestOfTwo<T> {
  protected cost (candidate: T): number { return candidate.load.inFlight / candidate.weight }
}

/** Power of two choices (Mitzenmacher, 1996). */
export const p2c: Policy = {
  name: 'p2c',
  describe: 'Of two drawn by weight, the one with fewer requests in flight per weight.',
  create: <T extends Candidate> (environment: Environment) => new TwoChoices<T>(environment.random)
}
