import { constants } from 'node:crypto'
import type { RequestListener, Server as HttpServer, ServerOptions } from 'node:http'
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2'
import { createServer, type Server as HttpsServer } from 'node:https'
import type { TlsOptions as NodeTlsOptions, TLSSocket } from 'node:tls'
import { type Clock, type Http2LimitMessage, type Http2Limits, limitHttp2 } from '@headgate/core'
import { type Gate, introduceOver } from './gate.ts'
import type { Http2Options } from './options.ts'
import { carrierOf } from './sni.ts'

/** What Fastify gives to a `serverFactory`, as far as it is used here. */
export interface FactoryOptions {
  readonly http?: ServerOptions
  readonly connectionTimeout?: number
  readonly keepAliveTimeout?: number
  readonly requestTimeout?: number
  readonly maxRequestsPerSocket?: number | null
  readonly http2SessionTimeout?: number
}

export type SecureServer = HttpsServer | Http2SecureServer

export interface ServerParts {
  readonly options: NodeTlsOptions
  /** `undefined`: HTTP/1.1 alone. */
  readonly http2: Http2Options | undefined
  readonly gate: Gate
  readonly clock: Clock
  /** A client met a limit of HTTP/2. */
  readonly limited: (message: Http2LimitMessage) => void
  /** A handshake failed, or its client's certificate was refused. */
  readonly failed: (error: Error & { code?: string }, socket: TLSSocket) => void
  /** Whether a finished handshake may go on. */
  readonly admit: (socket: TLSSocket) => boolean
}

/** Tickets off: `SSL_OP_NO_TICKET`. */
export const NO_TICKETS: number = constants.SSL_OP_NO_TICKET

/** Malformed frames that a connection may send; Node's own default is 1000. */
const INVALID_FRAMES = 100

/** A server for HTTP/1.1, and HTTP/2 unless it is off, with what Fastify would have set on its own one. */
export function secureServer (parts: ServerParts, handler: RequestListener, fastify: FactoryOptions): SecureServer {
  const { options, http2, gate } = parts
  const server = http2 === undefined
    ? createServer({ ...fastify.http, ...options }, handler)
    : createSecureServer({ maxSessionInvalidFrames: INVALID_FRAMES, ...http2, ...options, allowHTTP1: true } as never, handler as never)
  // HTTP/2's server also serves HTTP/1.1, by properties that its type does not know.
  const plain = server as HttpServer & { connectionsCheckingInterval?: number }
  if (fastify.keepAliveTimeout !== undefined) plain.keepAliveTimeout = fastify.keepAliveTimeout
  if (fastify.requestTimeout !== undefined) plain.requestTimeout = fastify.requestTimeout
  if (fastify.http?.headersTimeout !== undefined) plain.headersTimeout = fastify.http.headersTimeout
  if (fastify.http?.connectionsCheckingInterval !== undefined) plain.connectionsCheckingInterval = fastify.http.connectionsCheckingInterval
  if (fastify.connectionTimeout !== undefined) server.setTimeout(fastify.connectionTimeout)
  if ((fastify.maxRequestsPerSocket ?? 0) > 0) plain.maxRequestsPerSocket = fastify.maxRequestsPerSocket!
  if (http2 !== undefined) {
    keepSessions(server as Http2SecureServer, fastify.http2SessionTimeout)
    limitHttp2(server as Http2SecureServer, limitsOf(http2), { clock: parts.clock, told: parts.limited }, 'options.http2.limits')
  }

  gate.attach(server)
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    const carrier = carrierOf(socket)
    if (carrier !== undefined) gate.passed(carrier)
    introduceOver(socket, carrier)
    if (!parts.admit(socket)) socket.destroy()
  })
  // Node's own listeners would answer a failed handshake with plain text.
  server.removeAllListeners('tlsClientError')
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    introduceOver(socket, carrierOf(socket))
    parts.failed(error, socket)
    socket.destroy()
  })
  return server
}

/** What `settings` says for Node's server counts, unless `limits` says otherwise. */
function limitsOf ({ settings = {}, limits }: Http2Options): Http2Limits {
  const { maxConcurrentStreams, maxHeaderListSize } = settings
  return { ...maxConcurrentStreams !== undefined && { maxConcurrentStreams }, ...maxHeaderListSize !== undefined && { maxHeaderListSize }, ...limits }
}

/** Idle sessions end after a while, and all of them, when their streams have ended, with the server. */
function keepSessions (server: Http2SecureServer, timeout: number | undefined): void {
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => { sessions.delete(session) })
    if (timeout !== undefined) session.setTimeout(timeout, () => { session.close() })
  })
  // Fastify calls it when it closes; Node 24 does so by itself.
  Object.assign(server, { closeHttp2Sessions: () => { for (const session of sessions) session.close() } })
}
