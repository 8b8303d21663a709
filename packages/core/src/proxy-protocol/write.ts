import { isIPv4 } from 'node:net'
import { addressBytes, plainAddress } from './addresses.ts'
import { type ProxyEndpoint, type ProxyTlv, tlvTypes } from './contract.ts'
import { crc32c } from './crc32c.ts'
import { FIXED, SIGNATURE } from './parse-v2.ts'

/** The ends of a connection that a header is to tell of; `undefined` when they are not known or no IP addresses. */
export type ProxyEnds = { readonly source: ProxyEndpoint; readonly destination: ProxyEndpoint } | undefined

/** A v1 line: `PROXY TCP4 …`, or `PROXY UNKNOWN` without ends. */
export function writeProxyV1 (ends: ProxyEnds): Buffer {
  const same = ends === undefined ? undefined : ofOneFamily(ends)
  if (same === undefined) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
  const { source, destination } = same
  return Buffer.from(`PROXY ${isIPv4(source.address) ? 'TCP4' : 'TCP6'} ${source.address} ${destination.address} ${source.port} ${destination.port}\r\n`, 'latin1')
}

export interface ProxyV2Options {
  readonly tlvs?: readonly ProxyTlv[]
  /** Add a CRC32C of the header. @default false */
  readonly checksum?: boolean
}

/** A v2 header of a stream connection; without ends one of the family UNSPEC. Throws `RangeError` for fields beyond 65,535 bytes. */
export function writeProxyV2 (ends: ProxyEnds, { tlvs = [], checksum = false }: ProxyV2Options = {}): Buffer {
  const same = ends === undefined ? undefined : ofOneFamily(ends)
  const parts: Buffer[] = [SIGNATURE, Buffer.from([0x21, same === undefined ? 0 : isIPv4(same.source.address) ? 0x11 : 0x21, 0, 0])]
  if (same !== undefined) {
    const ports = Buffer.alloc(4)
    ports.writeUInt16BE(same.source.port, 0)
    ports.writeUInt16BE(same.destination.port, 2)
    parts.push(addressBytes(same.source.address)!, addressBytes(same.destination.address)!, ports)
  }
  for (const { type, value } of tlvs) parts.push(tlvHead(type, value.length), value)
  if (checksum) parts.push(tlvHead(tlvTypes.crc32c, 4), Buffer.alloc(4))
  const header = Buffer.concat(parts)
  header.writeUInt16BE(header.length - FIXED, 14)
  if (checksum) header.writeUInt32BE(crc32c(header), header.length - 4)
  return header
}

function tlvHead (type: number, length: number): Buffer {
  const head = Buffer.alloc(3)
  head[0] = type
  head.writeUInt16BE(length, 1)
  return head
}

/** Both ends in one family, as the protocol wants them: IPv4 where both are, else IPv4 written as IPv6. */
function ofOneFamily ({ source, destination }: NonNullable<ProxyEnds>): ProxyEnds {
  const from = plainAddress(source.address)
  const to = plainAddress(destination.address)
  if (addressBytes(from) === undefined || addressBytes(to) === undefined) return undefined
  const map = isIPv4(from) !== isIPv4(to)
  const text = (address: string): string => map && isIPv4(address) ? `::ffff:${address}` : address.replace(/%.*/, '')
  return { source: { address: text(from), port: source.port }, destination: { address: text(to), port: destination.port } }
}
