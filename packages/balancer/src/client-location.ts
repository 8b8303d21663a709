import type { FastifyRequest } from 'fastify'
import type { Location, Pool } from '@headgate/core'

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
