// OpenTelemetry: a span for each request by @fastify/otel, under it one for each attempt by Headgate, passed on to the upstream.
import balancer from '@headgate/balancer'
import otel from '@headgate/metrics/otel'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace-node'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[]; exporter: SpanExporter }): Promise<FastifyInstance> {
  // The SDK comes before the app: usually in a file of its own, `node --import ./telemetry.js app.js`.
  const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(options.exporter)] })
  provider.register()

  const app = fastify()
  app.addHook('onClose', async () => { await provider.shutdown() })
  await app.register(new FastifyOtelInstrumentation().plugin())
  await app.register(otel)
  await app.register(balancer, { pools: { web: { upstreams: options.upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] })
  return app
}
