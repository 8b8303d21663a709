import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { upstream } from '../../balancer/test/helpers.ts'
import { FakeClock } from '../../core/test/clock.ts'
import admin, { type AdminOptions, type Plan, type RoutingView, type Snapshot, type Tick } from '../src/index.ts'
import { Sampler } from '../src/sampler.ts'
import { RoutingOverrides } from '../src/routing-overrides.ts'
import type { Routing } from '../src/routing.ts'

const HEADERS = { 'x-headgate-admin': '1' }
const API = '/headgate/api'

async function build (t: Test, options: AdminOptions = { unsafe: true }): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  const targets = await Promise.all(['stable', 'canary'].map((name) => upstream(t, (_, response) => response.end(name))))
  await app.register(admin, options)
  await app.register(balancer, {
    pools: { stable: [targets[0]!.url], canary: [targets[1]!.url], empty: ['http://127.0.0.1:1'] },
    routes: [
      { prefix: '/', rules: [{ name: 'release', splitOn: 'random', pool: { stable: 1, canary: 0, empty: 0 } }] },
      { prefix: '/shop', pool: 'stable', maintenance: { retryAfter: 60, except: { query: { staff: '1' } } } }
    ]
  })
  await app.ready()
  app.balancer.pool('empty').upstreams[0]!.health.force('maintenance', 'a test')
  return app
}

const send = (app: FastifyInstance, method: 'POST' | 'PATCH' | 'PUT', path: string, payload: object, headers: object = {}) =>
  app.inject({ method, url: API + path, payload, headers: { ...HEADERS, ...headers } })

t.test('shares of a split: looked at, planned, applied, seen in what is answered', async (t) => {
  const app = await build(t)
  const looked = await app.inject(`${API}/routing`)
  t.match(looked.json<RoutingView>(), {
    etag: looked.headers.etag, splits: [{ name: 'release', weights: { stable: 1, canary: 0, empty: 0 } }],
    routes: [{ prefix: '/', maintenance: false }, { prefix: '/shop', maintenance: false }]
  })
  t.equal((await app.inject('/')).body, 'stable')

  const changes = { changes: [{ op: 'split', split: 'release', weights: { canary: 5 } }, { op: 'split', split: 'release', weights: { stable: 0, empty: 1 } }] }
  const plan = (await send(app, 'POST', '/plan', changes)).json<Plan>()
  t.equal(plan.etag, looked.headers.etag, 'the one of routing, where nothing else changes')
  t.same(plan.diff.map(({ split, pool, field, before, after }) => [split, pool, field, before, after]), [
    ['release', 'stable', 'share', 1, 0], ['release', 'canary', 'share', 0, 5], ['release', 'empty', 'share', 0, 1]
  ])
  t.same(plan.warnings, ["nobody is ready in pool 'empty', which would get more of split 'release'"])
  t.same(app.balancer.split('release').weights, { stable: 1, canary: 0, empty: 0 }, 'nothing was done')
  t.equal((await send(app, 'POST', '/apply', changes)).statusCode, 428)

  app.balancer.split('release').setWeights({ stable: 2 })
  t.equal((await send(app, 'POST', '/apply', changes, { 'if-match': plan.etag })).statusCode, 412, 'somebody was faster')
  const again = (await send(app, 'POST', '/plan', changes)).json<Plan>()
  const applied = await send(app, 'POST', '/apply', changes, { 'if-match': again.etag })
  t.equal(applied.statusCode, 200)
  t.equal(applied.json<Plan>().etag, (await app.inject(`${API}/routing`)).headers.etag)

  t.equal((await send(app, 'PATCH', '/splits/release?dryRun=true', { weights: { stable: 9 } })).statusCode, 200)
  t.same(app.balancer.split('release').weights, { stable: 0, canary: 5, empty: 1 })
  t.equal((await send(app, 'PATCH', '/splits/release', { weights: { empty: 0 } })).statusCode, 200)
  t.equal((await app.inject('/')).body, 'canary')
  const { events } = (await app.inject(`${API}/events`)).json<{ events: { kind: string; pool: string; text: string }[] }>()
  t.match(events.filter(({ kind }) => kind === 'audit').at(-1), { pool: 'empty', text: 'share of split release: 1 → 0' })
})

