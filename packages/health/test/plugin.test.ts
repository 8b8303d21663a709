import { createServer } from 'node:http'
import { type AddressInfo, createServer as createNetServer } from 'node:net'
import basicAuth from '@fastify/basic-auth'
import balancer, { type BalancerPoolOptions } from '@headgate/balancer'
import { channels, Deadlines, type HealthMessage, httpPool, type Lease, Pool, type PoolKind, type ProbeMessage, systemClock } from '@headgate/core'
import fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import health, { type HealthOptions, type HealthSnapshot } from '../src/index.ts'
import { listen, until, upstream } from './helpers.ts'

const fast = { interval: 30, timeout: 2000, rise: 2, fall: 2 }

async function build (
  t: Test, pools: Record<string, string[] | BalancerPoolOptions>, options: HealthOptions, prepare?: (app: FastifyInstance) => unknown
): Promise<{ app: FastifyInstance; lines: Record<string, unknown>[] }> {
  const lines: Record<string, unknown>[] = []
  const app = fastify({
    forceCloseConnections: true,
    logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } }
  })
  t.teardown(() => app.close())
  await app.register(balancer, { pools, routes: Object.keys(pools).map((pool) => ({ prefix: `/${pool}`, pool })) })
  await prepare?.(app)
  await app.register(health, options)
  return { app, lines }
}

t.test('an upstream dies and comes back: its state, one log line and one message for each change, no failed request', async (t) => {
  let well = true
  const sick = await upstream(t, (_, response) => response.writeHead(well ? 200 : 500).end('sick'))
  const fine = await upstream(t, (_, response) => response.end('fine'))
  const { app, lines } = await build(t, { web: [sick.url, fine.url] }, { check: { path: '/', ...fast } })
  const changes: HealthMessage[] = []
  const probes: ProbeMessage[] = []
  const hearChange = (message: unknown): void => { changes.push(message as HealthMessage) }
  const hearProbe = (message: unknown): void => { probes.push(message as ProbeMessage) }
  channels.health.subscribe(hearChange)
  channels.probe.subscribe(hearProbe)
  t.teardown(() => {
    channels.health.unsubscribe(hearChange)
    channels.probe.unsubscribe(hearProbe)
  })
  await app.ready()
  const state = (): string => app.health.snapshot().pools['web']!.upstreams[0]!.state
  await until(() => app.health.snapshot().pools['web']!.upstreams[0]!.streak.successes >= 2)
  well = false
  await until(() => state() === 'down')
  for (let i = 0; i < 20; i++) {
    const { statusCode, body } = await app.inject('/web')
    t.equal(`${statusCode} ${body}`, '200 fine')
  }
  well = true
  await until(() => state() === 'up')
  const before = lines.filter(({ msg }) => msg === 'upstream changed its state')
  t.equal(before.length, 2, 'one line for each change')
  t.match(before[0], { pool: 'web', upstream: sick.url, from: 'up', to: 'down', reason: 'http check: status 500', decidedBy: 'check', evidence: { failures: 2 }, forced: false })
  t.match(changes, [
    { pool: 'web', url: sick.url, from: 'up', to: 'down', reason: 'http check: status 500' },
    { pool: 'web', url: sick.url, from: 'down', to: 'up', reason: 'http check: status 200', evidence: { successes: 2 } }
  ])
  t.match(probes.find(({ ok }) => !ok), { pool: 'web', url: sick.url, kind: 'http', ok: false, reason: 'status 500', latency: Number, at: Number })
  t.match(app.health.snapshot().pools['web']!.upstreams[0], {
    url: sick.url, state: 'up', ready: true, decidedBy: 'check', lastCheck: { kind: 'http', ok: true, reason: 'status 200' }, forced: null,
    history: [{ to: 'down' }, { to: 'up' }]
  })
})

t.test("app.ready() waits for the first passed check of those that are to 'wait'", async (t) => {
  let requests = 0
  const { url } = await upstream(t, (_, response) => {
    // Late, but well.
    setTimeout(() => { response.writeHead(++requests < 3 ? 503 : 200).end() }, 20)
  })
  const { app } = await build(t, { web: [url] }, { check: { path: '/', ...fast, initial: 'wait' } })
  await app.ready()
  t.ok(requests >= 3)
  t.ok(app.health.ready)
  t.equal((await app.inject('/web')).statusCode, 200)
})

