import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** What Node's parser calls them, the status that says so, and our code. */
const KNOWN: Readonly<Record<string, readonly [status: number, code: string, detail: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'HG_BALANCER_SLOW_REQUEST', 'The request did not come in time'],
  HPE_HEADER_OVERFLOW: [431, 'HG_BALANCER_HEAD_TOO_LARGE', 'The request head is too large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'HG_BALANCER_CHUNK_EXTENSIONS', 'The chunk extensions are too large']
}
const MALFORMED = [400, 'HG_BALANCER_MALFORMED', 'The request is malformed'] as const

/**
 * Answers requests that Node's parser refuses in the same form as the proxy's other errors, and closes the connection:
 * `fastify({ clientErrorHandler: clientErrors })`.
 */
export function clientErrors (this: FastifyInstance, error: Error & { code?: string }, socket: Socket): void {
  // A client that reset its connection hears nothing any more; one whose response has begun would take this for a part of it.
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy()
  const { _httpMessage: running } = socket as Socket & { _httpMessage?: { headersSent: boolean } | null }
  if (running?.headersSent === true) return void socket.destroy()
  const [status, code, detail] = KNOWN[error.code ?? ''] ?? MALFORMED
  const title = STATUS_CODES[status]!
  const body = JSON.stringify({ type: 'about:blank', title, status, detail, code })
  this.log.info({ code, reason: error.code, remoteAddress: socket.remoteAddress }, detail)
  socket.end(`HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `Proxy-Status: headgate; error=http_request_error\r\nConnection: close\r\n\r\n${body}`)
}
