import { createHash } from 'node:crypto'
import { isIP, type LookupFunction } from 'node:net'
import { refuse } from './options.ts'

/** Where an upstream is, taken apart once. */
export interface Target {
  readonly protocol: 'http:' | 'https:' | 'unix:' | 'app:' | 'tcp:' | 'tls:' | 'udp:'
  readonly hostname: string
  readonly port: number
  /** Path of the Unix socket. */
  readonly socketPath: string | undefined
  /** Value of `Host` for requests that should carry the upstream's own name. */
  readonly host: string
  /** The normal form, by which duplicates are found. */
  readonly href: string
  /** The name that TLS asks for and checks certificates for; '' for addresses (RFC 6066 3). */
  readonly serverName: string
  /** IP addresses of `hostname` where they are known: nobody is asked at each connection. */
  readonly addresses: readonly string[] | undefined
}

/** Where to connect to, as `net.connect` and `tls.connect` take it. */
export function whereIs ({ hostname, port, socketPath, addresses }: Target): { host: string; port: number; lookup?: LookupFunction } | { path: string } {
  if (socketPath !== undefined) return { path: socketPath }
  if (addresses === undefined) return { host: hostname, port }
  // Node asks nobody when `host` is an address, and races the families (RFC 8305) only over what a lookup gives.
  return { host: isIP(hostname) === 0 ? hostname : 'upstream.invalid', port, lookup: lookupAmong(addresses) }
}

function lookupAmong (addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIP(address) }))
  return (_hostname, options, callback) => {
    if (options.all === true) callback(null, all)
    else callback(null, all[0]!.address, all[0]!.family)
  }
}

/** How the addresses of a pool's members read. */
export type ParseTarget = (text: string, path: string) => Target

const ALLOWED = "an origin such as 'http://10.0.0.1:3000', 'https://api.example' or 'unix:/run/app.sock'"

/** Parses an upstream's address. Paths, queries and credentials are refused: they would be lost or leak silently. */
export function parseTarget (text: string, path: string): Target {
  if (text.startsWith('unix:')) return parseUnix(text, path, ALLOWED)
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return refuse(path, `must be ${ALLOWED}`, text)
  }
  const { protocol } = url
  if (protocol !== 'http:' && protocol !== 'https:') return refuse(path, `must be ${ALLOWED}`, text)
  if (url.username !== '' || url.password !== '') refuse(path, 'must not hold credentials; set an Authorization header instead', `${protocol}//…@${url.host}`)
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') refuse(path, `must be ${ALLOWED}, without a path (use rewritePrefix on the route)`, text)
  const bare = url.hostname.replace(/^\[|\]$/g, '')
  if (bare === '') refuse(path, `must be ${ALLOWED}`, text)
  const port = url.port === '' ? (protocol === 'http:' ? 80 : 443) : Number(url.port)
  if (port === 0) refuse(path, `must be ${ALLOWED}, with a port of 1–65535`, text)
  return { protocol, hostname: bare, port, socketPath: undefined, host: url.host, href: `${protocol}//${url.host}`, ...named(bare) }
}

const ALLOWED_STREAM = "an address such as 'tcp://10.0.0.1:5432', 'tls://db.example:5432', 'udp://10.0.0.1:53' or 'unix:/run/db.sock'"

/** Parses the address of a member of a layer 4 pool: a transport protocol, a host and a port, or a Unix socket. */
export function parseStreamTarget (text: string, path: string): Target {
  if (text.startsWith('unix:')) return parseUnix(text, path, ALLOWED_STREAM)
  const [, scheme = '', written = '', digits = ''] = /^(tcp|tls|udp):\/\/(\[[\da-fA-F:.]+\]|[^:/?#@[\]\s]+):(\d{1,5})\/?$/.exec(text) ?? []
  const port = Number(digits)
  // The URL parser knows which spellings of a host are the same; for schemes that it does not know it would not say.
  if (scheme === '' || port < 1 || port > 65_535 || !URL.canParse(`http://${written}`)) refuse(path, `must be ${ALLOWED_STREAM}`, text)
  const { hostname } = new URL(`http://${written}`)
  const host = `${hostname}:${port}`
  const bare = hostname.replace(/^\[|\]$/g, '')
  return { protocol: `${scheme as 'tcp' | 'tls' | 'udp'}:`, hostname: bare, port, socketPath: undefined, host, href: `${scheme}://${host}`, ...named(bare) }
}

function parseUnix (text: string, path: string, allowed: string): Target {
  const socketPath = text.slice(5)
  // sun_path holds 107 bytes and a NUL on Linux; a longer one is cut silently by the system.
  if (!socketPath.startsWith('/') || Buffer.byteLength(socketPath) > 107) refuse(path, `must be ${allowed} (absolute, at most 107 bytes)`, text)
  return { protocol: 'unix:', hostname: 'localhost', port: 0, socketPath, host: 'localhost', href: text, ...named('localhost') }
}

/** What TLS is told of a host. */
function named (hostname: string): Pick<Target, 'serverName' | 'addresses'> {
  return { serverName: isIP(hostname) === 0 ? hostname : '', addresses: undefined }
}

/** An opaque, stable name for an address: the same in every process, and no address to be read from it. */
export function idOf (href: string): string {
  return createHash('sha256').update(href).digest('base64url').slice(0, 12)
}