t.test('app.ready() does not wait longer than readyTimeout', async (t) => {
  const { app, lines } = await build(t, { web: ['http://127.0.0.1:1'] }, { check: { path: '/', ...fast, initial: 'wait' }, readyTimeout: 60 })
  await app.ready()
  t.notOk(app.health.ready)
  t.equal((await app.inject('/web')).statusCode, 503)
  t.ok(lines.some(({ msg }) => String(msg).includes('starts all the same')))
})

t.test('routes: off unless asked for; readiness, liveness, all that is known, with hooks of the user', async (t) => {
  const { url, stop } = await upstream(t, (_, response) => response.end())
  const plain = await build(t, { web: [url] }, {})
  for (const path of ['/readyz', '/livez', '/health/upstreams']) t.equal((await plain.app.inject(path)).statusCode, 404)
  const { app } = await build(t, { web: [url], other: ['http://127.0.0.1:1'] }, {
    check: { path: '/', ...fast, initial: 'wait' },
    readyTimeout: 0,
    required: ['web'],
    routes: { ready: true, live: '/healthz', upstreams: { path: '/internal/upstreams', onRequest: (request, reply, done) => app.basicAuth(request, reply, done) } }
  }, (app) => app.register(basicAuth, { validate: (_name, password, _request, _reply, done) => { done(password === 'right' ? undefined : new Error('wrong')) } }))
  await app.ready()
  t.match((await app.inject('/readyz')).json(), { status: 'no upstream is ready', pools: { web: 0 } })
  await until(() => app.health.ready)
  const ready = await app.inject('/readyz')
  t.equal(ready.statusCode, 200)
  t.equal(ready.headers['cache-control'], 'no-store')
  t.same(ready.json(), { status: 'ready', pools: { web: 1 } })
  t.equal((await app.inject({ method: 'HEAD', url: '/readyz' })).statusCode, 200)
  t.same((await app.inject('/healthz')).json(), { status: 'live' })
  t.equal((await app.inject('/internal/upstreams')).statusCode, 401)
  await until(() => app.health.snapshot().pools['other']!.upstreams[0]!.lastCheck !== null)
  const authorization = `Basic ${Buffer.from('me:right').toString('base64')}`
  const shown = (await app.inject({ url: '/internal/upstreams', headers: { authorization } })).json<HealthSnapshot>()
  t.match(shown, { ready: true, pools: { web: { ready: 1, total: 1, required: true, panic: false }, other: { ready: 0, required: false } } })
  t.match(shown.pools['other']!.upstreams[0], { state: 'down', lastCheck: { ok: false, reason: /^connect-refused/ } })
  await stop()
  await until(() => !app.health.ready)
  t.equal((await app.inject('/readyz')).statusCode, 503)
  t.equal((await app.inject('/healthz')).statusCode, 200, 'it still lives')
})

t.test('readiness needs any, or all, and ends with closing', async (t) => {
  const { url } = await upstream(t, (_, response) => response.end())
  for (const [need, expected] of [['any', true], ['all', false]] as const) {
    const { app } = await build(t, { good: [url], bad: ['http://127.0.0.1:1'] }, { check: { path: '/', ...fast }, need })
    await app.ready()
    await until(() => app.health.snapshot().pools['bad']!.ready === 0)
    t.equal(app.health.ready, expected, need)
    await app.close()
    t.notOk(app.health.ready, 'not after its end')
  }
})

t.test('an operator outranks all evidence, and is seen to', async (t) => {
  const { url } = await upstream(t, (_, response) => response.writeHead(500).end())
  const { app } = await build(t, { web: [url] }, { check: { path: '/', ...fast } })
  await app.ready()
  const { id } = app.health.snapshot().pools['web']!.upstreams[0]!
  const shown = () => app.health.snapshot().pools['web']!.upstreams[0]!
  await until(() => shown().state === 'down')
  app.health.force('web', id, 'up', 'I know better')
  t.match(shown(), { state: 'up', forced: 'up', reason: 'I know better', decidedBy: 'operator', ready: true })
  const { checks } = shown().counts
  await until(() => shown().counts.checks > checks + 3)
  t.equal(shown().state, 'up')
  app.health.force('web', id, 'maintenance')
  t.match(shown(), { state: 'maintenance', forced: 'maintenance', reason: 'forced: maintenance' })
  app.health.force('web', id, 'drain')
  t.equal(shown().state, 'draining')
  app.health.force('web', id, undefined)
  t.match(shown(), { state: 'down', forced: null, reason: 'http check: status 500', decidedBy: 'check' })
  t.match(shown().history.at(-2), { forced: true, decidedBy: 'operator' })
  t.throws(() => { app.health.force('none', id, 'up') }, { code: 'HG_POOL_UNKNOWN' })
  t.throws(() => { app.health.force('web', 'none', 'up') }, { code: 'HG_UPSTREAM_UNKNOWN' })
})

