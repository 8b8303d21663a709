import type { RequestListener, Server } from 'node:http'
import balancer, { clientErrors } from '@headgate/balancer'
import type { CacheOptions } from '@headgate/cache'
import health, { type HealthOptions, type QuorumOptions } from '@headgate/health'
import type { Stream } from '@headgate/stream'
import type { Edge } from '@headgate/tls'
import fastify, { type FastifyInstance } from 'fastify'
import type { RedisState } from '@headgate/redis'
import { joinWorkers } from '@headgate/workers'
import { fromHere, withToken } from './admin-guard.ts'
import { instance } from './instance.ts'
import { Kept, type Keeper } from './kept.ts'
import { type TranslatedHealth, withProtocols } from './protocol-checks.ts'
import { countIn } from './limit-store.ts'
import { limitRates, limitsRates } from './rate-limit.ts'
import type { ServeAdminOptions, ServeOptions } from './serve-options.ts'
import { KEYS_VARIABLE } from './sticky.ts'
import { trusted } from './trust-proxy.ts'

/** Path of the dashboard, the admin API and the metrics unless the options say otherwise. */
export const DEFAULT_ADMIN = '/headgate'

/** What a generation of a proxy shares with those before and after it. */
export interface Shared {
  readonly serverFactory?: (handler: RequestListener) => Server
  /** Listeners for TCP and UDP that run already, instead of those of the options. */
  readonly stream?: Stream | undefined
  /** Certificates, where it is served by TLS. */
  readonly edge?: Edge | undefined
  /** What the process keeps: without it the app has everything to itself. */
  readonly kept?: Keeper | undefined
}

/** The app of a proxy, which does not listen yet. */
export async function build (options: ServeOptions, shared: Shared = {}): Promise<FastifyInstance> {
  const {
    listen: _listen, logLevel = 'info', clientHeadersTimeout: _timeout, trustProxy, pools = {}, health: watching = { check: false }, cache: caching = false, compress: encoding = false,
    sticky = false, stream: layer4, redis: store, admin: steering, tls: _tls, rateLimit, ...balancing
  } = options
  const { edge, kept } = shared
  const app = fastify({
    ...edge?.server,
    logger: { level: logLevel },
    ...trustProxy !== undefined && { trustProxy: trusted(trustProxy) },
    clientErrorHandler: clientErrors,
    // Who still sends on a kept connection while it closes is served, and told that the connection ends.
    return503OnClosing: false,
    ...shared.serverFactory !== undefined && { serverFactory: shared.serverFactory as never }
  })
  // What not everybody wants is loaded where it is wanted: Redis' client alone takes as long as all the rest.
  const redis = store === undefined ? undefined : (await import('@headgate/redis')).connectRedis(store)
  try {
    if (redis !== undefined) {
      redis.connection.on('away', (reason) => { app.log.warn({ reason }, 'Redis is away: each process goes by itself') })
      redis.connection.on('back', () => { app.log.info('Redis is back') })
      app.addHook('onClose', () => redis.close())
    }
    if (edge !== undefined) await app.register(edge.fields)
    if (steering !== undefined) await nested('admin', () => steer(app, steering))
    const { routes = [] } = balancing
    if (limitsRates(rateLimit, routes)) await limitRates(app, rateLimit, routes, redis === undefined ? (kept ?? new Kept(undefined)).count : countIn(redis.counters('rate-limit')))
    if (caching !== false) {
      await nested('cache', async () => {
        const options = withRedis(caching === true ? {} : caching, redis)
        return app.register((await import('@headgate/cache')).default, await kept?.cache(options) ?? options)
      })
    }
    if (encoding !== false) await nested('compress', async () => app.register((await import('@headgate/compress')).default, encoding === true ? {} : encoding))
    // Without pools for HTTP there is layer 4 alone, whose pools need no balancer.
    if (Object.keys(pools).length > 0) await app.register(balancer, { ...balancing, pools })
    if (shared.stream !== undefined) borrow(app, shared.stream)
    else if (layer4 !== undefined) await nested('stream', async () => app.register((await import('@headgate/stream')).default, layer4))
    if (sticky !== false) {
      const options = redis === undefined || sticky.table?.store !== undefined ? sticky : { ...sticky, table: { ...sticky.table, store: redis.stickTable() } }
      await nested('sticky', async () => app.register((await import('@headgate/sticky-session')).default, await kept?.sticky(options) ?? options))
    }
    if (watching !== false) await nested('health', async () => app.register(health, withVotes(await withProtocols(watching), redis)))
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}

/** Gives an app listeners that another one runs: its checks, metrics and admin API see them. */
function borrow (app: FastifyInstance, running: Stream): void {
  app.decorate('stream', running)
  if (!app.hasDecorator('balancer')) return
  for (const [name, pool] of running.pools) app.balancer.pools.set(name, pool)
}

/** What is shared, over the memory that the options give to each process. */
function withRedis (options: CacheOptions, redis: RedisState | undefined): CacheOptions {
  if (redis === undefined || options.store !== undefined) return options
  const { memory, ...rest } = options
  return { ...rest, store: redis.cache(memory === undefined ? {} : { memory }) }
}

/** With Redis those who share it decide together. */
function withVotes ({ quorum = {}, ...options }: TranslatedHealth, redis: RedisState | undefined): HealthOptions {
  if (quorum === false || (redis === undefined && Object.keys(quorum).length === 0)) return options
  // Without any store the plugin says what is missing.
  return { ...options, quorum: { ...redis !== undefined && { store: redis.votes({ instance: instance() }) }, ...quorum } as QuorumOptions }
}

/** Registers a plugin whose options are part of ours, under a name of their own. */
export async function nested<T> (name: string, register: () => PromiseLike<T>): Promise<T> {
  try {
    return await register()
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/^options\b/, `options.${name}`).replace(/^options\.sticky\.keys is required/, `options.sticky.keys, or ${KEYS_VARIABLE} in the environment, is required`)
    }
    throw error
  }
}

async function steer (app: FastifyInstance, { prefix = DEFAULT_ADMIN, token, readOnly = false, scaling }: ServeAdminOptions): Promise<void> {
  const [{ default: admin }, { default: metrics }] = await Promise.all([import('@headgate/admin'), import('@headgate/metrics')])
  const guard = token === undefined ? fromHere : withToken(token)
  const member = joinWorkers()
  await app.register(metrics, { ...member !== undefined && { collect: (registry) => member.collect(registry) }, route: { path: `${prefix}/metrics`, guard }, scaling: scaling ?? false })
  await app.register(admin, { prefix, guard, readOnly, ...member !== undefined && { sharing: member.colleagues } })
}
