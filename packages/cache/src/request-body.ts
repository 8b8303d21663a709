import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'

/** Body, its type and its codings: all that tells one query from another (RFC 10008 2.7). */
function hash (request: FastifyRequest, body: Buffer | string): string {
  const { headers } = request
  const sum = createHash('sha256')
  for (const name of ['content-type', 'content-encoding', 'content-language'] as const) sum.update(`${headers[name] ?? ''}\n`)
  return sum.update(body).digest('base64url')
}

/**
 * Gives the hash of a request's body; `undefined` when it is longer than `limit` bytes or of unknown length, and then nothing was read of it.
 * A body that no parser has read is kept as `request.body`, from where it is forwarded.
 */
export function requestBody (request: FastifyRequest, limit: number, then: (hash: string | undefined) => void): void {
  const body = request.body as unknown
  if (body !== undefined && body !== null && !isStream(body)) {
    return then(hash(request, Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body)))
  }
  const stream: IncomingMessage = request.raw
  const length = Number(request.headers['content-length'] ?? (request.headers['transfer-encoding'] === undefined ? 0 : Number.NaN))
  if (!(length <= limit)) return then(undefined)
  if (length === 0) return then(hash(request, ''))
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  stream.on('end', () => {
    const whole = Buffer.concat(chunks)
    request.body = whole
    then(hash(request, whole))
  })
}

function isStream (body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'pipe' in body
}
