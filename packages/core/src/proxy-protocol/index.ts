import { ProxyProtocolError, type ProxyHeader } from './contract.ts'
import { parseV1 } from './parse-v1.ts'
import { FIXED, parseV2, SIGNATURE } from './parse-v2.ts'

export { plainAddress } from './addresses.ts'
export { type ProxyEndpoint, ProxyProtocolError, type ProxyHeader, type ProxyTlv, tlvTypes } from './contract.ts'
export { crc32c } from './crc32c.ts'
export { type ProxyEnds, type ProxyV2Options, writeProxyV1, writeProxyV2 } from './write.ts'

/**
 * Reads the PROXY header (version 1 or 2 of the protocol's text by W. Tarreau, 2020) that a connection begins with. `bytes` is
 * all that has come so far. `undefined`: more is needed, which is never the case from `limit` bytes on (at least 536, as the text
 * asks for). Throws {@link ProxyProtocolError} with the first byte that cannot be right.
 */
export function parseProxyHeader (bytes: Buffer, limit = 4096): { header: ProxyHeader; length: number } | undefined {
  if (bytes.length === 0) return undefined
  if (bytes[0] === SIGNATURE[0]) return parseV2(bytes, Math.max(limit, FIXED + 520))
  if (bytes[0] === 0x50) return parseV1(bytes)
  throw new ProxyProtocolError('no signature')
}
