import type { FastifyRequest } from 'fastify'
import { connectionOf } from './client-connection.ts'
import { maxForwardsOf } from './max-forwards.ts'
import type { RouteSettings } from './options.ts'

/** Fields that belong to one connection (RFC 9110 7.6.1), and framing, which the transport writes anew. */
const HOP = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'proxy-authenticate',
  'proxy-authorization', 'proxy-authentication-info', 'http2-settings', 'content-length', 'expect', 'host'
])
/**
 * First letters of the names in {@link HOP}, as bits, by the names' lengths: most fields are told apart by that, without being
 * put in lower case and looked up.
 */
const HOP_LETTERS = new Uint32Array(32)
const letter = (name: string): number => 1 << ((name.charCodeAt(0) | 32) - 97)
for (const name of HOP) HOP_LETTERS[name.length]! |= letter(name)

/** Does a field belong to one connection? */
export function isHop (name: string): boolean {
  return name.length < 32 && (HOP_LETTERS[name.length]! & letter(name)) !== 0 && HOP.has(name.toLowerCase())
}

/** A client that names these in `Connection` wants an upstream to miss what protects it: they stay. */
const KEPT = new Set(['authorization', 'cookie', 'host', 'via', 'forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port'])
/** Written by us; what the client sent of them is never passed on as it is. */
const OURS = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port', 'forwarded', 'via'])

/** Names that `Connection` lists, in lower case. */
export function connectionNames (value: string): string[] {
  return value.split(',').map((name) => name.trim().toLowerCase()).filter((name) => name !== '')
}

function quote (value: string): string {
  if (/^[!#$%&'*+\-.^_`|~\w]+$/.test(value)) return value
  return /["\\]/.test(value) ? `"${value.replace(/["\\]/g, '\\$&')}"` : `"${value}"`
}

function forwardedNode (address: string): string {
  return address.includes(':') ? `"[${address}]"` : quote(address)
}

/** Fields for the upstream: the client's without hop-by-hop ones, then Host and the forwarding fields; and what the route changes. */
export function requestHeaders (request: FastifyRequest, route: RouteSettings, upstreamHost: string, upstreamUrl: string): string[] {
  const raw = request.raw.rawHeaders
  const connection = request.raw.headers.connection
  const named = connection === undefined || connection === 'keep-alive' || connection === 'close'
    ? undefined
    : new Set(connectionNames(connection).filter((name) => !KEPT.has(name)))
  const host = request.host ?? ''
  const list: string[] = ['Host', route.host ?? (route.preserveHost && host !== '' ? host : upstreamHost)]
  const hops = maxForwardsOf(request)
  let via = ''
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    if (isHop(name) || named?.has(name.toLowerCase()) === true) continue
    switch (name[0]) {
      // HTTP/2's pseudo-fields.
      case ':':
        continue
      case 'c': case 'C':
        // HTTP/2 may cut them up; RFC 9113 8.2.3 wants them joined for HTTP/1.
        if (request.raw.httpVersionMajor < 2 || name.toLowerCase() !== 'cookie') break
        continue
      case 'f': case 'F': case 'v': case 'V': case 'x': case 'X': {
        const lower = name.toLowerCase()
        if (lower === 'via') via += `${raw[i + 1]!}, `
        // Upstreams that turn names into variables (CGI, WSGI) take underscores for dashes.
        if (OURS.has(lower) || (lower.includes('_') && OURS.has(lower.replaceAll('_', '-')))) continue
        break
      }
      case 'm': case 'M':
        if (hops === undefined || name.toLowerCase() !== 'max-forwards') break
        list.push(name, String(hops - 1))
        continue
    }
    list.push(name, raw[i + 1]!)
  }
  const { cookie } = request.raw.headers
  if (cookie !== undefined && request.raw.httpVersionMajor >= 2) list.push('Cookie', cookie)
  if (request.raw.headers.te?.includes('trailers') === true) list.push('TE', 'trailers')
  if (route.forwardedHeaders) {
    const known = connectionOf(request)
    const told = known ?? request
    // With trustProxy, `ips` holds the trusted chain from the peer outwards; without, the peer alone is believed.
    const { ips } = request
    // Fastify tells it through the socket, which a detached request has no more.
    const protocol = told.protocol ?? 'http'
    const client = (ips === undefined ? told.ip : ips.at(-1)) ?? request.raw.socket?.remoteAddress ?? ''
    const port = known === undefined ? request.raw.socket?.localPort : known.localPort
    list.push('X-Forwarded-For', ips === undefined ? client : ips.slice().reverse().join(', ') || client, 'X-Forwarded-Proto', protocol)
    if (host !== '') list.push('X-Forwarded-Host', host)
    if (port !== undefined) list.push('X-Forwarded-Port', String(port))
    list.push('Forwarded', `for=${forwardedNode(client)};proto=${protocol}${host === '' ? '' : `;host=${quote(host)}`}`)
  }
  list.push('Via', `${via}${request.raw.httpVersion} ${route.viaName}`)
  if (route.editRequest !== undefined) route.editRequest(list, request, upstreamUrl)
  return list
}

/**
 * The upstream's fields for the client, without hop-by-hop ones; Content-Length stays, and `Trailer` where trailers can follow.
 */
export function responseHeaders (headers: readonly string[], trailers = false): string[] {
  let named: Set<string> | undefined
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length !== 10 || headers[i]!.toLowerCase() !== 'connection') continue
    const value = headers[i + 1]!
    if (value !== 'keep-alive' && value !== 'close') named = new Set([...(named ?? []), ...connectionNames(value)])
  }
  const list: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (isHop(name)) {
      const lower = name.toLowerCase()
      if (lower !== 'content-length' && !(trailers && lower === 'trailer' && named?.has(lower) !== true)) continue
    } else if (named?.has(name.toLowerCase()) === true) continue
    list.push(name, headers[i + 1]!)
  }
  return list
}
