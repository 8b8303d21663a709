import { addressText } from './addresses.ts'
import { ProxyProtocolError, type ProxyHeader, type ProxyTlv, tlvTypes } from './contract.ts'
import { crc32c } from './crc32c.ts'

/** The twelve bytes that a v2 header begins with (section 2.2). */
export const SIGNATURE: Buffer = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
/** What comes before the addresses: signature, version and command, family and transport, length. */
export const FIXED = 16

const TRANSPORTS = ['unspecified', 'stream', 'datagram'] as const
/** Bytes of one address, by family: unspecified, IPv4, IPv6, Unix. */
const ADDRESS_SIZES = [0, 4, 16, 108] as const
const UNIX = 3

/**
 * Reads a v2 header of at most `limit` bytes in all. `undefined`: it is not complete yet. Throws {@link ProxyProtocolError} as
 * soon as it cannot become valid, and for a checksum that does not fit.
 */
export function parseV2 (bytes: Buffer, limit: number): { header: ProxyHeader; length: number } | undefined {
  const known = Math.min(bytes.length, SIGNATURE.length)
  if (SIGNATURE.compare(bytes, 0, known, 0, known) !== 0) throw new ProxyProtocolError('no signature')
  if (bytes.length > 12 && bytes[12]! >> 4 !== 2) throw new ProxyProtocolError('bad version')
  if (bytes.length < FIXED) return undefined
  const command = bytes[12]! & 15
  if (command > 1) throw new ProxyProtocolError('bad command')
  const family = bytes[13]! >> 4
  const transport = TRANSPORTS[bytes[13]! & 15]
  const size = ADDRESS_SIZES[family]
  if (size === undefined || transport === undefined) throw new ProxyProtocolError('bad family')
  const length = FIXED + bytes.readUInt16BE(14)
  if (length > limit) throw new ProxyProtocolError('too long')
  const local = command === 0
  // LOCAL says nothing of addresses, whatever its family; its length is to be skipped.
  const addresses = family === UNIX ? 2 * size : size === 0 ? 0 : 2 * size + 4
  if (!local && length < FIXED + addresses) throw new ProxyProtocolError('too short')
  if (bytes.length < length) return undefined
  const whole = bytes.subarray(0, length)
  const tlvs = local && length < FIXED + addresses ? [] : parseTlvs(whole, FIXED + addresses)
  return {
    header: { version: 2, ends: local || size === 0 || transport === 'unspecified' ? undefined : endsOf(whole, family, size), transport, tlvs },
    length
  }
}

function endsOf (bytes: Buffer, family: number, size: number): ProxyHeader['ends'] {
  const source = bytes.subarray(FIXED, FIXED + size)
  const destination = bytes.subarray(FIXED + size, FIXED + 2 * size)
  if (family === UNIX) return { source: { address: pathText(source), port: 0 }, destination: { address: pathText(destination), port: 0 } }
  const ports = FIXED + 2 * size
  return {
    source: { address: addressText(source), port: bytes.readUInt16BE(ports) },
    destination: { address: addressText(destination), port: bytes.readUInt16BE(ports + 2) }
  }
}

function pathText (bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end)
}

function parseTlvs (bytes: Buffer, start: number): ProxyTlv[] {
  const tlvs: ProxyTlv[] = []
  for (let at = start; at < bytes.length;) {
    if (at + 3 > bytes.length) throw new ProxyProtocolError('bad field')
    const type = bytes[at]!
    const from = at + 3
    const to = from + bytes.readUInt16BE(at + 1)
    if (to > bytes.length) throw new ProxyProtocolError('bad field')
    if (type === tlvTypes.crc32c) checkSum(bytes, from, to)
    // A copy, since the read buffer that it is in is used again.
    else if (type !== tlvTypes.noop) tlvs.push({ type, value: Buffer.from(bytes.subarray(from, to)) })
    at = to
  }
  return tlvs
}

/** The sum is over the whole header with the sum's own four bytes zero. */
function checkSum (bytes: Buffer, from: number, to: number): void {
  if (to - from !== 4) throw new ProxyProtocolError('bad checksum')
  const zeroed = Buffer.from(bytes)
  zeroed.writeUInt32BE(0, from)
  if (crc32c(zeroed) !== bytes.readUInt32BE(from)) throw new ProxyProtocolError('bad checksum')
}
