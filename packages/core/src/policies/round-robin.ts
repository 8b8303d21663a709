import type { Environment } from '../clock.ts'
import type { Candidate, Policy } from './contract.ts'
import { EarliestDeadline } from './weighted-round-robin.ts'

/**
 * In turn. Weights hold here as for every policy (slow start depends on it), so this is `weighted-round-robin` under the name
 * that people look for; with equal weights its sequence is the configured order, over and over.
 */
export const roundRobin: Policy = {
  name: 'round-robin',
  describe: 'Each in turn, in the order of configuration; weights give more turns.',
  create: <T extends Candidate> (environment: Environment) => new EarliestDeadline<T>(environment)
}
