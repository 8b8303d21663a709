import { HTTP2_LIMIT, type Http2Limits, type LimitedServer, limitHttp2, systemClock } from '@headgate/core'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

const plugin: FastifyPluginAsync<Http2Limits> = async (app, limits) => {
  const server = app.server as unknown as LimitedServer
  // With HTTP/1.1 alone there is nothing to bound.
  if (typeof server.updateSettings !== 'function') return
  limitHttp2(server, limits, { clock: systemClock, told: (message) => { app.log[message.closed ? 'warn' : 'debug'](message, HTTP2_LIMIT) } })
}

/**
 * Bounds what HTTP/2 clients may do to an app with `http2: true`: `await app.register(http2Limits, { maxConcurrentStreams: 64 })`.
 * Servers of `@headgate/tls` are bounded already. Throws `HG_POOL_INVALID_OPTION`.
 */
export const http2Limits: FastifyPluginAsync<Http2Limits> = fp(plugin, { name: '@headgate/http2-limits', fastify: '5.x' })
