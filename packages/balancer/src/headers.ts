import type { FastifyRequest } from 'fastify'
import { maxForwardsOf } from './max-forwards.ts'
import type { RouteSettings } from './options.ts'

/** Fields that belong to one connection (RFC 9110 7.6.1), and framing, which the transport writes anew. */
const HOP = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'proxy-authenticate',
  'proxy-authorization', 'proxy-authentication-info', 'http2-settings', 'content-length', 'expect', 'host'
])
/** A client that names these in `Connection` wants an upstream to miss what protects it: they stay. */
const KEPT = new Set(['authorization', 'cookie', 'host', 'via', 'forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port'])
/** Written by us; what the client sent of them is never passed on as it is. */
const OURS = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port', 'forwarded', 'via'])

/** Names that `Connection` lists, in lower case. */
export function connectionNames (value: string): string[] {
  return value.split(',').map((name) => name.trim().toLowerCase()).filter((name) => name !== '')
}

function quote (value: string): string {
  return /^[!#$%&'*+\-.^_`|~\w]+$/.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`
}

function forwardedNode (address: string): string {
  return address.includes(':') ? `"[${address}]"` : quote(address)
}

/** Fields for the upstream: the client's without hop-by-hop ones, then Host and the forwarding fields. */
export function requestHeaders (request: FastifyRequest, route: RouteSettings, upstreamHost: string): string[] {
  const raw = request.raw.rawHeaders
  const connection = request.raw.headers.connection
  const named = connection === undefined || connection === 'keep-alive' || connection === 'close'
    ? undefined
    : new Set(connectionNames(connection).filter((name) => !KEPT.has(name)))
  const host = request.host ?? ''
  const list: string[] = ['Host', route.preserveHost && host !== '' ? host : upstreamHost]
  const hops = maxForwardsOf(request)
  let via = ''
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    const lower = name.toLowerCase()
    if (lower === 'via') via += `${raw[i + 1]!}, `
    // HTTP/2's pseudo-fields start with a colon.
    if (HOP.has(lower) || OURS.has(lower) || named?.has(lower) === true || name.startsWith(':')) continue
    // Upstreams that turn names into variables (CGI, WSGI) take these for ours.
    if (lower.includes('_') && OURS.has(lower.replaceAll('_', '-'))) continue
    list.push(name, hops !== undefined && lower === 'max-forwards' ? String(hops - 1) : raw[i + 1]!)
  }
  if (request.raw.headers.te?.includes('trailers') === true) list.push('TE', 'trailers')
  if (route.forwardedHeaders) {
    // With trustProxy, `ips` holds the trusted chain from the peer outwards; without, the peer alone is believed.
    const peer = request.raw.socket?.remoteAddress ?? ''
    const chain = request.ips === undefined ? [request.ip] : request.ips.slice().reverse()
    list.push('X-Forwarded-For', chain.join(', ') || peer, 'X-Forwarded-Proto', request.protocol)
    if (host !== '') list.push('X-Forwarded-Host', host)
    if (request.raw.socket?.localPort !== undefined) list.push('X-Forwarded-Port', String(request.raw.socket.localPort))
    list.push('Forwarded', `for=${forwardedNode(chain[0] ?? peer)};proto=${request.protocol}${host === '' ? '' : `;host=${quote(host)}`}`)
  }
  list.push('Via', `${via}${request.raw.httpVersion} ${route.viaName}`)
  return list
}

/**
 * The upstream's fields for the client, without hop-by-hop ones; Content-Length stays, and `Trailer` where trailers can follow.
 */
export function responseHeaders (headers: readonly string[], trailers = false): string[] {
  let named: Set<string> | undefined
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === 10 && headers[i]!.toLowerCase() === 'connection') named = new Set([...(named ?? []), ...connectionNames(headers[i + 1]!)])
  }
  const list: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const lower = headers[i]!.toLowerCase()
    if (named?.has(lower) === true && lower !== 'content-length') continue
    if (HOP.has(lower) && lower !== 'content-length' && !(trailers && lower === 'trailer')) continue
    list.push(headers[i]!, headers[i + 1]!)
  }
  return list
}
