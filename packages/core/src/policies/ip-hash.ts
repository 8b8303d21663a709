import type { Environment } from '../clock.ts'
import { hash32, mix32 } from '../hash.ts'
import type { Candidate, Policy } from './contract.ts'
import { boundOf, HashSelector, type HashOptions } from './hash.ts'

/**
 * Hash of a client's address: IPv4 whole, IPv4 in IPv6 (`::ffff:1.2.3.4`) as IPv4, IPv6 by its first 64 bits, since a client
 * may change the others as it likes. The same for every way of writing an address; allocates only for IPv4 in IPv6.
 */
export function hashAddress (address: string): number {
  if (!address.includes(':')) return hash32(address)
  if (address.includes('.')) return hash32(address.slice(address.lastIndexOf(':') + 1))
  let hash = 0
  let groups = 0
  let group = 0
  for (let i = 0; i < address.length && groups < 4; i++) {
    const unit = address.charCodeAt(i)
    if (unit !== 58) {
      group = group << 4 | ((unit & 15) + (unit > 57 ? 9 : 0))
      continue
    }
    hash = mix32(hash ^ group) + groups
    groups++
    group = 0
    if (address.charCodeAt(i + 1) !== 58) continue
    // '::' stands for as many zero groups as are missing; what follows it may reach into the first four.
    let after = i + 2 < address.length ? 1 : 0
    for (let j = i + 2; j < address.length; j++) if (address.charCodeAt(j) === 58) after++
    const zeros = 8 - groups - after
    for (let z = 0; z < zeros && groups < 4; z++) hash = mix32(hash) + groups++
    i++
  }
  return hash >>> 0
}

/** Consistent hashing on the client's address. */
export function ipHash (options: HashOptions = {}): Policy {
  const bound = boundOf(options)
  return {
    name: 'ip-hash',
    describe: "Consistent hashing of the client's address (IPv6: its /64), with bounded load.",
    create: <T extends Candidate> ({ clock }: Environment) =>
      new HashSelector<T>(clock, bound, (context) => hashAddress(context.clientAddress))
  }
}
