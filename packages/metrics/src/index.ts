import { systemClock } from '@headgate/core'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { openMetrics, wantsOpenMetrics } from './exposition.ts'
import { families, scalingFamilies } from './families.ts'
import { installGuard } from './guard.ts'
import { checkMetrics, type MetricsOptions } from './options.ts'
import { neighboursOf, poolsOf } from './pools-of.ts'
import { Recorder } from './recorder.ts'
import { onResponses } from './responses.ts'
import { routeOf } from './route-of.ts'
import { type PoolAdvice, ScalingWatch } from './scaling/watch.ts'
import { View } from './view.ts'

export { type Guard, type Guarded, installGuard } from './guard.ts'
export { Histogram, geometricBounds, quantile } from './histogram.ts'
export { type MetricsOptions, type MetricsRouteOptions, requireGuard, scalingSchema } from './options.ts'
export { poolsOf } from './pools-of.ts'
export { CacheRecord, EncodingRecord, ListenerRecord, PluginRecords } from './plugin-records.ts'
export { type Pools, Recorder, type RecorderOptions } from './recorder.ts'
export * from './records.ts'
export { onResponses } from './responses.ts'
export { type Advice, type AdviceOptions, Advisor, type LoadSample } from './scaling/advisor.ts'
export type { PoolAdvice, Scaler, ScalingOptions } from './scaling/watch.ts'
export { type UpstreamLog, upstreamSerializer } from './serializer.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The registry that holds Headgate's metrics, for metrics of your own or a route of your own. */
    metrics: Registry
    /** How many upstreams each pool should have, with `scaling`. */
    scaling: Scaling
  }
}

/** What is advised now. */
export interface Scaling {
  /** `undefined` for pools without advice, and in the first second. */
  get (pool: string): PoolAdvice | undefined
  all (): PoolAdvice[]
}

/** For `@headgate/cache`, where it is there: a scrape is no lookup that failed. */
const UNCACHED: object = { cache: false }

const plugin: FastifyPluginAsync<MetricsOptions> = async (app, options) => {
  const settings = checkMetrics(options)
  const registry = options.registry ?? new Registry()
  const recorder = new Recorder(() => poolsOf(app), settings)
  for (const family of families(recorder, neighboursOf(app))) registry.registerMetric(new View(family))
  if (options.defaultMetrics === true) collectDefaultMetrics({ register: registry })
  app.decorate('metrics', registry)

  onResponses(app, (request, reply, duration) => { recorder.response(routeOf(request), request.method, reply.raw.statusCode, duration) })
  recorder.start()
  app.addHook('onClose', async () => { recorder.stop() })

  if (options.scaling !== undefined && options.scaling !== false) {
    const scaling = new ScalingWatch(recorder, options.scaling, options.clock ?? systemClock, app.log)
    for (const family of scalingFamilies(scaling)) registry.registerMetric(new View(family))
    app.decorate('scaling', scaling)
    scaling.start()
    app.addHook('onClose', async () => { scaling.stop() })
  }

  const { route } = options
  if (route === false) return
  await app.register(async (scope) => {
    installGuard(scope, route)
    scope.get(route.path ?? '/metrics', { logLevel: 'warn', config: UNCACHED }, async (request, reply) => {
      reply.header('cache-control', 'no-store').header('vary', 'accept')
      if (options.collect !== undefined) return reply.type(registry.contentType).send(await options.collect(registry))
      if (wantsOpenMetrics(request.headers.accept)) return reply.type(Registry.OPENMETRICS_CONTENT_TYPE).send(await openMetrics(registry))
      return reply.type(registry.contentType).send(await registry.metrics())
    })
  })
}

/** The plugin: `await app.register(metrics, { route: { guard } })`. */
const metrics: FastifyPluginAsync<MetricsOptions> = fp(plugin, { name: '@headgate/metrics', fastify: '5.x' })
export default metrics
