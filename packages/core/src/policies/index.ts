import { adaptive } from './adaptive.ts'
import type { Policy } from './contract.ts'
import { first } from './first.ts'
import { hash, hashSchema } from './hash.ts'
import { ipHash } from './ip-hash.ts'
import { leastConnections } from './least-connections.ts'
import { leastTime } from './least-time.ts'
import { nearest, nearestSchema } from './nearest.ts'
import { p2c } from './p2c.ts'
import { peakEwma } from './peak-ewma.ts'
import { random } from './random.ts'
import { reportedLoad } from './reported-load.ts'
import { roundRobin } from './round-robin.ts'
import { weightedRoundRobin } from './weighted-round-robin.ts'

/** The default first; a new policy is one new file and one line here. */
const builtIn = {
  adaptive: adaptive as Policy,
  'round-robin': roundRobin as Policy,
  'weighted-round-robin': weightedRoundRobin as Policy,
  random: random as Policy,
  'least-connections': leastConnections as Policy,
  p2c: p2c as Policy,
  'least-time': leastTime as Policy,
  'peak-ewma': peakEwma as Policy,
  hash: hash() as Policy,
  'ip-hash': ipHash() as Policy,
  first: first as Policy,
  nearest: nearest() as Policy,
  'reported-load': reportedLoad as Policy
}

/** Names of the built-in policies. */
export type PolicyName = keyof typeof builtIn

/** The built-in policies by name. */
export const policies: Readonly<Record<PolicyName, Policy>> = Object.freeze(builtIn)

/** A built-in policy that takes options: how it is made, and their JSON Schema. */
export interface Configurable {
  readonly make: (options: never) => Policy
  readonly properties: Readonly<Record<string, object>>
}

/** What the `policyOptions` of a pool are for. */
export const configurable: Readonly<Partial<Record<PolicyName, Configurable>>> = Object.freeze({
  hash: { make: hash, properties: hashSchema },
  'ip-hash': { make: ipHash, properties: hashSchema },
  nearest: { make: nearest, properties: nearestSchema }
})

export { adaptive, first, leastConnections, leastTime, p2c, peakEwma, random, reportedLoad, roundRobin, weightedRoundRobin }
export { hash, type HashOptions } from './hash.ts'
export { hashAddress, ipHash } from './ip-hash.ts'
export { nearest, type NearestOptions } from './nearest.ts'
