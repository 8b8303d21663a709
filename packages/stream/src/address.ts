import { LISTEN_ADDRESSES, LISTEN_PORTS, parseListen, parseListenPort } from '@headgate/core'
import { refuseListener } from './refuse.ts'

/** Where a listener is. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string }

/** `host:port` and its kin, and `unix:/path` where that is possible. Throws `HG_STREAM_INVALID_OPTION` for `path`. */
export function listenAddress (text: string, path: string, unix: boolean): ListenAddress {
  const address = unix ? parseListen(text) : parseListenPort(text)
  if (address === undefined) return refuseListener(path, `must be ${unix ? LISTEN_ADDRESSES : LISTEN_PORTS}`, text)
  return 'path' in address ? address : { host: address.host ?? '::', port: address.port }
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
