import { isIPv6 } from 'node:net'

/** A port that a server listens at; without `host` at all interfaces. */
export interface ListenPort {
  readonly host: string | undefined
  readonly port: number
}

/** A port, or a Unix socket. */
export type ListenAddress = ListenPort | { readonly path: string }

/** What texts {@link parseListenPort} takes, for errors. */
export const LISTEN_PORTS = "'host:port', '[::1]:port' or ':port' (all interfaces; port 0: any free one)"
/** What texts {@link parseListen} takes, for errors. */
export const LISTEN_ADDRESSES: string = `${LISTEN_PORTS}, or 'unix:/path' of at most 107 bytes`

/** `host:port`, `[IPv6]:port`, `:port` or `*:port`. */
export function parseListenPort (text: string): ListenPort | undefined {
  const [, literal, name = '', digits = ''] = /^(?:\[([^\]]*)\]|([\w.-]*|\*)):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === '' || port > 65_535 || (literal !== undefined && !isIPv6(literal))) return undefined
  return { host: literal ?? (name === '' || name === '*' ? undefined : name), port }
}

/** As {@link parseListenPort}, or `unix:` and an absolute path. */
export function parseListen (text: string): ListenAddress | undefined {
  if (!text.startsWith('unix:')) return parseListenPort(text)
  const path = text.slice(5)
  // sun_path holds 107 bytes and a NUL on Linux; a longer one is cut silently by the system.
  return path.startsWith('/') && Buffer.byteLength(path) <= 107 ? { path } : undefined
}
