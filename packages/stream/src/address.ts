import { BlockList, isIP, isIPv4 } from 'node:net'
import { plainAddress } from '@headgate/core'
import { refuseListener } from './refuse.ts'

/** Where a listener is. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string }

const ALLOWED = "must be 'host:port', '[::1]:port' or ':port' (all interfaces; port 0: any free one)"

/** `host:port` and its kin, and `unix:/path` where that is possible. */
export function parseListen (text: string, path: string, unix: boolean): ListenAddress {
  if (unix && text.startsWith('unix:')) {
    const socketPath = text.slice(5)
    if (!socketPath.startsWith('/') || Buffer.byteLength(socketPath) > 107) refuseListener(path, "must be 'unix:' and an absolute path of at most 107 bytes", text)
    return { path: socketPath }
  }
  const [, host = '', digits = ''] = /^(\[[\da-fA-F:.]+\]|[^:[\]/\s]*):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === '' || port > 65_535) refuseListener(path, unix ? `${ALLOWED} or 'unix:/path'` : ALLOWED, text)
  return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port }
}

/** Peers by address, network (`10.0.0.0/8`), or `unix` for those of a Unix socket. */
export class Peers {
  readonly #list = new BlockList()
  #unix = false

  constructor (entries: readonly string[], path: string) {
    for (const [index, entry] of entries.entries()) {
      if (entry === 'unix') {
        this.#unix = true
        continue
      }
      const [address = '', bits, ...rest] = entry.split('/')
      const family = isIP(address)
      const most = family === 4 ? 32 : 128
      if (family === 0 || rest.length > 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most))) {
        refuseListener(`${path}[${index}]`, "must be an IP address, a network such as '10.0.0.0/8' or 'fd00::/8', or 'unix'", entry)
      }
      this.#list.addSubnet(address, bits === undefined ? most : Number(bits), family === 4 ? 'ipv4' : 'ipv6')
    }
  }

  /** `undefined`: the peer of a Unix socket. */
  has (address: string | undefined): boolean {
    if (address === undefined) return this.#unix
    const plain = plainAddress(address)
    return this.#list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
  }
}

/** One client for limits: an IPv4 address, or the first 64 bits of an IPv6 one, since a client may change the others as it likes. */
export function clientKey (address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::', 2)
  const before = head === '' ? [] : head.split(':')
  if (tail === undefined || before.length >= 4) return before.slice(0, 4).join(':')
  const after = tail === '' ? [] : tail.split(':')
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after].slice(0, 4).join(':')
}
