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

/** One client for limits: an IPv4 address, or the first 64 bits of an IPv6 one, since a client may change the others as it likes. */
export function clientKey (address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::', 2)
  const before = head === '' ? [] : head.split(':')
  if (tail === undefined || before.length >= 4) return before.slice(0, 4).join(':')
  const after = tail === '' ? [] : tail.split(':')
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after].slice(0, 4).join(':')
}