t.test('pools differ: their own options on top of those for all, and pools of a later balancer', async (t) => {
  const paths: string[] = []
  const { url } = await upstream(t, (request, response) => {
    paths.push(request.url!)
    response.end()
  })
  const { app } = await build(t, { a: [url], b: [url], c: [url], d: [url] }, {
    check: { path: '/all', ...fast },
    pools: { b: { check: { path: '/b' } }, c: false, d: { check: { type: 'function', run: () => ({ ok: true, reason: 'own' }) }, passive: { serverErrors: 1 } } }
  })
  await app.register(balancer, { pools: { later: [url] } })
  await app.ready()
  await until(() => ['/all', '/b'].every((path) => paths.includes(path)))
  const { pools } = app.health.snapshot()
  await until(() => app.health.snapshot().pools['later']!.upstreams[0]!.lastCheck !== null)
  t.equal(pools['c']!.upstreams[0]!.lastCheck, null)
  await until(() => app.health.snapshot().pools['d']!.upstreams[0]!.lastCheck !== null)
  t.match(app.health.snapshot().pools['d']!.upstreams[0]!.lastCheck, { kind: 'function', reason: 'own' })
})

t.test('wrong options end the start, with their path', async (t) => {
  const cases: [unknown, RegExp][] = [
    [{ chek: {} }, /^options\.chek: unknown option; known are check, passive/],
    [{ check: 5 }, /^options\.check: /],
    [{ check: { interval: 5 } }, /^options\.check\.interval: must be >= 20; got 5/],
    [{ check: { path: 'healthz' } }, /^options\.check\.path: must match pattern .*'healthz'/],
    [{ check: { path: '/', statuses: '200-99' } }, /^options\.check\.statuses: .*'200-99'/],
    [{ check: { path: '/', statuses: [200, 700] } }, /^options\.check\.statuses\[1\]: .*700/],
    [{ check: { path: '/', body: 5 } }, /^options\.check\.body: must be a string, a RegExp or a function/],
    [{ check: { path: '/', headers: { 'a b': 'x' } } }, /^options\.check\.headers: must have tokens as names; got 'a b'/],
    [{ check: { path: '/', headers: { a: 'x\r\ny: z' } } }, /^options\.check\.headers\.a: /],
    [{ check: { type: 'smtp' } }, /^options\.check\.type: must be one of http, tcp, ping, grpc, exec, function; got 'smtp'/],
    [{ check: { type: 'tcp', path: '/' } }, /^options\.check\.path: unknown option/],
    [{ check: { type: 'exec' } }, /^options\.check\.command: is required/],
    [{ check: { type: 'exec', command: 'no-such-program-here' } }, /^options\.check\.command: the program 'no-such-program-here' is not in PATH/],
    [{ check: { path: '/', url: 'http://x/', port: 5 } }, /^options\.check\.port: does not go with 'url'/],
    [{ check: { path: '/', url: 'nonsense' } }, /^options\.check\.url: /],
    [{ check: { initial: 'maybe' } }, /^options\.check\.initial: must be one of 'up', 'down', 'wait'/],
    [{ passive: { serverErrors: -1 } }, /^options\.passive\.serverErrors: must be >= 0; got -1/],
    [{ passive: { statuses: 'all' } }, /^options\.passive\.statuses: /],
    [{ passive: { baseEjection: 10_000, maxEjection: 5000 } }, /^options\.passive\.maxEjection: must not be shorter than baseEjection/],
    [{ load: { factor: 2 } }, /^options\.load\.factor: must be <= 1; got 2/],
    [{ load: { retryAfter: { after: 0 } } }, /^options\.load\.retryAfter\.after: must be >= 1; got 0/],
    [{ agent: {} }, /^options\.agent\.port: is required/],
    [{ pools: { none: {} } }, /^options\.pools\.none: there is no such pool; pools are: web/],
    [{ pools: { web: { check: { fall: 0 } } } }, /^options\.pools\.web\.check\.fall: must be >= 1; got 0/],
    [{ required: ['none'] }, /^options\.required\[0\]: there is no such pool/],
    [{ routes: { ready: 'readyz' } }, /^options\.routes\.ready: /],
    [{ routes: { live: { path: '/x', hooks: [] } } }, /^options\.routes\.live\.hooks: unknown option/]
  ]
  for (const [options, message] of cases) {
    const app = fastify()
    await app.register(balancer, { pools: { web: ['http://127.0.0.1:1'] } })
    await t.rejects(async () => app.register(health, options as HealthOptions), { message, code: /^HG_/ }, String(message))
    await app.close().catch(() => {})
  }
  const app = fastify()
  await t.rejects(async () => {
    await app.register(health)
    await app.ready()
  }, { code: 'HG_HEALTH_NO_POOLS', message: /register @headgate\/balancer/ })
})

