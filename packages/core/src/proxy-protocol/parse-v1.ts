import { isIPv4, isIPv6 } from 'node:net'
import { ProxyProtocolError, type ProxyHeader } from './contract.ts'

/** The longest line that the protocol allows, its CRLF included (section 2.1). */
const LONGEST = 107
const CR = 13
const LF = 10
const PREFIX = 'PROXY '

/** Reads a v1 line. `undefined`: it is not complete yet. Throws {@link ProxyProtocolError} as soon as it cannot become valid. */
export function parseV1 (bytes: Buffer): { header: ProxyHeader; length: number } | undefined {
  const limit = Math.min(bytes.length, LONGEST)
  for (let i = 0; i < limit; i++) {
    const byte = bytes[i]!
    if (i < PREFIX.length && byte !== PREFIX.charCodeAt(i)) throw new ProxyProtocolError('no signature')
    if (byte === CR) {
      if (i + 2 > LONGEST) throw new ProxyProtocolError('too long')
      if (i + 1 === bytes.length) return undefined
      if (bytes[i + 1] !== LF) throw new ProxyProtocolError('bad line end')
      return { header: parseLine(bytes.toString('latin1', 0, i)), length: i + 2 }
    }
    if (byte < 0x20 || byte > 0x7e) throw new ProxyProtocolError('bad byte')
  }
  if (bytes.length >= LONGEST) throw new ProxyProtocolError('too long')
  return undefined
}

function parseLine (line: string): ProxyHeader {
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = '', ...rest] = line.split(' ')
  // Whatever follows UNKNOWN has to be ignored.
  if (family === 'UNKNOWN') return { version: 1, ends: undefined, transport: 'unspecified', tlvs: [] }
  const valid = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6NoZone : undefined
  if (valid === undefined) throw new ProxyProtocolError('bad family')
  if (!valid(source) || !valid(destination) || rest.length > 0) throw new ProxyProtocolError('bad address')
  const ends = { source: { address: source, port: port(sourcePort) }, destination: { address: destination, port: port(destinationPort) } }
  return { version: 1, ends, transport: 'stream', tlvs: [] }
}

function isIPv6NoZone (text: string): boolean { return isIPv6(text) && !text.includes('%') }

function port (text: string): number {
  const value = Number(text)
  if (!/^(0|[1-9]\d{0,4})$/.test(text) || value > 65_535) throw new ProxyProtocolError('bad port')
  return value
}
