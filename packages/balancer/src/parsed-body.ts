import type { FastifyRequest } from 'fastify'

/** A body that the app's own parser has already read: sent again as JSON or as it is; `null` when it is still to be read. */
export function parsedBody (request: FastifyRequest): Buffer | null {
  const { body } = request
  if (body === undefined || body === null || body === request.raw) return null
  if (Buffer.isBuffer(body)) return body
  if (typeof body === 'string') return Buffer.from(body)
  if (typeof body === 'object' && 'pipe' in body) return null
  return Buffer.from(JSON.stringify(body))
}