t.test('passive detection and load reports over real sockets', async (t) => {
  const bad = await upstream(t, (_, response) => response.writeHead(500).end())
  const good = await upstream(t, (_, response) => response.writeHead(200, { 'endpoint-load-metrics': 'TEXT cpu_utilization=0.4' }).end())
  const { app } = await build(t, { web: { upstreams: [bad.url, good.url], policy: 'round-robin' } }, { check: false, passive: { serverErrors: 3 } })
  await app.ready()
  for (let i = 0; i < 40; i++) await app.inject('/web')
  const [first, second] = app.health.snapshot().pools['web']!.upstreams
  t.match(first, { state: 'ejected', decidedBy: 'traffic', reason: '3 failures in a row (status 500)', counts: { ejections: 1 } })
  t.ok(first!.ejectedFor > 0)
  t.match(second, { state: 'up', reportedLoad: 0.4 })
  t.ok(second!.latency >= 0)
})

t.test('closing cuts off what runs: no check and no socket is left', async (t) => {
  let open = 0
  const server = createServer(() => {})
  server.on('connection', (socket) => {
    open++
    socket.on('close', () => { open-- })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  const { app } = await build(t, { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] }, { check: { path: '/', interval: 60_000, timeout: 60_000 } })
  await app.ready()
  await until(() => open === 1)
  await app.close()
  await until(() => open === 0)
  t.equal(app.health.snapshot().pools['web']!.upstreams[0]!.lastCheck, null)
})

t.test('pools of layer 4 are checked by connections, and judged by the ends of theirs', async (t) => {
  const server = createNetServer((socket) => { socket.end() })
  const { port } = await listen(server)
  const kind: PoolKind = {
    ...httpPool,
    parseTarget: (text) => ({ protocol: 'tcp:', hostname: '127.0.0.1', port: Number(/\d+$/.exec(text)?.[0]), socketPath: undefined, host: text, href: text, serverName: '', addresses: undefined })
  }
  const environment = { clock: systemClock, random: Math.random }
  const pool = new Pool('l4', { upstreams: [`tcp://127.0.0.1:${port}`, 'tcp://127.0.0.1:1'], policy: 'round-robin' }, 'pools.l4', environment, new Deadlines(systemClock), kind)
  const app = fastify()
  t.teardown(() => app.close())
  app.decorate('stream', { pools: new Map([['l4', pool]]) } as never)
  await app.register(health, { check: fast, passive: { gatewayFailures: 3 } })
  await app.ready()
  const state = (index: number): string => app.health.snapshot().pools['l4']!.upstreams[index]!.state
  await until(() => state(1) === 'down')
  t.match(app.health.snapshot().pools['l4']!.upstreams[1], { lastCheck: { kind: 'tcp', ok: false, reason: /ECONNREFUSED/ } })
  t.equal(state(0), 'up')
  const context = { keyHash: 1, clientAddress: '', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false }
  for (let i = 0; i < 3; i++) (pool.pick(context) as Lease).release('failed-after-send', 'reset')
  // Of two members one is down, so the other is all that there is.
  t.equal(state(0), 'up')
  t.equal(app.health.snapshot().pools['l4']!.upstreams[0]!.counts.spared, 1)
  await new Promise((resolve) => { server.close(resolve) })
  await until(() => state(0) === 'down')
})
