import { type MeterProvider, type Tracer, type TracerProvider, ProxyTracerProvider, createNoopMeter, metrics, trace } from '@opentelemetry/api'
import type { Pool } from '@headgate/core'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { poolsOf } from '../pools-of.ts'
import { measureClient, measureServer } from './instruments.ts'
import { checkOtel, type OtelOptions } from './options.ts'
import { AttemptSpans } from './spans.ts'

export type { OtelOptions } from './options.ts'

const SCOPE = '@headgate/metrics'

/** `undefined` while no SDK is there: then nobody would read what a tracer makes. */
function tracerOf (provider: TracerProvider): Tracer | undefined {
  if (provider instanceof ProxyTracerProvider && provider.getDelegateTracer(SCOPE) === undefined) return undefined
  return provider.getTracer(SCOPE)
}

const plugin: FastifyPluginAsync<OtelOptions> = async (app, options) => {
  checkOtel(options)
  const pools = (): ReadonlyMap<string, Pool> | undefined => poolsOf(app)
  const tracer = options.spans === false ? undefined : tracerOf(options.tracerProvider ?? trace.getTracerProvider())
  const provider: MeterProvider = options.meterProvider ?? metrics.getMeterProvider()
  const meter = provider.getMeter(SCOPE)
  const measured = meter !== createNoopMeter()
  if (tracer === undefined && !measured) {
    app.log.info('OpenTelemetry has no SDK: nothing is traced or measured for it; start one before the app, with node --import for example')
  }

  if (tracer !== undefined) {
    const spans = new AttemptSpans(tracer, (pool) => pools()?.get(pool.name) === pool)
    spans.start()
    app.addHook('onClose', async () => { spans.stop() })
  }
  if (measured && options.metrics !== false) {
    const stop = measureClient(meter, pools)
    app.addHook('onClose', async () => { stop() })
  }
  if (measured && options.serverMetrics === true) {
    const measure = measureServer(meter)
    app.addHook('onResponse', (request, reply, done) => {
      measure(request, reply)
      done()
    })
  }
}

/** The plugin: `await app.register(otel)`, before the balancer, with an SDK started before the app. Needs `@opentelemetry/api`. */
const otel: FastifyPluginAsync<OtelOptions> = fp(plugin, { name: '@headgate/metrics/otel', fastify: '5.x' })
export default otel
