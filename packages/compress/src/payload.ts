import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import type { FastifyReply } from 'fastify'

/** What Fastify hands to `onSend` hooks. */
export type Payload = string | Buffer | Readable | ReadableStream | Response | null | undefined

/** Takes status and fields of a `Response` over, as Fastify does after the hooks, and gives its body. A used one is left for Fastify to refuse. */
export function unwrapResponse (reply: FastifyReply, payload: Payload): Payload {
  if (typeof payload !== 'object' || payload === null || Object.prototype.toString.call(payload) !== '[object Response]') return payload
  const response = payload as Response
  if (response.bodyUsed) return payload
  reply.code(response.status)
  for (const [name, value] of response.headers) reply.header(name, value)
  return response.body as ReadableStream | null
}

/** The payload as one Buffer, if it is all there. */
export function wholeOf (payload: Payload): Buffer | undefined {
  return typeof payload === 'string' ? Buffer.from(payload) : Buffer.isBuffer(payload) ? payload : undefined
}

/** Any kind of stream as a Readable. */
export function readableOf (payload: Payload): Readable {
  if (payload instanceof Readable) return payload
  if (typeof (payload as ReadableStream).getReader === 'function') return Readable.fromWeb(payload as ReadableStream)
  return new Readable().wrap(payload as unknown as NodeJS.ReadableStream)
}

/** Stops the making of a body that will not be sent. */
export function discard (payload: Payload): void {
  if (payload instanceof Readable) payload.on('error', () => {}).destroy()
  else if (typeof payload === 'object' && payload !== null && 'getReader' in payload) payload.cancel().catch(() => {})
}
