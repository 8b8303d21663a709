import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2Server } from 'node:http2'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { fieldOf } from './fields.ts'

/** RFC 6455 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * WebSockets of HTTP/2 clients (RFC 8441): they are offered, and their requests go through the app's router as the GET with
 * `Upgrade: websocket` that HTTP/1.1 has for it. `begins` is told of each before. Where somebody listens already it is left to them.
 */
export function listenForConnects (app: FastifyInstance, begins: (request: IncomingMessage) => void): void {
  if (app.server.listenerCount('connect') > 0) return
  offerConnects(app.server)
  app.server.on('connect', (request: IncomingMessage, response: ServerResponse | Duplex) => {
    // HTTP/1.1's has a socket here. This is no forward proxy; without a listener Node would close it just so.
    if (!('setHeader' in response)) return void response.destroy()
    const protocol = (request.headers as Record<string, string | undefined>)[':protocol']
    if (protocol?.toLowerCase() !== 'websocket') {
      // RFC 9220 3 names 501 for protocols that nobody knows.
      response.statusCode = protocol === undefined ? 405 : 501
      return void response.end()
    }
    request.method = 'GET'
    request.headers.upgrade = 'websocket'
    // HTTP/2 does without a key; an upstream with HTTP/1.1 wants one.
    const key = randomBytes(16).toString('base64')
    request.headers['sec-websocket-key'] = key
    request.rawHeaders.push('sec-websocket-key', key)
    begins(request)
    app.routing(request, response)
  })
}

/** Tells HTTP/2 clients of connections to come that WebSockets may be asked for. */
export function offerConnects (server: object): void {
  (server as Partial<Http2Server>).updateSettings?.({ enableConnectProtocol: true })
}

/** Does the answer prove that the upstream has read the key (RFC 6455 4.1)? */
export function acceptsKey (request: IncomingMessage, headers: readonly string[]): boolean {
  const key = request.headers['sec-websocket-key']
  return key !== undefined && fieldOf(headers, 'sec-websocket-accept') === createHash('sha1').update(key + GUID).digest('base64')
}
