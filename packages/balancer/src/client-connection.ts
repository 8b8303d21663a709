import type { Http2ServerRequest } from 'node:http2'
import type { FastifyRequest } from 'fastify'

/** What a client's connection says, as Fastify's requests tell it. */
export interface ClientConnection {
  readonly ip: string | undefined
  readonly protocol: string | undefined
  readonly localPort: number | undefined
}

const connections = new WeakMap<object, ClientConnection>()
const simple = new WeakMap<object, boolean>()

/**
 * What all requests of an HTTP/2 connection say, asked once: each has a Proxy for its socket, to ask which takes several times as long as to
 * look here. `undefined`: the request itself is to be asked.
 */
export function connectionOf (request: FastifyRequest): ClientConnection | undefined {
  const { raw } = request
  if (raw.httpVersionMajor < 2 || !asksSocket(request)) return undefined
  // None where the stream is over, or something stands in for the request.
  const session = (raw as unknown as Partial<Http2ServerRequest>).stream?.session
  if (session === undefined) return undefined
  let known = connections.get(session)
  if (known === undefined) connections.set(session, known = { ip: request.ip, protocol: request.protocol, localPort: raw.socket.localPort })
  return known
}

/** Are address and protocol Fastify's own, of the socket alone? With `trustProxy` they are not, nor where a plugin gives others. */
function asksSocket (request: FastifyRequest): boolean {
  if (Object.hasOwn(request, 'ip') || Object.hasOwn(request, 'protocol')) return false
  const prototype = Object.getPrototypeOf(request) as object
  let own = simple.get(prototype)
  if (own === undefined) {
    const base = ownerOf(prototype, 'routeOptions')
    simple.set(prototype, own = ownerOf(prototype, 'ip') === base && ownerOf(prototype, 'protocol') === base)
  }
  return own
}

/** Whose own property an object inherits. */
function ownerOf (object: object | null, name: string): object | null {
  while (object !== null && !Object.hasOwn(object, name)) object = Object.getPrototypeOf(object) as object | null
  return object
}
