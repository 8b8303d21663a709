import { channel } from 'node:diagnostics_channel'
import { channels } from '@headgate/core'
import balancer, { type BalancerOptions } from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import { Counter, Registry } from 'prom-client'
import t, { type Test } from 'tap'
import metrics, { type MetricsOptions } from '../src/index.ts'
import { upstream } from '../../balancer/test/helpers.ts'

const OPEN: MetricsOptions = { route: { unsafe: true } }

async function app (t: Test, balancing: BalancerOptions | undefined, options: MetricsOptions = OPEN): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metrics, options)
  if (balancing !== undefined) await app.register(balancer, balancing)
  return app
}

/** The value of one line of the exposition; NaN when it is not there. */
function value (text: string, line: string): number {
  const found = text.split('\n').find((candidate) => candidate.startsWith(`${line} `))
  return Number(found?.slice(line.length + 1) ?? NaN)
}

async function scrape (app: FastifyInstance, accept = '*/*'): Promise<string> {
  const response = await app.inject({ url: '/metrics', headers: { accept } })
  return response.body
}

t.test('what attempts did, by pool and upstream', async (t) => {
  const good = await upstream(t, (request, response) => { request.resume().on('end', () => response.end('hello')) })
  const bad = await upstream(t, (_, response) => { response.writeHead(503).end() })
  const server = await app(t, {
    pools: { web: { upstreams: [{ url: bad.url, id: 'bad', zone: 'a"b\\c\n' }, { url: good.url, id: 'good' }], policy: 'first' } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  const url = await server.listen({ port: 0, host: '127.0.0.1' })
  t.equal(await (await fetch(`${url}/x`)).text(), 'hello')
  await (await fetch(`${url}/x`, { method: 'POST', body: 'abc' })).text()

  const text = await scrape(server)
  const own = (name: string, target: string, rest: string) => value(text, `headgate_upstream_${name}{pool="web",upstream="${target}"${rest}}`)
  t.equal(own('requests_total', bad.url, ',method="GET",class="5xx"'), 1)
  t.equal(own('requests_total', good.url, ',method="GET",class="2xx"'), 1)
  t.equal(own('retry_attempts_total', good.url, ''), 1)
  t.equal(own('received_bytes_total', good.url, ''), 5)
  t.equal(own('sent_bytes_total', bad.url, ''), 3, 'the POST was answered 503 and not repeated')
  t.equal(own('head_seconds_count', good.url, ''), 1)
  t.equal(own('duration_seconds_bucket', good.url, ',le="+Inf"'), 1)
  t.equal(own('connect_seconds_count', good.url, ''), 1)
  t.equal(own('state', good.url, ',state="up"'), 1)
  t.equal(own('state', good.url, ',state="down"'), 0)
  t.equal(own('in_flight', good.url, ''), 0)
  t.match(text, String.raw`zone="a\"b\\c\n"`, 'label values are escaped')
  t.equal(value(text, 'headgate_pool_retries_total{pool="web",reason="status-503"}'), 1)
  t.equal(value(text, 'headgate_pool_ready_upstreams{pool="web"}'), 2)
  t.equal(value(text, 'headgate_route_requests_total{route="/*",method="GET",class="2xx"}'), 1)
  t.equal(value(text, 'headgate_route_requests_total{route="/*",method="POST",class="5xx"}'), 1)
})

t.test('queue, shed and budget', async (t) => {
  const held: (() => void)[] = []
  const slow = await upstream(t, (_, response) => { held.push(() => response.end()) })
  const server = await app(t, {
    pools: { web: { upstreams: [slow.url], maxInFlight: 1, queue: { limit: 1, timeout: 600_000 } } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  const first = server.inject('/')
  while (held.length === 0) await new Promise((resolve) => { setImmediate(resolve) })
  const second = server.inject('/')
  while (server.balancer.pool('web').queued === 0) await new Promise((resolve) => { setImmediate(resolve) })
  t.equal((await server.inject('/')).statusCode, 503)
  t.equal(value(await scrape(server), 'headgate_pool_queue_length{pool="web"}'), 1)
  held.shift()!()
  await first
  while (held.length === 0) await new Promise((resolve) => { setImmediate(resolve) })
  held.shift()!()
  await second
  const text = await scrape(server)
  t.equal(value(text, 'headgate_pool_shed_total{pool="web",reason="queue-full"}'), 1)
  t.equal(value(text, 'headgate_pool_queue_departures_total{pool="web",outcome="granted"}'), 1)
  t.equal(value(text, 'headgate_pool_queue_wait_seconds_count{pool="web"}'), 1)
})

t.test('removed upstreams disappear, and late attempts do not bring them back', async (t) => {
  let finish = () => {}
  let reached = () => {}
  const arrived = new Promise<void>((resolve) => { reached = resolve })
  const a = await upstream(t, (_, response) => {
    finish = () => response.end()
    reached()
  })
  const b = await upstream(t, (_, response) => { response.end() })
  const server = await app(t, {
    pools: { web: { upstreams: [{ url: a.url, id: 'a' }, { url: b.url, id: 'b' }], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }]
  })
  const late = server.inject('/')
  await arrived
  t.match(await scrape(server), a.url)
  await server.balancer.pool('web').remove('a', 0)
  finish()
  await late
  const text = await scrape(server)
  t.notMatch(text, a.url)
  t.match(text, b.url)
})

t.test('labels are bounded', async (t) => {
  const a = await upstream(t, (_, response) => { response.end() })
  const server = await app(t, { pools: { web: [a.url] }, routes: [{ prefix: '/p', pool: 'web' }] }, { ...OPEN, upstreamLimit: 0, routeLimit: 2 })
  for (const path of ['/one', '/two', '/three']) server.get(path, async () => 'x')
  await server.inject({ url: '/p', method: 'PROPFIND' as never })
  await server.inject('/nowhere/at/all')
  for (const path of ['/one', '/two', '/three']) await server.inject(path)
  const text = await scrape(server)
  t.notMatch(text, a.url, 'no series of its own')
  t.equal(value(text, 'headgate_pool_requests_total{pool="web",method="other",class="2xx"}'), 1)
  t.equal(value(text, 'headgate_route_requests_total{route="unmatched",method="GET",class="4xx"}'), 1)
  t.equal(value(text, 'headgate_route_requests_total{route="other",method="GET",class="2xx"}'), 3)
})

t.test('what other plugins tell is taken, also when fields are missing', async (t) => {
  const server = await app(t, undefined)
  channel('headgate:cache:lookup').publish({ key: 'k', result: 'hit', reason: '' })
  channel('headgate:stream:end').publish({ listener: 'db', protocol: 'tcp', reason: 'closed' })
  channel('headgate:cache:lookup').publish({})
  channel('headgate:http2:limit').publish({ reason: 'resets', closed: true, remoteAddress: '192.0.2.1' })
  channel('headgate:cache:store').publish({ key: 'k', stored: true, reason: '', size: 10 })
  channel('headgate:cache:evict').publish({ key: 'k', size: 7 })
  channel('headgate:cache:purge').publish({ by: 'tag', value: 'x', soft: false, count: 1 })
  const text = await scrape(server)
  t.equal(value(text, 'headgate_cache_lookups_total{result="hit"}'), 1)
  t.equal(value(text, 'headgate_cache_lookups_total{result="unknown"}'), 1)
  t.equal(value(text, 'headgate_cache_stored_bytes_total'), 10)
  t.equal(value(text, 'headgate_cache_evicted_bytes_total'), 7)
  t.equal(value(text, 'headgate_cache_purges_total{by="tag"}'), 1)
  t.equal(value(text, 'headgate_stream_ends_total{listener="db",protocol="tcp",reason="closed"}'), 1)
  t.equal(value(text, 'headgate_stream_connect_seconds_count{listener="db",protocol="tcp"}'), 0)
})

t.test('two apps of one process keep their figures apart', async (t) => {
  const a = await upstream(t, (_, response) => { response.end() })
  const balancing: BalancerOptions = { pools: { web: [a.url] }, routes: [{ prefix: '/', pool: 'web' }] }
  const [one, two] = [await app(t, balancing), await app(t, balancing)]
  await one.inject('/')
  const line = `headgate_upstream_requests_total{pool="web",upstream="${a.url}",method="GET",class="2xx"}`
  t.equal(value(await scrape(one), line), 1)
  t.ok(Number.isNaN(value(await scrape(two), line)))
})

t.test('nobody listens after close, nor without the plugin', async (t) => {
  const names = ['attempt', 'connect', 'queue', 'health', 'membership', 'retry', 'shed', 'sticky', 'mirror', 'comparison'] as const
  const server = await app(t, undefined)
  t.ok(names.every((name) => channels[name].hasSubscribers))
  await server.close()
  t.notOk(names.some((name) => channels[name].hasSubscribers))
})

t.test("a shadow's copies and comparisons", async (t) => {
  const [a, b] = [await upstream(t, (_, response) => { response.end('a') }), await upstream(t, (_, response) => { response.end('b') })]
  const server = await app(t, {
    pools: { web: [a.url], next: [b.url] },
    routes: [{ prefix: '/', pool: 'web', mirror: { pool: 'next', compare: true, bodyLimit: 1 } }]
  })
  const compared = new Promise((resolve) => { server.balancer.pool('next').once('compared', resolve) })
  await server.inject('/')
  await compared
  await server.inject({ method: 'POST', url: '/', payload: 'long', headers: { 'content-type': 'text/plain' } })
  const text = await scrape(server)
  t.equal(value(text, 'headgate_pool_mirrored_total{pool="next",result="answered"}'), 1)
  t.equal(value(text, 'headgate_pool_mirrored_total{pool="next",result="dropped"}'), 1)
  t.equal(value(text, 'headgate_pool_mirror_dropped_total{pool="next",reason="body-too-large"}'), 1)
  t.equal(value(text, 'headgate_pool_mirror_compared_total{pool="next",result="different"}'), 1)
})

t.test('the guard stands in front', async (t) => {
  const server = await app(t, undefined, {
    route: {
      path: '/internal/metrics',
      guard: [(request, reply, done) => { if (request.headers.authorization === 'Bearer let-me') done(); else void reply.code(401).send() }]
    }
  })
  t.equal((await server.inject('/internal/metrics')).statusCode, 401)
  t.equal((await server.inject({ url: '/internal/metrics', headers: { authorization: 'Bearer let-me' } })).statusCode, 200)
  for (const [options, message] of [
    [{ route: {} }, /options\.route\.guard: is required/],
    [{ route: { unsafe: true, guard: 'x' } }, /options\.route\.guard/],
    [{ route: { unsafe: true }, buckets: [1, 1] }, /options\.buckets: must ascend/],
    [{ route: { unsafe: true }, bucket: [1] }, /options\.bucket: unknown option; known are/],
    [{}, /options\.route: is required/]
  ] as const) {
    await t.rejects(async () => Fastify().register(metrics, options as never), { code: 'HG_POOL_INVALID_OPTION', message })
  }
})

t.test('OpenMetrics on request, and the text format stays as it was', async (t) => {
  const registry = new Registry()
  registry.setDefaultLabels({ region: 'here' })
  new Counter({ name: 'mine_total', help: 'Of the user.', registers: [registry] }).inc(3)
  const server = await app(t, undefined, { ...OPEN, registry })
  t.equal(server.metrics, registry)
  const accept = 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5'
  const response = await server.inject({ url: '/metrics', headers: { accept } })
  t.match(response.headers['content-type'], 'application/openmetrics-text')
  t.match(response.body, '# TYPE mine counter\n')
  t.match(response.body, 'mine_total{region="here"} 3')
  t.match(response.body, /\n# EOF\n$/)
  t.match(await scrape(server), '# TYPE mine_total counter\n')
  t.match(await scrape(server, 'text/plain, application/openmetrics-text;q=0.1'), '# TYPE mine_total counter\n')
  t.match((await server.inject({ url: '/metrics', headers: { accept } })).body, 'mine_total{region="here"} 3', 'and again')
})
