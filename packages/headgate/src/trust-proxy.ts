import { Networks, refuse } from '@headgate/core'

/** Networks that have names, as Fastify's `trustProxy` has them. */
const NAMED = new Set(['loopback', 'linklocal', 'uniquelocal'])

/**
 * What Fastify's `trustProxy` gets. Not everybody can be trusted: then each client could say who it is. Throws
 * `HG_INVALID_OPTION` for what is no address, network or name of networks.
 */
export function trusted (value: string | readonly string[]): string[] {
  const entries = typeof value === 'string' ? value.split(',').map((entry) => entry.trim()) : [...value]
  const networks = new Networks()
  for (const [index, entry] of entries.entries()) {
    if (NAMED.has(entry) || networks.add(entry)) continue
    refuse(typeof value === 'string' ? 'options.trustProxy' : `options.trustProxy[${index}]`, `must be addresses, networks such as 10.0.0.0/8, or ${[...NAMED].join(', ')}`, entry)
  }
  return entries
}
