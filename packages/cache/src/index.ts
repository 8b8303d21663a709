import './tick-shape.ts'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { systemClock } from './clock.ts'
import { channels } from './channels.ts'
import { CacheDictionaries } from './dictionaries.ts'
import { isBeingEncoded } from './encoded.ts'
import { Engine } from './engine.ts'
import type { Handler } from './flight/run-handler.ts'
import { lint } from './lint.ts'
import { checkCache, checkRoute, type CacheOptions, type RouteCacheOptions, type RouteSettings, routeSettings } from './options.ts'
import { addPurgeRoutes } from './purge-routes.ts'
import { CacheControls } from './purge.ts'
import { Route } from './route.ts'
import type { CacheStore } from './store/contract.ts'
import { DiskStore } from './store/disk.ts'
import { MemoryStore } from './store/memory.ts'
import { TieredStore } from './store/tiered.ts'

export { channels } from './channels.ts'
export { concerns } from './concern.ts'
export type * from './channels.ts'
export type * from './clock.ts'
export type { Entry, Part } from './entry.ts'
export * from './errors.ts'
export type * from './options.ts'
export { cacheSchema, checkCache } from './options.ts'
export { unkeyedFields } from './poison.ts'
export type { CacheDictionaries, Kept, Versions } from './dictionaries.ts'
export type { CacheControls, Purge } from './purge.ts'
export type { CacheSharing } from './sharing.ts'
export type * from './stats.ts'
export type * from './store/contract.ts'
export { DiskStore, type DiskStoreOptions } from './store/disk.ts'
export { revived } from './store/entry-file.ts'
export { LentStore } from './store/lent.ts'
export { MemoryStore, type MemoryStoreOptions } from './store/memory.ts'
export { UndiciStore, type UndiciCacheStore } from './store/undici.ts'
export { TieredStore, type TieredStoreOptions } from './store/tiered.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Purging and counters. */
    cache: CacheControls
  }
  interface FastifyContextConfig {
    /** The cache's options of this route, on top of those of the plugin; `false`: not cached. */
    cache?: RouteCacheOptions | false
  }
}

const plugin: FastifyPluginAsync<CacheOptions> = async (app: FastifyInstance, options) => {
  checkCache(options)
  const { memory, disk, sharing } = options
  const store: CacheStore = options.store ?? (disk === undefined ? new MemoryStore(memory) : new TieredStore(new DiskStore(disk, sharing), memory))
  const engine = new Engine({ name: options.name ?? 'headgate', store, clock: options.clock ?? systemClock, backgroundMax: options.backgroundMax ?? 64, random: options.random ?? Math.random, sharing })
  const defaults = routeSettings(options)
  engine.urlKeys.add(options.key, defaults.key)
  let failed = false
  store.onEvict = (entry) => {
    engine.stats.evicted++
    if (channels.evict.hasSubscribers) channels.evict.publish({ key: entry.key, size: entry.size })
  }
  store.onFailure = (error) => {
    if (failed) return
    failed = true
    app.log.warn({ err: error }, 'the cache store fails: responses are fetched instead; further failures are not logged')
  }
  const unguard = store.guard?.((entry) => engine.flights.mayUse(entry) || isBeingEncoded(entry))
  if (store.purge !== undefined) store.onPurge = (purge) => { engine.invalidator.outdate(purge) }
  const wrapped = new WeakSet<Handler>()
  const late = app.hasDecorator('balancer')
  let routes = 0
  const own = new WeakMap<RouteCacheOptions, RouteSettings>()
  const settingsOf = (request: FastifyRequest): RouteSettings => {
    const given = request.routeOptions.config.cache
    return given === undefined || given === false ? defaults : own.get(given) ?? defaults
  }
  app.decorate('cache', new CacheControls(engine, store.anyKey === true ? new CacheDictionaries(engine, settingsOf) : undefined))
  app.addHook('onRoute', (route: RouteOptions) => {
    const given = (route.config as { cache?: RouteCacheOptions | false } | undefined)?.cache
    const handler = route.handler as Handler
    // @fastify/websocket calls the handler of such a route with a socket.
    if (given === false || wrapped.has(handler) || (route as { websocket?: boolean }).websocket === true) return
    if (given !== undefined) checkRoute(given, `config.cache of ${route.url}`)
    const settings = given === undefined ? defaults : routeSettings({ ...options, ...given })
    if (given !== undefined) own.set(given, settings)
    if (given?.key !== undefined) engine.urlKeys.add(given.key, settings.key)
    let cached: Route | undefined
    // In the handler's place: every hook of the route, its authentication too, has been by then.
    const handle: Handler = function (this: FastifyInstance, request, reply) {
      cached ??= new Route(settings, handler, this)
      return engine.handle(request, reply, cached)
    }
    wrapped.add(handle)
    routes++
    route.handler = handle as RouteOptions['handler']
  })
  if (options.purge !== undefined) addPurgeRoutes(app, options.purge, app.cache)
  app.addHook('onReady', async () => {
    for (const { rule, message } of lint(app, { late, routes })) app.log.warn({ rule }, message)
  })
  app.addHook('onClose', async () => {
    engine.invalidator.close()
    unguard?.()
    await store.close()
  })
}

/** The plugin: `await app.register(cache, { … })`, before the routes that it is for. */
const cache: FastifyPluginAsync<CacheOptions> = fp(plugin, { name: '@headgate/cache', fastify: '5.x' })
export default cache
