import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { responseHeaders } from './headers.ts'

const heads = new WeakMap<IncomingMessage, Buffer>()

/**
 * What followed the head of a request that may switch protocols; `undefined` for other requests. Where `@fastify/websocket`
 * took the event, it keeps the head under a symbol of its own.
 */
export function headOf (request: IncomingMessage): Buffer | undefined {
  const own = heads.get(request)
  if (own !== undefined || request.headers.upgrade === undefined) return own
  for (const symbol of Object.getOwnPropertySymbols(request)) {
    const value = (request as unknown as Record<symbol, unknown>)[symbol]
    if (symbol.description === 'ws-head' && Buffer.isBuffer(value)) return value
  }
  return undefined
}

/**
 * Sends upgrade requests through the app's router, so that hooks and routes see them as any other. Where another plugin
 * (`@fastify/websocket`) listens already, upgrades are left to it.
 */
export function listenForUpgrades (app: FastifyInstance): void {
  if (app.server.listenerCount('upgrade') > 0) return
  app.server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    heads.set(request, head)
    const response = new ServerResponse(request)
    // Whatever is answered instead of a switch ends the connection: its parser is gone.
    response.shouldKeepAlive = false
    socket.on('error', () => { socket.destroy() })
    response.on('finish', () => { socket.end() })
    response.assignSocket(socket)
    app.routing(request, response)
  })
}

/** Joins the client's connection and the upstream's after a 101, half-close honoured. `ended` is called once. */
export function tunnel (
  request: IncomingMessage, response: ServerResponse, headers: readonly string[], upstream: Duplex, head: Buffer, ended: () => void
): void {
  const client = request.socket
  let text = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n'
  for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === 'upgrade') text += `Upgrade: ${headers[i + 1]!}\r\n`
  const rest = responseHeaders(headers)
  for (let i = 0; i < rest.length; i += 2) text += `${rest[i]!}: ${rest[i + 1]!}\r\n`
  response.detachSocket(client)
  client.setTimeout(0)
  client.write(`${text}\r\n`, 'latin1')
  if (head.length > 0) client.write(head)
  const early = headOf(request)
  if (early !== undefined && early.length > 0) upstream.write(early)
  let open = 2
  const closed = (): void => {
    if (--open === 1) {
      client.destroy()
      upstream.destroy()
    }
    if (open === 0) ended()
  }
  client.on('close', closed)
  upstream.on('close', closed)
  upstream.on('error', () => { upstream.destroy() })
  client.pipe(upstream)
  upstream.pipe(client)
}
