import { Deadlines, Lease, Pool, type PoolContext, explainPick, systemClock } from '@headgate/core'
import fc from 'fast-check'
import t from 'tap'
import type { Decision } from '../src/index.ts'
import { proxy, upstream } from './helpers.ts'

t.test('request.decision tells of every attempt; Server-Timing of times, without addresses', async (t) => {
  const bad = await upstream(t, (_, response) => { response.writeHead(503).end() })
  const good = await upstream(t, (_, response) => { response.end('hello') })
  let told: (decision: Decision | null, attempts: number) => void = () => {}
  const decided = new Promise<[Decision | null, number]>((resolve) => { told = (decision, attempts) => resolve([decision, attempts]) })
  const { url } = await proxy(t, {
    pools: { web: { upstreams: [{ url: bad.url, id: 'bad' }, { url: good.url, id: 'good' }], policy: 'first' } },
    routes: [{ prefix: '/', pool: 'web', serverTiming: true, explain: true }]
  }, (app) => {
    app.addHook('onResponse', async (request) => { told(request.decision, request.attempts) })
    app.get('/own', async (request) => ({ decision: request.decision, attempts: request.attempts }))
  })
  const response = await fetch(`${url}/x`)
  t.equal(await response.text(), 'hello')
  const timing = response.headers.get('server-timing')!
  t.match(timing, /^queue;dur=[\d.]+, attempt1;dur=[\d.]+;desc="bad status-503", attempt2;dur=[\d.]+;desc="good", total;dur=[\d.]+$/)
  t.notMatch(timing, '127.0.0.1')
  const [decision, attempts] = await decided
  t.match(decision, {
    pool: 'web', policy: 'first',
    attempts: [
      { upstream: 'bad', url: bad.url, choice: 'policy', outcome: 'ok', reason: 'status-503', status: 503 },
      { upstream: 'good', choice: 'alternative', outcome: 'ok', status: 200, received: 5, head: Number, duration: Number }
    ],
    picks: [
      { upstream: 'bad', candidates: [{ id: 'bad', share: 1, skipped: '' }, { id: 'good', share: 0, skipped: '' }] },
      { upstream: 'good', candidates: [{ id: 'bad', share: 0, skipped: 'already tried for this request' }, { id: 'good', share: 1 }] }
    ]
  })
  t.equal(attempts, 2)
  t.same(await (await fetch(`${url}/own`)).json(), { decision: null, attempts: 0 }, 'requests that are not forwarded have none')
})

t.test('dry run: routes, rules, fallbacks, targets; nothing is sent and nobody loses a turn', async (t) => {
  let reached = 0
  const a = await upstream(t, (_, response) => { reached++; response.end() })
  const { app } = await proxy(t, {
    pools: {
      web: { upstreams: [{ url: a.url, id: 'a' }, { url: 'http://127.0.0.1:1', id: 'b' }], policy: 'round-robin' },
      canary: { upstreams: [{ url: a.url, id: 'c' }], maxInFlight: 1 },
      keyed: { upstreams: [{ url: a.url, id: 'd' }, { url: 'http://127.0.0.1:1', id: 'e' }], policy: 'hash', hashOn: 'header:x-user' }
    },
    routes: [
      { prefix: '/', rules: [{ match: { header: { 'x-release': 'next' } }, pool: 'canary', fallback: ['web'] }, { pool: 'web' }] },
      { prefix: '/api', pool: 'keyed', rewritePrefix: '/v1' }
    ]
  })
  const { balancer } = app
  t.match(balancer.explain({ method: 'GET', url: '/x' }), { route: '/', pools: [{ pool: 'web', choice: 'policy', candidates: [{ share: 0.5 }, { share: 0.5 }] }] })
  t.match(balancer.explain({ method: 'GET', url: '/x', headers: { 'X-Release': 'next' } }).pools.map(({ pool }) => pool), ['canary', 'web'])
  const keyed = balancer.explain({ method: 'GET', url: '/api/y?z=1', headers: { 'x-user': 'ann' } })
  t.match(keyed, { route: '/api', target: '/v1/y?z=1' })
  t.match(keyed.pools[0]!.candidates.map(({ share }) => share).toSorted((a, b) => a - b), [0, 1], 'a hash has no chance in it')
  balancer.pool('web').get('a')!.health.force('maintenance', 'new disk')
  t.match(balancer.explain({ method: 'GET', url: '/x' }).pools[0], { upstream: 'b', candidates: [{ skipped: 'maintenance: new disk' }, { share: 1, skipped: '' }] })
  balancer.pool('web').get('b')!.health.eject('it failed')
  t.match(balancer.explain({ method: 'GET', url: '/x' }).pools[0], { candidates: [{ skipped: 'maintenance: new disk' }, {}] })
  t.equal(reached, 0)
})

t.test('what is explained is what is picked', async (t) => {
  // Those whose choice depends on the request and the loads alone; the others have turns or chance in them.
  await fc.assert(fc.asyncProperty(
    fc.constantFrom('first' as const, 'hash' as const, 'ip-hash' as const),
    fc.integer({ min: 1, max: 8 }), fc.nat(0xffffffff), fc.array(fc.nat(7), { maxLength: 4 }),
    async (policy, size, keyHash, down) => {
      const upstreams = Array.from({ length: size }, (_, i) => ({ url: `http://127.0.0.1:${i + 1}`, id: `u${i}` }))
      const pool = new Pool('web', { upstreams, policy, slowStart: 0 }, 'web', { clock: systemClock, random: Math.random }, new Deadlines(systemClock))
      for (const i of down) pool.get(`u${i}`)?.health.force('maintenance', 'test')
      const context: PoolContext = {
        keyHash, clientAddress: `10.0.${keyHash % 256}.1`, clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true,
        hasTried: () => false
      }
      const { upstream: explained, choice } = explainPick(pool, context)
      const lease = pool.pick(context)
      if (lease instanceof Lease) {
        t.equal(lease.upstream.id, explained, policy)
        t.equal(lease.choice, choice)
        lease.release('ok')
      } else t.equal(choice, lease)
      await pool.close()
    }
  ), { numRuns: 60 })
})