t.test('shares that cannot be', async (t) => {
  const app = await build(t)
  const patch = (payload: object, split = 'release') => send(app, 'PATCH', `/splits/${split}`, payload)
  t.match((await patch({ weights: { nobody: 1 } })).json(), { statusCode: 400, code: 'HG_ADMIN_BAD_CHANGE', message: /split 'release' has no pool 'nobody'; it has stable, canary, empty/ })
  t.match((await patch({ weights: { stable: 0 } })).json(), { statusCode: 400, message: /needs a weight above 0/ })
  t.match((await patch({ weights: { stable: 1 } }, 'none')).json(), { statusCode: 404, message: "there is no split 'none'" })
  for (const bad of [{}, { weights: {} }, { weights: { stable: -1 } }, { weights: { stable: '1' } }, { shares: { stable: 1 } }]) {
    t.equal((await patch(bad)).statusCode, 400, JSON.stringify(bad))
  }
  const half = { changes: [{ op: 'split', split: 'release', weights: { canary: 1 } }, { op: 'weight', pool: 'stable', id: 'nobody', weight: 1 }] }
  t.equal((await send(app, 'POST', '/apply', half, { 'if-match': '*' })).statusCode, 404)
  t.same(app.balancer.split('release').weights, { stable: 1, canary: 0, empty: 0 }, 'all or none')
})

t.test('routes are closed for maintenance and opened', async (t) => {
  const app = await build(t)
  const put = (payload: object, query = '') => send(app, 'PUT', `/maintenance${query}`, payload)
  t.match((await put({ active: true, routes: ['/shop'] }, '?dryRun=true')).json<Plan>().diff, [{ route: '/shop', field: 'maintenance', before: false, after: true }])
  t.equal((await app.inject('/shop')).statusCode, 200)
  t.equal((await put({ active: true, routes: ['/shop'] })).statusCode, 200)
  t.match(await app.inject('/shop'), { statusCode: 503, headers: { 'retry-after': '60' } })
  t.equal((await app.inject('/shop?staff=1')).statusCode, 200, 'but for those whom its options let through')
  t.equal((await app.inject('/')).statusCode, 200)
  const all = (await put({ active: true })).json<Plan>()
  t.match(all, { diff: [{ route: '/' }], warnings: ['all routes would be closed: every request would be answered 503'] })
  t.equal((await app.inject('/')).statusCode, 503)
  t.match((await app.inject(`${API}/routing`)).json(), { routes: [{ maintenance: true }, { maintenance: true }] }, 'the way back is open')
  t.same((await put({ active: false })).json<Plan>().diff.map(({ route, after }) => [route, after]), [['/', false], ['/shop', false]])
  t.equal((await app.inject('/shop')).statusCode, 200)
  t.match((await put({ active: true, routes: ['/none'] })).json(), { statusCode: 404, message: "there is no route '/none'" })
  for (const bad of [{}, { active: 'yes' }, { active: true, routes: [] }, { active: true, routes: ['shop'] }]) t.equal((await put(bad)).statusCode, 400, JSON.stringify(bad))
  const { events } = (await app.inject(`${API}/events`)).json<{ events: { kind: string; text: string }[] }>()
  t.same(events.filter(({ kind }) => kind === 'audit').slice(0, 2).map(({ text }) => text), ['route /shop closed for maintenance', 'route / closed for maintenance'])
})

t.test('pools and routing in one plan have one etag', async (t) => {
  const app = await build(t)
  const id = app.balancer.pool('canary').upstreams[0]!.id
  const changes = { changes: [{ op: 'weight', pool: 'canary', id, weight: 3 }, { op: 'split', split: 'release', weights: { canary: 1 } }, { op: 'maintenance', route: '/shop', active: true }] }
  const plan = (await send(app, 'POST', '/plan', changes)).json<Plan>()
  t.same(plan.diff.map(({ field }) => field), ['weight', 'share', 'maintenance'])
  app.balancer.maintenance.begin('/')
  t.equal((await send(app, 'POST', '/apply', changes, { 'if-match': plan.etag })).statusCode, 412, 'routing has changed')
  const again = (await send(app, 'POST', '/plan', changes)).json<Plan>()
  app.balancer.pool('canary').setWeight(id, 2)
  t.equal((await send(app, 'POST', '/apply', changes, { 'if-match': again.etag })).statusCode, 412, 'the pool has changed')
  const last = (await send(app, 'POST', '/plan', changes)).json<Plan>()
  t.equal((await send(app, 'POST', '/apply', changes, { 'if-match': last.etag })).statusCode, 200)
  t.equal(app.balancer.pool('canary').get(id)!.configuredWeight, 3)
})

