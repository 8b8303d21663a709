import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import compress from '@headgate/compress'
import { seeded } from '@headgate/core'
import health from '@headgate/health'
import metrics from '@headgate/metrics'
import sticky from '@headgate/sticky-session'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { until } from '../processes.ts'
import { Truth, Upstream } from './site/upstream.ts'
import { type Site, Visitor, wanted } from './site/visitor.ts'

const MAX_BYTES = 400_000
const USERS = ['ada', 'bob', 'eve', 'kim']
const VISITORS = 12
const REQUESTS = 180

/** Sums the figures of a metric, of those lines that match. */
async function figure (app: FastifyInstance, name: string, labels = /^/): Promise<number> {
  const { body } = await app.inject('/metrics')
  return body.split('\n').filter((line) => line.startsWith(`headgate_${name}{`) || line.startsWith(`headgate_${name} `))
    .filter((line) => labels.test(line)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

// Every run is another one; that of a number comes again, as far as the order of events does, with HEADGATE_SEED=number.
const seed = Number(process.env['HEADGATE_SEED'] ?? Math.floor(Math.random() * 2 ** 32))

t.test(`all plugins together, an upstream that dies again and again: each answer is its user's and its URL's, and not older than what was acknowledged (seed ${seed})`, async (t) => {
  const random = seeded(seed)
  const own = (): (() => number) => seeded(Math.floor(random() * 2 ** 32))
  const truth = new Truth()
  const upstreams = ['a', 'b', 'c'].map((name) => new Upstream(name, truth, own()))
  for (const one of upstreams) await one.start()

  const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
  t.teardown(async () => {
    await app.close()
    for (const one of upstreams) await one.kill()
  })
  await app.register(metrics, { route: { unsafe: true } })
  await app.register(cache, { memory: { maxBytes: MAX_BYTES, maxEntryBytes: MAX_BYTES / 4 }, key: { cookies: ['user'] } })
  // A busy machine does not decide what is tested.
  await app.register(compress, { load: false })
  await app.register(balancer, {
    pools: { web: { upstreams: upstreams.map(({ url }) => url), policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }]
  })
  await app.register(sticky, { keys: ['a secret of more than thirty-two bytes, for tests'] })
  await app.register(health, {
    check: { path: '/alive', interval: 50, timeout: 60_000, fall: 2 }, passive: { gatewayFailures: 3, baseEjection: 100, maxEjection: 1000, latencyFactor: 0 }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })

  let disturbance = 0
  const port = (app.server.address() as { port: number }).port
  const site: Site = { port, truth, acknowledged: new Map(), users: USERS, disturbance: () => disturbance, seen: new Map(), faults: truth.faults }
  const visitors = Array.from({ length: VISITORS }, (_, i) => new Visitor(site, USERS[i % USERS.length]!, own(), `visitor ${i}`))
  let over = false
  const roaming = Promise.all(visitors.map((visitor) => visitor.roam(REQUESTS))).finally(() => { over = true })

  const posted = async (more: number): Promise<void> => {
    const until = truth.posts.size + more
    while (truth.posts.size < until && !over) await new Promise((resolve) => { setImmediate(resolve) })
  }
  // Each twice, which is not yet taken for flapping, and never two at once.
  const ready = (): boolean => app.health.snapshot().pools['web']!.upstreams.every(({ ready }) => ready)
  const fate = own()
  let kills = 0
  for (const one of [...upstreams, ...upstreams]) {
    await until(() => over || ready())
    await posted(4 + Math.floor(fate() * 6))
    if (over) break
    kills++
    disturbance++
    await one.kill()
    await posted(Math.floor(fate() * 6))
    await one.start()
    // Only now is what came of it over, such as a try under way that nobody has given up yet.
    disturbance++
  }
  await roaming
  t.comment(JSON.stringify({ kills, ...Object.fromEntries(site.seen) }))
  t.same(site.faults.slice(0, 10), [], `${site.faults.length} of ${VISITORS * REQUESTS} answers`)

  t.ok(kills >= 2, 'upstreams were killed while they were asked')
  for (const what of ['200', '206', '304', '416', 'HEAD', 'POST', 'hit', 'collapsed', 'left', ...wanted.filter((coding) => coding !== 'identity')]) {
    t.ok((site.seen.get(what) ?? 0) > 0, `${what} was seen`)
  }
  t.ok(await figure(app, 'cache_evictions_total') > 0, 'the cache was full')
  t.ok(await figure(app, 'cache_bytes') <= MAX_BYTES, 'within its bound')
  t.ok(await figure(app, 'pool_retry_attempts_total') + await figure(app, 'upstream_retry_attempts_total') > 0, 'requests were saved')
  await until(async () => await figure(app, 'pool_in_flight') === 0 && await figure(app, 'upstream_in_flight') === 0)

  await until(ready)
  for (const visitor of visitors) {
    const home = await visitor.home()
    t.equal(await visitor.home(), home, 'a session stays')
  }
})
