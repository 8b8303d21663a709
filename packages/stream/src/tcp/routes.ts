import { ClientHelloReader } from '@headgate/core'
import { refuseListener } from '../refuse.ts'

/** What is known of a connection that is to be routed, or of which a pool's `hashOn` is asked. */
export interface StreamInfo {
  readonly listener: string
  /** As a trusted PROXY header tells it where there is one; '' for the peer of a Unix socket. */
  readonly clientAddress: string
  readonly clientPort: number
  /** From the ClientHello; '' where none was looked at, or it names none. */
  readonly serverName: string
  /** What the client offers by ALPN; what was agreed on where TLS ended here. */
  readonly alpn: readonly string[]
}

/** Conditions on the first bytes; all that are given must hold. */
export interface MatchConditions {
  readonly protocol?: 'tls' | 'http' | 'ssh'
  /** Exact, or `*.example.com` for one label in its place; several: one of them. */
  readonly serverName?: string | readonly string[]
  /** Offered by the client; several: one of them. */
  readonly alpn?: string | readonly string[]
}

/** `bytes` is all that has come so far, at most 16 KiB, and valid only during the call. */
export type MatchFunction = (bytes: Buffer, info: StreamInfo) => boolean | undefined
export type RouteMatch = MatchConditions | MatchFunction

/** `undefined`: more bytes are needed. */
export type Matcher = (peek: Peek) => boolean | undefined

const METHODS = ['GET ', 'HEAD ', 'POST ', 'PUT ', 'DELETE ', 'CONNECT ', 'OPTIONS ', 'TRACE ', 'PATCH ', 'QUERY ', 'PRI * HTTP/2.0', 'PROPFIND ', 'REPORT ']
const SSH = ['SSH-']

/** The first bytes of a connection as far as they have come, and what is read from them. */
export class Peek {
  bytes: Buffer = Buffer.alloc(0)
  readonly hello: ClientHelloReader = new ClientHelloReader()
  readonly info: StreamInfo

  constructor (info: StreamInfo) {
    this.info = info
  }

  push (chunk: Buffer): void {
    this.bytes = this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk])
    this.hello.push(chunk)
  }

  /** Does it begin with one of the texts? */
  begins (texts: readonly string[]): boolean | undefined {
    let open = false
    for (const text of texts) {
      const length = Math.min(text.length, this.bytes.length)
      if (this.bytes.toString('latin1', 0, length) !== text.slice(0, length)) continue
      if (length === text.length) return true
      open = true
    }
    return open ? undefined : false
  }
}

/** Checks a route's `match` and makes a function of it. */
export function compileMatch (match: RouteMatch, path: string): Matcher {
  if (typeof match === 'function') return (peek) => match(peek.bytes, peek.info)
  const { protocol, serverName, alpn } = match
  if (protocol !== undefined && protocol !== 'tls' && (serverName !== undefined || alpn !== undefined)) {
    refuseListener(`${path}.protocol`, "must be 'tls' beside serverName or alpn, which only TLS has", protocol)
  }
  if (protocol === 'http') return (peek) => peek.begins(METHODS)
  if (protocol === 'ssh') return (peek) => peek.begins(SSH)
  const hosts = hostMatcher(serverName, `${path}.serverName`)
  const protocols = alpn === undefined ? undefined : new Set(typeof alpn === 'string' ? [alpn] : alpn)
  return ({ hello: { state, hello } }) => {
    if (hello === undefined) return state === 'more' ? undefined : false
    return hosts(hello.serverName) && (protocols === undefined || hello.alpn.some((name) => protocols.has(name)))
  }
}

function hostMatcher (names: string | readonly string[] | undefined, path: string): (host: string) => boolean {
  if (names === undefined) return () => true
  const exact = new Set<string>()
  const suffixes = new Set<string>()
  for (const name of typeof names === 'string' ? [names] : names) {
    if (!/^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(name)) refuseListener(path, "must be host names, or '*.' and a host name", name)
    const lower = name.toLowerCase()
    if (lower.startsWith('*.')) suffixes.add(lower.slice(1))
    else exact.add(lower)
  }
  return (host) => {
    if (exact.has(host)) return true
    const dot = host.indexOf('.')
    return dot > 0 && suffixes.has(host.slice(dot))
  }
}
