import type { FastifyRequest } from 'fastify'
import ipaddr from 'ipaddr.js'
import type { Binding, KindContext } from '../contract.ts'
import { keyed, type KeyedOptions } from './keyed.ts'

export interface SourceIpOptions extends KeyedOptions {
  /** The client's address, as Fastify's `trustProxy` sees it. */
  readonly by: 'source-ip'
  /** Leading bits of an IPv4 address that make a client, 1–32. @default 32 */
  readonly ipv4Prefix?: number
  /** Leading bits of an IPv6 address that make a client, 1–128: most have a whole /64 to choose from. @default 64 */
  readonly ipv6Prefix?: number
}

/** The network of `bits` leading bits that an address is in, as text; `undefined` for what is no address (a Unix socket's peer). */
export function networkOf (address: string, ipv4Prefix: number, ipv6Prefix: number): string | undefined {
  if (!ipaddr.isValid(address)) return undefined
  // IPv4 in IPv6 is IPv4: a listener on both sees the same client in either spelling.
  const parsed = ipaddr.process(address)
  const bits = parsed.kind() === 'ipv4' ? ipv4Prefix : ipv6Prefix
  const bytes = parsed.toByteArray().slice(0, Math.ceil(bits / 8))
  if (bits % 8 !== 0) bytes[bytes.length - 1]! &= 0xff00 >> bits % 8
  return `${parsed.kind()}-${Buffer.from(bytes).toString('hex')}`
}

/** Clients by their address. */
export function sourceIp (options: SourceIpOptions, context: KindContext): Binding {
  const { ipv4Prefix = 32, ipv6Prefix = 64, memory = 'hash' } = options
  const keyOf = (request: FastifyRequest): string | undefined => networkOf(request.ip ?? '', ipv4Prefix, ipv6Prefix)
  return keyed(`source-ip:${ipv4Prefix}:${ipv6Prefix}`, keyOf, memory, options, context)
}
