import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { listenForConnects } from './extended-connect.ts'

const heads = new WeakMap<IncomingMessage, Buffer>()
const NOTHING = Buffer.alloc(0)

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
  listenForConnects(app, (request) => { heads.set(request, NOTHING) })
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

/**
 * The protocols that a request asks to switch to. HTTP/2 without TLS is left out: forwarded, it would open a connection on
 * which nobody looks at the requests any more (h2c smuggling; RFC 9113 dropped that upgrade).
 */
export function upgradeOf (request: IncomingMessage): string | undefined {
  const { upgrade } = request.headers
  if (upgrade === undefined || headOf(request) === undefined) return undefined
  const kept = upgrade.split(',').map((protocol) => protocol.trim()).filter((protocol) => protocol !== '' && !/^h2c(?:\/|$)/i.test(protocol))
  return kept.length === 0 ? undefined : kept.join(', ')
}
