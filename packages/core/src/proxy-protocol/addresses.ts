import { isIPv4, isIPv6, SocketAddress } from 'node:net'

/** The four bytes of an IPv4 address, or the sixteen of an IPv6 one; `undefined` for anything else. A zone (`%eth0`) is dropped. */
export function addressBytes (text: string): Buffer | undefined {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number))
  const [bare = ''] = text.split('%', 1)
  if (!isIPv6(bare)) return undefined
  const dotted = bare.includes('.') ? bare.slice(bare.lastIndexOf(':') + 1) : undefined
  const [head = '', tail] = (dotted === undefined ? bare : bare.slice(0, -dotted.length) + hexPair(dotted)).split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after]
  const bytes = Buffer.alloc(16)
  for (const [i, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), i * 2)
  return bytes
}

/** The text of 4 or 16 address bytes, IPv6 in its canonical form (RFC 5952). */
export function addressText (bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(i).toString(16))
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address
}

/** `::ffff:10.0.0.1`, as dual-stack sockets show IPv4 peers, without its prefix. */
export function plainAddress (address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

function hexPair (dotted: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number)
  return `${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`
}
