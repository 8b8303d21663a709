import balancer from '@headgate/balancer'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import basicAuth from '@fastify/basic-auth'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { upstream } from '../../balancer/test/helpers.ts'
import metrics from '@headgate/metrics'
import { FakeClock } from '../../core/test/clock.ts'
import admin, { type AdminOptions, type AuditMessage, type Plan, type PoolView, type UpstreamView } from '../src/index.ts'

const HEADERS = { 'x-headgate-admin': '1' }

async function build (t: Test, options: AdminOptions = { unsafe: true }, prepare?: (app: FastifyInstance) => unknown): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await prepare?.(app)
  const targets = await Promise.all(['a', 'b'].map((name) => upstream(t, (_, response) => response.end(name))))
  await app.register(admin, options)
  await app.register(balancer, {
    pools: { web: { upstreams: targets.map(({ url }, i) => ({ url, id: ['a', 'b'][i]! })), policy: 'round-robin', slowStart: 0, drainTimeout: 0 } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  await app.ready()
  return app
}

async function get<T> (app: FastifyInstance, path: string): Promise<T> {
  const response = await app.inject(`/headgate/api${path}`)
  return response.json<T>()
}

t.test('registration fails without a guard', async (t) => {
  await t.rejects(async () => Fastify().register(admin, {}), { code: 'HG_POOL_INVALID_OPTION', message: /options\.guard: is required.*unsafe: true/ })
  await t.rejects(async () => Fastify().register(admin, { unsafe: true, prefix: 'x' }), { message: /options\.prefix/ })
})

t.test('the guard stands in front of everything', async (t) => {
  const app = await build(t, { guard: (request, reply, done) => { if (request.headers.authorization === 'yes') done(); else void reply.code(401).send() } })
  for (const path of ['/', '/app.js', '/api/pools', '/api/stream', '/api/openapi.json', '/nowhere']) {
    t.equal((await app.inject(`/headgate${path}`)).statusCode, 401, path)
  }
  t.equal((await app.inject({ url: '/headgate/api/pools', headers: { authorization: 'yes' } })).statusCode, 200)
  t.equal((await app.inject({ url: '/headgate/nowhere', headers: { authorization: 'yes' } })).statusCode, 404, 'not forwarded')
  t.equal((await app.inject({ url: '/headgate', headers: { authorization: 'yes' } })).headers.location, 'headgate/')
  t.equal((await app.inject('/headgatex')).statusCode, 200, 'other paths are')
})

t.test('works with basic auth, helmet and CORS', async (t) => {
  const app = await build(t, {
    guard: (request, reply, done) => (request.server as FastifyInstance & { basicAuth: (...args: unknown[]) => void }).basicAuth(request, reply, done),
    actor: (request) => Buffer.from(request.headers.authorization!.slice(6), 'base64').toString().split(':')[0]!
  }, async (app) => {
    await app.register(basicAuth, { authenticate: true, validate: (user, _password, _request, _reply, done) => { done(user === 'ann' ? undefined : new Error('no')) } })
    await app.register(helmet)
    await app.register(cors, { origin: true, credentials: true })
    await app.register(cookie)
  })
  const authorization = `Basic ${Buffer.from('ann:x').toString('base64')}`
  t.equal((await app.inject('/headgate/api/pools')).statusCode, 401)
  const page = await app.inject({ url: '/headgate/', headers: { authorization } })
  t.equal(page.statusCode, 200)
  t.match(page.headers['content-security-policy'], /default-src 'none'/)
  const audits: AuditMessage[] = []
  const listener = (message: unknown) => { audits.push(message as AuditMessage) }
  subscribe('headgate:admin:audit', listener)
  t.teardown(() => unsubscribe('headgate:admin:audit', listener))
  const change = { method: 'PATCH' as const, url: '/headgate/api/pools/web/upstreams/a', payload: { weight: 3 } }
  t.equal((await app.inject({ ...change, headers: { authorization, ...HEADERS, origin: 'https://evil.example' } })).statusCode, 403, 'though CORS allows the origin')
  t.equal((await app.inject({ ...change, headers: { authorization, ...HEADERS, origin: 'http://localhost:80' } })).statusCode, 200)
  t.match(audits, [{ actor: 'ann', action: 'weight', diff: [{ upstream: 'a', field: 'weight', before: 1, after: 3 }] }])
  const { events } = await app.inject({ url: '/headgate/api/events', headers: { authorization } }).then((response) => response.json<{ events: { kind: string; actor: string; text: string }[] }>())
  t.match(events.filter(({ kind }) => kind === 'audit'), [{ actor: 'ann', text: 'weight: 1 → 3' }])
})

t.test('changes from other sites are refused', async (t) => {
  const app = await build(t)
  const change = { method: 'PATCH' as const, url: '/headgate/api/pools/web/upstreams/a', payload: { weight: 3 } }
  t.equal((await app.inject(change)).json<{ code: string }>().code, 'HG_ADMIN_CROSS_SITE')
  t.equal((await app.inject({ ...change, headers: { ...HEADERS, 'sec-fetch-site': 'cross-site' } })).statusCode, 403)
  t.equal((await app.inject({ ...change, headers: { ...HEADERS, origin: 'null' } })).statusCode, 403)
  t.equal((await app.inject({ ...change, headers: { ...HEADERS, 'sec-fetch-site': 'same-origin', origin: 'http://localhost' } })).statusCode, 200)
})

t.test('pools and upstreams with their figures', async (t) => {
  const clock = new FakeClock()
  const advance = (ms: number) => clock.advance(ms)
  const app = await build(t, { unsafe: true, clock })
  for (let i = 0; i < 10; i++) await app.inject('/')
  advance(1000)
  const { pools, total } = await get<{ pools: PoolView[]; total: { requests: number } }>(app, '/pools')
  t.match(pools, [{ name: 'web', policy: 'round-robin', upstreams: 2, ready: 2, states: { up: 2 }, requests: 10, errors: 0, rate: 10 }])
  t.equal(total.requests, 10, 'the API itself is not counted')
  const { upstreams } = await get<{ upstreams: UpstreamView[] }>(app, '/pools/web/upstreams')
  t.match(upstreams, [{ id: 'a', state: 'up', requests: 5, rate: 5, p50: Number, zone: '', maxInFlight: null }, { id: 'b' }])
  const series = await get<{ points: number; series: { rate: number[] } }>(app, '/series?pool=web')
  t.match(series, { points: 1, step: 1000, series: { rate: [10], queued: [0] } })
  t.equal((await app.inject('/headgate/api/pools/none')).statusCode, 404)
  t.equal((await app.inject('/headgate/api/pools/web/upstreams/none')).statusCode, 404)
  t.match(await get(app, '/pools/web/upstreams/a'), { id: 'a', history: [], series: { step: 5000 } })
})

t.test('change: weight, drain, maintenance, up, back to auto', async (t) => {
  const app = await build(t)
  const pool = app.balancer.pool('web')
  const patch = (payload: object, headers = {}) => app.inject({ method: 'PATCH', url: '/headgate/api/pools/web/upstreams/a', payload, headers: { ...HEADERS, ...headers } })
  t.match((await patch({ weight: 2, state: 'drain', reason: 'new disk' })).json<Plan>().diff, [
    { field: 'weight', before: 1, after: 2 }, { field: 'operator', before: 'auto', after: 'drain' }
  ])
  t.equal(pool.get('a')!.health.state, 'draining')
  t.match(pool.get('a')!.health.reason, /drained by an operator: new disk/)
  for (const [state, seen] of [['maintenance', 'maintenance'], ['up', 'up'], ['auto', 'up']] as const) {
    t.equal((await patch({ state })).statusCode, 200)
    t.equal(pool.get('a')!.health.state, seen)
  }
  for (const payload of [{}, { weight: -1 }, { state: 'asleep' }, { wait: 1 }]) t.equal((await patch(payload)).statusCode, 400)
})

t.test('add and remove', async (t) => {
  const app = await build(t)
  const pool = app.balancer.pool('web')
  const post = (payload: object | string, query = '') => app.inject({
    method: 'POST', url: `/headgate/api/pools/web/upstreams${query}`, headers: { ...HEADERS, 'content-type': 'application/json' }, payload: JSON.stringify(payload)
  })
  t.match((await post({ url: 'http://127.0.0.1:1', id: 'c', weight: 2 }, '?dryRun=true')).json(), { diff: [{ upstream: 'c', field: 'member', after: true }] })
  t.equal(pool.get('c'), undefined)
  t.equal((await post({ url: 'http://127.0.0.1:1', id: 'c', weight: 2 })).statusCode, 200)
  t.equal(pool.get('c')!.configuredWeight, 2)
  t.match((await post('http://127.0.0.1:1;id=d')).json(), { statusCode: 400, code: 'HG_ADMIN_BAD_CHANGE', message: /already in pool 'web'/ })
  t.match((await post({ url: 'ftp://x' })).json(), { statusCode: 400, message: /changes\[0\]\.upstream\.url.*ftp/ })
  const gone = new Promise((resolve) => { pool.once('removed', resolve) })
  t.equal((await app.inject({ method: 'DELETE', url: '/headgate/api/pools/web/upstreams/c', headers: HEADERS })).statusCode, 200)
  await gone
  t.equal(pool.get('c'), undefined)
})

t.test('plan, then apply to what was planned for', async (t) => {
  const app = await build(t)
  const pool = app.balancer.pool('web')
  const send = (path: string, changes: object[], headers = {}) => app.inject({
    method: 'POST', url: `/headgate/api${path}`, payload: { changes }, headers: { ...HEADERS, ...headers }
  })
  const changes = [
    { op: 'state', pool: 'web', id: 'a', state: 'maintenance' }, { op: 'state', pool: 'web', id: 'b', state: 'drain' },
    { op: 'add', pool: 'web', upstream: { url: 'http://127.0.0.1:1', id: 'c', weight: 0 } }
  ]
  const plan = (await send('/plan', changes)).json<Plan>()
  t.match(plan.diff, [{ upstream: 'a', field: 'operator' }, { upstream: 'b', field: 'operator' }, { upstream: 'c', field: 'member' }])
  t.match(plan.warnings, [/nobody would be left/])
  t.equal(pool.get('a')!.health.state, 'up', 'nothing was done')

  t.equal((await send('/apply', changes)).statusCode, 428)
  pool.setWeight('a', 7)
  t.match((await send('/apply', changes, { 'if-match': plan.etag })).json(), { statusCode: 412, code: 'HG_ADMIN_CONFLICT' })
  t.equal(pool.get('a')!.health.state, 'up')
  const again = (await send('/plan', changes)).json<Plan>()
  const applied = await send('/apply', changes, { 'if-match': again.etag })
  t.equal(applied.statusCode, 200)
  t.equal(pool.get('a')!.health.state, 'maintenance')
  t.equal(applied.json<Plan>().etag, (await app.inject('/headgate/api/pools/web')).headers.etag)

  const half = [{ op: 'weight', pool: 'web', id: 'a', weight: 9 }, { op: 'weight', pool: 'web', id: 'nobody', weight: 9 }]
  t.equal((await send('/apply', half, { 'if-match': '*' })).statusCode, 404)
  t.equal(pool.get('a')!.configuredWeight, 7, 'all or none')
})

t.test('readOnly refuses changes and still plans', async (t) => {
  const app = await build(t, { unsafe: true, readOnly: true })
  const request = { method: 'PATCH' as const, payload: { weight: 2 }, headers: HEADERS }
  t.equal((await app.inject({ ...request, url: '/headgate/api/pools/web/upstreams/a' })).statusCode, 501)
  t.equal((await app.inject({ ...request, url: '/headgate/api/pools/web/upstreams/a?dryRun=true' })).statusCode, 200)
})

t.test('explain', async (t) => {
  const app = await build(t)
  app.balancer.pool('web').get('a')!.health.force('maintenance', 'new disk')
  t.match(await get(app, '/explain?url=/x&header=X-A:%201&header=x-b:2'), {
    route: '/', target: '/x', pools: [{ pool: 'web', policy: 'round-robin', choice: 'policy', upstream: 'b', candidates: [{ id: 'a', skipped: 'maintenance: new disk' }, { id: 'b', share: 1 }] }]
  })
  for (const bad of ['', '?url=x', '?url=/x&header=x', '?url=/x&verb=GET']) t.equal((await app.inject(`/headgate/api/explain${bad}`)).statusCode, 400, bad)
})

t.test('purge', async (t) => {
  const asked: object[] = []
  const app = await build(t, { unsafe: true }, (app) => {
    app.decorate('cache', { purge: async (what: object) => { asked.push(what); return 3 } } as never)
  })
  const purge = (payload: object) => app.inject({ method: 'POST', url: '/headgate/api/cache/purge', payload, headers: HEADERS })
  t.same((await purge({ tags: ['news'], soft: true })).json(), { purged: 3 })
  t.same(asked, [{ tags: ['news'], soft: true }])
  t.equal((await purge({ everything: true })).statusCode, 400)
  const without = await build(t)
  t.equal((await without.inject({ method: 'POST', url: '/headgate/api/cache/purge', payload: { all: true }, headers: HEADERS })).statusCode, 501)
})

t.test('OpenAPI describes every route', async (t) => {
  const app = await build(t)
  const { openapi, paths } = await get<{ openapi: string; paths: Record<string, Record<string, { summary: string }>> }>(app, '/openapi.json')
  t.equal(openapi, '3.1.0')
  t.same(Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path.replace('/headgate/api', '')}`)).sort(), [
    'delete /pools/{pool}/upstreams/{id}', 'get /events', 'get /explain', 'get /pools', 'get /pools/{pool}', 'get /pools/{pool}/upstreams',
    'get /pools/{pool}/upstreams/{id}', 'get /routing', 'get /series', 'get /stream', 'patch /pools/{pool}/upstreams/{id}', 'patch /splits/{split}',
    'post /apply', 'post /cache/purge', 'post /plan', 'post /pools/{pool}/upstreams', 'put /maintenance'
  ])
  t.ok(Object.values(paths).every((methods) => Object.values(methods).every(({ summary }) => summary !== undefined)))
})

t.test('the stream: snapshot, ticks with what changed, events; it ends when the app closes', async (t) => {
  const clock = new FakeClock()
  const advance = (ms: number) => clock.advance(ms)
  const app = await build(t, { unsafe: true, clock })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(`${url}/headgate/api/stream`)
  t.match(response.headers.get('content-type'), 'text/event-stream')
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const until = async (event: string): Promise<Record<string, unknown> | undefined> => {
    const pattern = new RegExp(`event: ${event}\n(?:id: .*\n)?data: (.*)\n\n`)
    for (;;) {
      const found = pattern.exec(text)
      if (found !== null) {
        text = text.slice(found.index + found[0].length)
        return JSON.parse(found[1]!) as Record<string, unknown>
      }
      const { done, value } = await reader.read()
      if (done) return undefined
      text += value
    }
  }
  t.match(await until('snapshot'), { pools: [{ name: 'web' }], upstreams: [{ id: 'a' }, { id: 'b' }], can: { purge: false, change: true } })
  await app.inject('/')
  advance(1000)
  t.match(await until('tick'), { upstreams: [{ id: 'a' }, { id: 'b' }], points: { web: { rate: 1 }, '': { rate: 1 } } })
  advance(200_000)
  for (let i = 0; i < 200; i++) await until('tick')
  advance(1000)
  t.same((await until('tick'))!['upstreams'], [], 'nothing changed, nothing is sent')
  await app.balancer.pool('web').remove('b')
  t.match(await until('event'), { kind: 'health', upstream: 'b', text: 'up → draining: removed from the pool' })
  advance(1000)
  t.match(await until('tick'), { removed: [{ pool: 'web', id: 'b' }] })
  const closed = app.close()
  t.equal(await until('never'), undefined, 'the stream has ended')
  await closed
})

t.test('advice on how many upstreams there should be is told, with what changed it', async (t) => {
  const clock = new FakeClock()
  const app = await build(t, { unsafe: true, clock }, async (app) => {
    await app.register(metrics, { route: false, clock, scaling: { min: 1, max: 5, downAfter: 2000 } })
  })
  t.match((await get<{ pools: PoolView[] }>(app, '/pools')).pools, [{ name: 'web', advice: null }], 'nothing in the first second')
  clock.advance(1000)
  t.match((await get<{ pools: PoolView[] }>(app, '/pools')).pools[0]!.advice, { desired: 2, utilisation: 0, arrivalRate: 0, reason: '1 would be enough, for 0 s now' })
  clock.advance(2000)
  t.match((await get<{ pools: PoolView[] }>(app, '/pools')).pools[0]!.advice, { desired: 1, reason: '1 were enough for 2 s' })
  const { events } = await get<{ events: object[] }>(app, '/events')
  t.match(events.at(-1), { kind: 'scaling', pool: 'web', text: '1 upstream advised, 2 ready: 1 were enough for 2 s' })
})
