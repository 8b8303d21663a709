import { adaptive } from './adaptive.ts'
import type { Policy } from './contract.ts'
import { leastConnections } from './least-connections.ts'
import { random } from './random.ts'
import { roundRobin } from './round-robin.ts'
import { weightedRoundRobin } from './weighted-round-robin.ts'

/** The default first; a new policy is one new file and one line here. */
const builtIn = {
  adaptive: adaptive as Policy,
  'round-robin': roundRobin as Policy,
  'weighted-round-robin': weightedRoundRobin as Policy,
  random: random as Policy,
  'least-connections': leastConnections as Policy
}

/** Names of the built-in policies. */
export type PolicyName = keyof typeof builtIn

/** The built-in policies by name. */
export const policies: Readonly<Record<PolicyName, Policy>> = Object.freeze(builtIn)

export { adaptive, leastConnections, random, roundRobin, weightedRoundRobin }
