import admin from '@headgate/admin'
import balancer, { clientErrors } from '@headgate/balancer'
import cache, { type CacheOptions } from '@headgate/cache'
import compress from '@headgate/compress'
import health from '@headgate/health'
import metrics from '@headgate/metrics'
import stickySession from '@headgate/sticky-session'
import stream from '@headgate/stream'
import { createTls } from '@headgate/tls'
import fastify, { type FastifyInstance } from 'fastify'
import { connectRedis, type RedisState } from '@headgate/redis'
import { joinWorkers } from '@headgate/workers'
import { fromHere, withToken } from './admin-guard.ts'
import { listen as listenAt, parseListen } from './listen.ts'
import type { ServeAdminOptions, ServeOptions } from './serve-options.ts'
import { KEYS_VARIABLE } from './sticky.ts'

/** The app of a proxy of its own, which does not listen yet. */
export async function build (options: ServeOptions): Promise<FastifyInstance> {
  const {
    listen: _listen, logLevel = 'info', clientHeadersTimeout, health: watching = { check: false }, cache: caching = false, compress: encoding = false,
    sticky = false, stream: layer4, redis: shared, admin: steering, tls, ...balancing
  } = options
  const edge = tls === undefined ? undefined : await nested('tls', () => createTls(tls))
  const app = fastify({
    ...edge?.server,
    logger: { level: logLevel },
    clientErrorHandler: clientErrors,
    // Who still sends on a kept connection while it closes is served, and told that the connection ends.
    return503OnClosing: false,
    ...clientHeadersTimeout !== undefined && {
      http: {
        headersTimeout: clientHeadersTimeout,
        // Node looks for late clients every 30 s unless told otherwise.
        connectionsCheckingInterval: Math.max(50, Math.min(5000, Math.floor(clientHeadersTimeout / 4))),
        requestTimeout: 0
      }
    }
  })
  const redis = shared === undefined ? undefined : connectRedis(shared)
  try {
    if (redis !== undefined) {
      redis.connection.on('away', (reason) => { app.log.warn({ reason }, 'Redis is away: each process goes by itself') })
      redis.connection.on('back', () => { app.log.info('Redis is back') })
      app.addHook('onClose', () => redis.close())
    }
    if (edge !== undefined) await app.register(edge.plugin)
    if (steering !== undefined) await nested('admin', () => steer(app, steering))
    if (caching !== false) await nested('cache', () => app.register(cache, withRedis(caching === true ? {} : caching, redis)))
    if (encoding !== false) await nested('compress', () => app.register(compress, encoding === true ? {} : encoding))
    await app.register(balancer, balancing)
    if (layer4 !== undefined) await nested('stream', () => app.register(stream, layer4))
    if (sticky !== false) await nested('sticky', () => app.register(stickySession, redis === undefined || sticky.table?.store !== undefined ? sticky : { ...sticky, table: { ...sticky.table, store: redis.stickTable() } }))
    if (watching !== false) await nested('health', () => app.register(health, watching))
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}

/**
 * Starts a proxy of its own. Resolves when it listens, after one log line with `msg: 'listening'` and its `address`. `close()`
 * of the app that it gives back lets running requests finish.
 */
export async function serve (options: ServeOptions): Promise<FastifyInstance> {
  const { listen = '127.0.0.1:8080', logLevel = 'info' } = options
  const address = parseListen(listen)
  const app = await build(options)
  try {
    await app.ready()
    // Fastify's own lines, one for each interface and with the address inside a sentence, give way to ours.
    app.log.level = 'silent'
    const url = await listenAt(app, address)
    app.log.level = logLevel
    app.log.info({ address: url }, 'listening')
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}

/** What is shared, over the memory that the options give to each process. */
function withRedis (options: CacheOptions, redis: RedisState | undefined): CacheOptions {
  if (redis === undefined || options.store !== undefined) return options
  const { memory, ...rest } = options
  return { ...rest, store: redis.cache(memory === undefined ? {} : { memory }) }
}

/** Registers a plugin whose options are part of ours, under a name of their own. */
async function nested<T> (name: string, register: () => PromiseLike<T>): Promise<T> {
  try {
    return await register()
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/^options\b/, `options.${name}`).replace(/^options\.sticky\.keys is required/, `options.sticky.keys, or ${KEYS_VARIABLE} in the environment, is required`)
    }
    throw error
  }
}

async function steer (app: FastifyInstance, { prefix = '/headgate', token, readOnly = false, scaling }: ServeAdminOptions): Promise<void> {
  const guard = token === undefined ? fromHere : withToken(token)
  const member = joinWorkers()
  await app.register(metrics, { ...member !== undefined && { collect: (registry) => member.collect(registry) }, route: { path: `${prefix}/metrics`, guard }, scaling: scaling ?? false })
  await app.register(admin, { prefix, guard, readOnly })
}
