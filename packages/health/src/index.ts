import type { Balancer } from '@headgate/balancer'
import type { Pool } from '@headgate/core'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { AppHealth } from './app-health.ts'
import { NoPoolsError } from './errors.ts'
import { type HealthOptions, parseHealth } from './options.ts'
import { addRoutes } from './routes.ts'

export * from './errors.ts'
export type { AppHealth } from './app-health.ts'
export { checkTiming, probeTypes } from './check-options.ts'
export type { AgentOptions, CheckOptions, CheckTiming } from './check-options.ts'
export type { LoadOptions, RetryAfterOptions } from './load-options.ts'
export { healthSchema } from './options.ts'
export type { HealthOptions, HealthRouteOptions, HealthRoutes, PoolHealthOptions, RouteHooks } from './options.ts'
export type { PassiveOptions } from './passive-options.ts'
export type * from './probes/index.ts'
export type * from './quorum/contract.ts'
export { MemoryVotes } from './quorum/memory.ts'
export type { QuorumOptions } from './quorum/options.ts'
export type { Agreement } from './quorum/tally.ts'
export type { HealthSnapshot, PoolSnapshot, UpstreamSnapshot } from './snapshot.ts'
export type { CheckSharing, SharedResult } from './sharing.ts'
export type { StatusRange } from './statuses.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The health of the pools. */
    health: AppHealth
  }
}

/** The balancer has those of layer 4 among its own; an app of layer 4 alone has no balancer. */
function poolsOf (app: FastifyInstance): ReadonlyMap<string, Pool> {
  for (const name of ['balancer', 'stream'] as const) {
    if (app.hasDecorator(name)) return (app as unknown as Record<typeof name, Pick<Balancer, 'pools'>>)[name].pools
  }
  throw new NoPoolsError()
}

const plugin: FastifyPluginAsync<HealthOptions> = async (app: FastifyInstance, options) => {
  const pools = poolsOf(app)
  const settings = parseHealth(options, pools)
  const health = new AppHealth(options, settings, app.log)
  for (const pool of pools.values()) health.watch(pool)
  app.decorate('health', health)
  const { upstreams, ready, live } = settings.routes
  if (upstreams !== undefined || ready !== undefined || live !== undefined) {
    await app.register(async (scope) => { addRoutes(scope, health, settings.routes) })
  }
  app.addHook('onReady', async () => {
    // Pools of a balancer that was registered after this plugin.
    for (const pool of poolsOf(app).values()) health.watch(pool)
    health.start()
    await health.settled()
  })
  app.addHook('preClose', async () => { health.close() })
}

/** The plugin: `await app.register(health, { check: { path: '/healthz' } })`, after the balancer. */
const health: FastifyPluginAsync<HealthOptions> = fp(plugin, { name: '@headgate/health', fastify: '5.x' })
export default health
