import { type EventEmitter, once } from 'node:events'
import { get } from 'node:http'
import type { Socket } from 'node:net'
import balancer, { type BalancerOptions } from '@headgate/balancer'
import { channels } from '@headgate/core'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, context, metrics as metricsApi, propagation, trace } from '@opentelemetry/api'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { AggregationTemporality, type DataPoint, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, NodeTracerProvider, ParentBasedSampler, type ReadableSpan, AlwaysOnSampler, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { refusing, upstream } from '../../balancer/test/helpers.ts'
import otel, { type OtelOptions } from '../src/otel/index.ts'

type Point = DataPoint<number & { sum: number; count: number }>

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'
const traceparent = `00-${TRACE}-${PARENT}-01`

async function app (
  t: Test, balancing: BalancerOptions, prepare?: (app: FastifyInstance) => unknown, options: OtelOptions = {}
): Promise<{ server: FastifyInstance; url: string }> {
  const server = Fastify({ forceCloseConnections: true }) as FastifyInstance
  t.teardown(() => server.close())
  await prepare?.(server)
  await server.register(otel, options)
  await server.register(balancer, balancing)
  return { server, url: await server.listen({ port: 0, host: '127.0.0.1' }) }
}

// First of all, as an SDK is there for good once it is.
t.test('without an SDK nobody listens, and trace context passes as it came', async (t) => {
  let seen: string | undefined
  const { url: to } = await upstream(t, (request, response) => {
    seen = request.headers['traceparent'] as string
    response.end()
  })
  const { url } = await app(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, { serverMetrics: true })
  t.notOk(channels.dispatch.hasSubscribers)
  t.notOk(channels.attempt.hasSubscribers)
  await (await fetch(url, { headers: { traceparent } })).text()
  t.equal(seen, traceparent)
})

const exporter = new InMemorySpanExporter()
const sampler = new ParentBasedSampler({ root: new AlwaysOnSampler() })
const provider = new NodeTracerProvider({ sampler, spanProcessors: [new SimpleSpanProcessor(exporter)] })
const measured = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const reader = new PeriodicExportingMetricReader({ exporter: measured, exportIntervalMillis: 3_600_000, exportTimeoutMillis: 60_000 })
const meters = new MeterProvider({ readers: [reader] })

t.beforeEach(() => { exporter.reset() })
t.teardown(async () => {
  await meters.shutdown()
  await provider.shutdown()
})

/** The spans that are there once `count` of Headgate's own have ended. */
async function spans (count: number): Promise<ReadableSpan[]> {
  const ours = (): ReadableSpan[] => exporter.getFinishedSpans().filter(({ instrumentationScope: { name } }) => name === '@headgate/metrics')
  while (ours().length < count) await new Promise((resolve) => { setTimeout(resolve, 2) })
  return ours()
}

t.test('with an SDK', async (t) => {
  provider.register()
  metricsApi.setGlobalMeterProvider(meters)

  await t.test('what the app asks for itself is a child of what is active where it asks, though it waits for its turn', async (t) => {
    const answers: (() => void)[] = []
    const { url: to } = await upstream(t, (_, response) => { answers.push(() => { response.end() }) })
    const { server } = await app(t, { pools: { web: { upstreams: [to], maxInFlight: 1 } } })
    const dispatcher = server.balancer.dispatcher('web')
    const tracer = trace.getTracer('test')
    const ask = (name: string): Promise<unknown> => tracer.startActiveSpan(name, async (span) => {
      await (await request('http://web/', { dispatcher })).body.dump()
      span.end()
    })
    const both = [ask('first'), ask('second')]
    for (let i = 0; i < 2; i++) {
      while (answers.length <= i) await new Promise((resolve) => { setImmediate(resolve) })
      answers[i]!()
    }
    await Promise.all(both)
    const ours = await spans(2)
    const nameOf = (id: string | undefined): string | undefined => exporter.getFinishedSpans().find((span) => span.spanContext().spanId === id)?.name
    t.same(ours.map(({ parentSpanContext }) => nameOf(parentSpanContext?.spanId)), ['first', 'second'])
  })

  await t.test('beside @fastify/otel each attempt is a client span under the request\'s, and its context goes to its upstream', async (t) => {
    const seen: { traceparent: string | undefined; tracestate: string | undefined }[] = []
    const note = (status: number) => upstream(t, (request, response) => {
      const { traceparent, tracestate } = request.headers as Record<string, string | undefined>
      seen.push({ traceparent, tracestate })
      response.writeHead(status).end('hello')
    })
    const [bad, good] = [await note(503), await note(200)]
    const { url } = await app(t, {
      pools: { web: { upstreams: [{ url: bad.url, id: 'bad' }, { url: good.url, id: 'good' }], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }]
    }, async (app) => { await app.register(new FastifyOtelInstrumentation().plugin()) })
    const response = await fetch(`${url}/a/b?x=1&sig=secret`, { headers: { traceparent, tracestate: 'vendor=1' } })
    t.equal(await response.text(), 'hello')

    const [first, second] = await spans(2) as [ReadableSpan, ReadableSpan]
    const server = exporter.getFinishedSpans().find(({ kind }) => kind === SpanKind.SERVER)!
    t.equal(server.spanContext().traceId, TRACE)
    for (const span of [first, second]) {
      t.equal(span.kind, SpanKind.CLIENT)
      t.equal(span.name, 'GET')
      t.equal(span.parentSpanContext?.spanId, server.spanContext().spanId)
    }
    t.same(seen, [first, second].map((span) => ({ traceparent: `00-${TRACE}-${span.spanContext().spanId}-01`, tracestate: 'vendor=1' })))
    const { port } = new URL(bad.url)
    t.match(first.attributes, {
      'http.request.method': 'GET', 'server.address': '127.0.0.1', 'server.port': Number(port), 'url.full': `${bad.url}/a/b?x=1&sig=REDACTED`,
      'url.scheme': 'http', 'network.protocol.version': '1.1', 'http.response.status_code': 503, 'error.type': '503', 'http.request.body.size': 0,
      'headgate.pool': 'web', 'headgate.upstream': 'bad', 'headgate.attempt': 1, 'headgate.choice': 'policy', 'headgate.reason': 'status-503'
    })
    t.notOk('http.request.resend_count' in first.attributes)
    t.same(first.status, { code: SpanStatusCode.ERROR })
    t.match(second.attributes, {
      'server.port': Number(new URL(good.url).port), 'http.request.resend_count': 1, 'http.response.status_code': 200, 'http.response.body.size': 5,
      'headgate.upstream': 'good', 'headgate.attempt': 2, 'headgate.choice': 'alternative', 'headgate.outcome': 'ok'
    })
    t.notOk('error.type' in second.attributes)
    t.equal(second.status.code, SpanStatusCode.UNSET)
  })

  await t.test('an upgrade, as to a WebSocket, is an attempt as any other: its span ends with the tunnel and counts its bytes', async (t) => {
    let seen: string | string[] | undefined
    const echo = await upstream(t, () => {})
    echo.server.on('upgrade', ({ headers }, socket) => {
      seen = headers['traceparent']
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.pipe(socket)
    })
    const { server, url } = await app(t, { pools: { web: [echo.url] }, routes: [{ prefix: '/', pool: 'web' }] })
    const request = get(url, { headers: { traceparent, connection: 'Upgrade', upgrade: 'echo' } })
    const [, socket] = await once(request, 'upgrade') as [unknown, Socket]
    socket.write('x'.repeat(1000))
    await once(socket, 'data')
    t.equal(exporter.getFinishedSpans().length, 0, 'it runs')
    const ended = once(server.balancer.pool('web') as unknown as EventEmitter, 'outcome')
    socket.end()
    await ended
    const [span] = await spans(1) as [ReadableSpan]
    t.match(span.attributes, { 'http.request.method': 'GET', 'http.response.status_code': 101, 'headgate.pool': 'web', 'headgate.attempt': 1, 'headgate.outcome': 'ok' })
    t.ok(Number(span.attributes['http.response.body.size']) >= 1000)
    t.equal(seen, `00-${TRACE}-${span.spanContext().spanId}-01`)
  })

  await t.test('a failed connection is an error with its reason; methods that nobody knows name no span', async (t) => {
    const to = await refusing()
    const { url } = await app(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', retry: false }] })
    t.equal((await fetch(url, { method: 'PROPFIND', headers: { traceparent } })).status, 502)
    const [span] = await spans(1) as [ReadableSpan]
    t.equal(span.name, 'HTTP')
    t.equal(span.parentSpanContext?.spanId, PARENT, 'nobody makes a server span: the client\'s own is the parent')
    t.same(span.status, { code: SpanStatusCode.ERROR, message: 'connect-refused' })
    t.match(span.attributes, {
      'http.request.method': '_OTHER', 'http.request.method_original': 'PROPFIND', 'error.type': 'connect-refused', 'headgate.outcome': 'failed-before-send'
    })
    t.notOk('http.response.status_code' in span.attributes)
  })

  await t.test('undici\'s instrumentation sees what hooks fetch, in the same trace, and no attempt twice', async (t) => {
    const instrumentation = new UndiciInstrumentation()
    t.teardown(() => { instrumentation.disable() })
    const users = await upstream(t, (_, response) => { response.end('{}') })
    const { url: to } = await upstream(t, (_, response) => { response.end('x') })
    const { url, server } = await app(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, async (app) => {
      await app.register(new FastifyOtelInstrumentation().plugin())
      app.addHook('preHandler', async () => { await (await fetch(`${users.url}/who`)).text() })
    })
    t.equal((await server.inject({ url: '/', headers: { traceparent } })).body, 'x')
    await spans(1)
    const clients = exporter.getFinishedSpans().filter(({ kind }) => kind === SpanKind.CLIENT)
    t.same(new Set(clients.map(({ attributes }) => attributes['url.full'])), new Set([`${to}/`, `${users.url}/who`]))
    t.equal(clients.length, 2)
    for (const client of clients) t.equal(client.spanContext().traceId, TRACE)
    t.ok(url)
  })

  await t.test('what waited in the queue stays in its own request\'s trace, under what was active around its handler', async (t) => {
    const held: (() => void)[] = []
    const { url: to } = await upstream(t, (_, response) => { held.push(() => { response.end() }) })
    const parents = new Map<string, string>()
    const { url, server } = await app(t, {
      pools: { web: { upstreams: [to], maxInFlight: 1, queue: { limit: 1, timeout: 600_000 } } }, routes: [{ prefix: '/', pool: 'web' }]
    }, (app) => {
      app.addHook('onRequest', (request, _reply, done) => {
        const span = provider.getTracer('mine').startSpan('mine', {}, ROOT_CONTEXT)
        parents.set(request.url, span.spanContext().spanId)
        context.with(trace.setSpan(ROOT_CONTEXT, span), done)
      })
    })
    const one = fetch(`${url}/one`)
    while (held.length === 0) await new Promise((resolve) => { setTimeout(resolve, 2) })
    const two = fetch(`${url}/two`)
    while (server.balancer.pool('web').queued === 0) await new Promise((resolve) => { setTimeout(resolve, 2) })
    held[0]!()
    await (await one).text()
    while (held.length === 1) await new Promise((resolve) => { setTimeout(resolve, 2) })
    held[1]!()
    await (await two).text()
    const made = await spans(2)
    t.same(made.map(({ parentSpanContext }) => parentSpanContext?.spanId), [parents.get('/one'), parents.get('/two')])
  })

  await t.test('who is not sampled stays so, and what Baggage came goes on', async (t) => {
    let seen: Record<string, unknown> = {}
    const { url: to } = await upstream(t, (request, response) => {
      seen = request.headers
      response.end()
    })
    const { url } = await app(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
    await (await fetch(url, { headers: { traceparent: `00-${TRACE}-${PARENT}-00`, baggage: 'a=1' } })).text()
    t.match(seen['traceparent'], new RegExp(`^00-${TRACE}-(?!${PARENT})[0-9a-f]{16}-00$`))
    t.equal(seen['baggage'], 'a=1')
    await (await fetch(url, { headers: { traceparent: 'garbage', tracestate: 'vendor=1' } })).text()
    const [span] = await spans(1) as [ReadableSpan]
    t.equal(seen['traceparent'], `00-${span.spanContext().traceId}-${span.spanContext().spanId}-01`)
    t.notOk(seen['tracestate'], 'it was of a trace that nobody knows')
    t.same(propagation.fields(), ['traceparent', 'tracestate', 'baggage'])
  })

  await t.test('metrics have the names and attributes of the conventions', async (t) => {
    const { url: to } = await upstream(t, (request, response) => { request.resume().on('end', () => response.end('hello')) })
    const { url } = await app(t, { pools: { measured: [to] }, routes: [{ prefix: '/', pool: 'measured' }] }, undefined, { serverMetrics: true, spans: false })
    await (await fetch(`${url}/x`, { method: 'POST', body: 'abc' })).text()
    await reader.forceFlush()
    const all = measured.getMetrics().at(-1)!.scopeMetrics.filter(({ scope }) => scope.name === '@headgate/metrics').flatMap(({ metrics }) => metrics)
    const points = (name: string): Point[] => (all.find(({ descriptor }) => descriptor.name === name)!.dataPoints as Point[])
      .filter(({ attributes }) => attributes['headgate.pool'] === 'measured' || name.includes('server'))
    const where = { 'server.address': '127.0.0.1', 'server.port': Number(new URL(to).port), 'url.scheme': 'http', 'headgate.pool': 'measured' }
    const [duration] = points('http.client.request.duration')
    t.same(duration!.attributes, { ...where, 'http.request.method': 'POST', 'http.response.status_code': 200, 'network.protocol.version': '1.1' })
    t.equal(duration!.value.count, 1)
    t.equal(all.find(({ descriptor: { name } }) => name === 'http.client.request.duration')!.descriptor.unit, 's')
    t.equal(points('http.client.request.body.size')[0]!.value.sum, 3)
    t.equal(points('http.client.response.body.size')[0]!.value.sum, 5)
    t.equal(points('http.client.active_requests')[0]!.value, 0)
    t.same(points('http.client.open_connections').map(({ attributes, value }) => [attributes['http.connection.state'], value]), [['active', 0], ['idle', 1]])
    t.same(points('http.server.request.duration')[0]!.attributes, {
      'http.request.method': 'POST', 'url.scheme': 'http', 'http.response.status_code': 200, 'network.protocol.version': '1.1', 'http.route': '/*'
    })
  })

  await t.test('after close nobody listens, and another app\'s pools are not this one\'s', async (t) => {
    const { url: to } = await upstream(t, (_, response) => { response.end() })
    const balancing = { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }
    const { server } = await app(t, balancing)
    const other = Fastify() as FastifyInstance
    await other.register(balancer, balancing)
    await other.inject('/')
    await other.close()
    t.equal((await spans(0)).length, 0)
    t.ok(channels.dispatch.hasSubscribers)
    await server.close()
    t.notOk(channels.dispatch.hasSubscribers)
  })
})

t.test('options are checked', async (t) => {
  for (const [options, message] of [
    [{ span: true }, /options\.span: unknown option; known are/], [{ spans: 1 }, /options\.spans/], [{ tracerProvider: {} }, /options\.tracerProvider/]
  ] as const) await t.rejects(async () => Fastify().register(otel, options as never), { code: 'HG_POOL_INVALID_OPTION', message })
})
