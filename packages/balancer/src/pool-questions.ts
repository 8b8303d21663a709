import type { FastifyRequest } from 'fastify'
import type { Location, Pool, PoolOptions } from '@headgate/core'

/** Value of one cookie, as it stands in the header; '' without it. */
export function cookieValue (header: string | undefined, name: string): string {
  for (const part of header?.split(';') ?? []) {
    const at = part.indexOf('=')
    if (at !== -1 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim()
  }
  return ''
}

/** What the pool's `hashOn` says of a request; the client's address where that is empty, so that not all land on one upstream. */
export function hashKeyOf (request: FastifyRequest, hashOn: PoolOptions['hashOn']): string {
  if (typeof hashOn === 'function') return keyBy(request, hashOn as (request: FastifyRequest) => unknown)
  const [kind, name = ''] = (hashOn ?? 'client-address').split(/:(.*)/, 2)
  switch (kind) {
    case 'path': return request.url.replace(/\?.*$/s, '')
    case 'url': return request.url
    case 'header': return String(request.headers[name.toLowerCase()] ?? request.ip)
    case 'cookie': return cookieValue(request.headers.cookie, name) || request.ip
    case 'query': return new URLSearchParams(request.url.replace(/^[^?]*\??/s, '')).get(name) ?? request.ip
    default: return request.ip
  }
}

/** A user's function may fail in the middle of another request's end, where nobody could answer for it. */
function keyBy (request: FastifyRequest, hashOn: (request: FastifyRequest) => unknown): string {
  try {
    const key = hashOn(request)
    if (typeof key === 'string' && key !== '') return key
  } catch (error) {
    request.log.warn({ err: error }, 'hashOn failed')
  }
  return request.ip
}

/** What the pool's `clientLocation` says of a request. Its mistakes cost the distance, never the request. */
export function clientLocationOf (request: FastifyRequest, pool: Pool): Location | undefined {
  const find = pool.settings.clientLocation
  if (find === undefined) return undefined
  try {
    const place = find(request as never)
    if (place !== undefined && Math.abs(place.latitude) <= 90 && Math.abs(place.longitude) <= 180) return place
  } catch (error) {
    request.log.warn({ err: error, pool: pool.name }, 'clientLocation failed')
  }
  return undefined
}