t.test('readOnly refuses, and without a balancer there is nothing', async (t) => {
  const app = await build(t, { unsafe: true, readOnly: true })
  t.equal((await send(app, 'PUT', '/maintenance', { active: true })).statusCode, 501)
  t.equal((await app.inject('/')).statusCode, 200)
  const alone = Fastify()
  t.teardown(() => alone.close())
  await alone.register(admin, { unsafe: true })
  t.match((await alone.inject(`${API}/routing`)).json(), { splits: [], routes: [] })
  t.equal((await send(alone, 'PATCH', '/splits/x', { weights: { a: 1 } })).statusCode, 404)
  t.match((await send(alone, 'PUT', '/maintenance', { active: true })).json(), { diff: [] })
})

t.test('a stream tells of routing at first, and when it changes', async (t) => {
  const clock = new FakeClock()
  let etag = 'a'
  const recorder = { current: () => [], plugins: { cache: { lookups: { total: 0 }, stored: 0, refused: 0 }, compress: new Map() }, bounds: [1] } as never
  const sampler = new Sampler(recorder, clock, () => undefined, () => ({ etag, splits: [], routes: [] }))
  t.match(sampler.snapshot() as Snapshot, { routing: { etag: 'a' } })
  t.match(sampler.step() as Tick, { routing: { etag: 'a' } })
  t.notOk('routing' in sampler.step())
  etag = 'b'
  t.match(sampler.step() as Tick, { routing: { etag: 'b' } })
})

/** The part of a balancer that is steered, as one process has it. */
function routing (weights: Record<string, number>, closed = false): Routing {
  const now = { ...weights }
  const routes = { '/': closed }
  return {
    splits: new Map([['s', {
      get weights () { return { ...now } },
      plan: (changes: object) => ({ ...now, ...changes }),
      setWeights (changes: Record<string, number>) {
        if (changes['a'] === 13) throw new Error('unlucky')
        Object.assign(now, changes)
      }
    }]]),
    maintenance: { routes, begin () { routes['/'] = true }, end () { routes['/'] = false } }
  }
}

t.test('other workers follow, unless their configuration says something else by now', async (t) => {
  const follow = (follower: Routing, failed: (error: unknown) => void = (error) => { t.fail(String(error)) }) => {
    const overrides = new RoutingOverrides(() => follower, failed)
    overrides.begin()
    return overrides
  }
  const speaker = routing({ a: 1, b: 1 })
  const made = follow(speaker)
  speaker.splits.get('s')!.setWeights({ a: 9 })
  speaker.maintenance.begin('/')
  const all = made.made([{ op: 'split', split: 's', weights: { a: 9 } }, { op: 'maintenance', route: '/', active: true }])

  const same = routing({ a: 1, b: 1 })
  const followed = follow(same)
  followed.follow(all)
  t.same(same.splits.get('s')!.weights, { a: 9, b: 1 })
  t.same(same.maintenance.routes, { '/': true })
  speaker.maintenance.end('/')
  followed.follow(made.made([{ op: 'maintenance', route: '/', active: false }]))
  t.same(same.maintenance.routes, { '/': false }, 'opened again')
  t.same(same.splits.get('s')!.weights, { a: 9, b: 1 }, 'the rest stays')

  const other = routing({ a: 1, b: 2 }, true)
  follow(other).follow(all)
  t.same(other.splits.get('s')!.weights, { a: 1, b: 2 }, 'a new configuration')
  follow(routing({})).follow({ splits: { gone: { base: {}, weights: { x: 1 } } }, routes: { '/gone': { base: false, active: true } } })
  const errors: unknown[] = []
  follow(routing({ a: 1, b: 1 }), (error) => errors.push(error)).follow({ splits: { s: { base: { a: 1, b: 1 }, weights: { a: 13 } } }, routes: {} })
  t.match(errors, [{ message: 'unlucky' }])
})
