import { randomBytes } from 'node:crypto'
import rateLimit from '@fastify/rate-limit'
import balancer from '@headgate/balancer'
import stickySession from '@headgate/sticky-session'
import { storeConformance } from '@headgate/sticky-session/conformance'
import Fastify, { type FastifyInstance } from 'fastify'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { Breaker } from '../src/breaker.ts'
import { connectRedis, type RedisOptions, type RedisState } from '../src/index.ts'
import { RedisServer, redisServer, freePort, type Test, until } from './servers.ts'

const connect = (t: Test, options: RedisOptions): RedisState => {
  const state = connectRedis({ timeout: 5000, retryAfter: 10, ...options })
  t.teardown(() => state.close())
  return state
}
const reached = (state: RedisState): Promise<void> => until(async () => {
  try { return await state.connection.client.ping() === 'PONG' } catch { return false }
})

t.test('options are checked', async (t) => {
  const wrong: [object, RegExp][] = [
    [{ url: 'http://x' }, /redis\.url/], [{ timeout: 0 }, /redis\.timeout/], [{ colour: 1 }, /redis\.colour/], [{ prefix: 'a b' }, /redis\.prefix/],
    [{ url: 'redis://a', cluster: ['redis://b:1'] }, /redis\.cluster beside redis\.url/], [{ sentinel: { nodes: ['redis://b:1'] } }, /redis\.sentinel\.name/],
    [{ username: 'x' }, /redis\.username and redis\.password/]
  ]
  for (const [options, message] of wrong) t.throws(() => connectRedis(options), { code: 'HG_POOL_INVALID_OPTION', message }, JSON.stringify(options))
  const state = connect(t, { url: `redis://127.0.0.1:${await freePort()}` })
  t.throws(() => state.stickTable({ maxEntries: 0 }), { message: /stickTable\.maxEntries/ })
  t.throws(() => state.cache({ claim: 1 }), { message: /cache\.claim/ })
})

t.test('the breaker', async (t) => {
  let now = 0
  const flips: boolean[] = []
  const breaker = new Breaker({ now: () => now, wall: () => now, setTimeout: () => undefined, clearTimeout: () => {} }, 3, 100, (open) => { flips.push(open) })
  for (let i = 0; i < 2; i++) breaker.failed()
  breaker.succeeded()
  for (let i = 0; i < 2; i++) breaker.failed()
  t.ok(breaker.ask(), 'only failures in a row count')
  breaker.failed()
  t.same([breaker.open, breaker.ask(), flips], [true, false, [true]])
  now = 100
  t.same([breaker.ask(), breaker.ask()], [true, false], 'one question is let through')
  breaker.failed()
  now = 299
  t.equal(breaker.ask(), false, 'twice as long')
  now = 300
  t.equal(breaker.ask(), true)
  breaker.failed()
  now = 301
  t.equal(breaker.ask(), false, 'four times as long')
  breaker.hope()
  t.same([breaker.ask(), breaker.ask()], [true, false], 'but for somebody who has connected')
  breaker.succeeded()
  t.same([breaker.open, breaker.ask(), flips], [false, true, [true, false]])
})

t.test('with Redis', { skip: skipWithout('redis-server') }, async (t) => {
  const server = await redisServer(t)

  t.test('the stick table conforms', async (t) => {
    const pause = (ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, ms) })
    // Two processes: what one writes the other reads.
    const cases = storeConformance(async () => {
      const prefix = randomBytes(6).toString('hex')
      const states = [connect(t, { url: server.url, prefix }), connect(t, { url: server.url, prefix })] as const
      await Promise.all(states.map(reached))
      const [one, two] = [states[0].stickTable(), states[1].stickTable()]
      return {
        get: (key) => two.get(key), set: (key, entry, ttl) => one.set(key, entry, ttl), touch: (key, ttl) => two.touch(key, ttl),
        delete: (key) => one.delete(key), expire: (limit) => two.expire(limit)
      }
    }, pause, 150)
    await Promise.all(cases.map(({ name, run }) => t.resolves(run(), name)))
  })

  t.test('a stick table goes on while Redis is away, and tells it when it is back', async (t) => {
    const lost = new RedisServer(t, await freePort(), [])
    await lost.start()
    const [one, two] = [connect(t, { url: lost.url }), connect(t, { url: lost.url })]
    await Promise.all([reached(one), reached(two)])
    const [a, b] = [one.stickTable(), two.stickTable()]
    await a.set('k1', { upstreamId: 'x', boundAt: 1 }, 60_000)
    t.same(await b.get('k1'), { upstreamId: 'x', boundAt: 1 })
    await lost.stop()
    t.same(await b.get('k1'), { upstreamId: 'x', boundAt: 1 }, 'what it has seen')
    await a.set('k2', { upstreamId: 'y', boundAt: 2 }, 60_000)
    await b.set('k2', { upstreamId: 'z', boundAt: 3 }, 60_000)
    await a.delete('k1')
    t.same(await a.get('k2'), { upstreamId: 'y', boundAt: 2 })
    t.equal(await b.touch('k2', 60_000), true)
    await lost.start()
    await Promise.all([reached(one), reached(two)])
    await until(async () => (await a.get('k2'))?.upstreamId === 'z' && (await b.get('k2'))?.upstreamId === 'z')
    t.pass('the later one holds')
  })

  t.test('sessions stay with their upstream across proxies, with the table in Redis', async (t) => {
    const origins: string[] = []
    for (const name of ['a', 'b', 'c']) {
      const origin = createServer((_, response) => response.end(name)).listen(0, '127.0.0.1')
      await once(origin, 'listening')
      t.teardown(() => { origin.closeAllConnections(); origin.close() })
      origins.push(`http://127.0.0.1:${(origin.address() as AddressInfo).port}`)
    }
    const apps: FastifyInstance[] = []
    for (let i = 0; i < 2; i++) {
      const state = connect(t, { url: server.url, prefix: 'together' })
      await reached(state)
      const app = Fastify()
      await app.register(balancer, { pools: { web: origins }, routes: [{ prefix: '/', pool: 'web' }] })
      await app.register(stickySession, { by: 'header', name: 'x-user', table: { store: state.stickTable() } })
      await app.ready()
      t.teardown(() => app.close())
      apps.push(app)
    }
    for (let user = 0; user < 12; user++) {
      const headers = { 'x-user': `user-${user}` }
      const home = (await apps[user % 2]!.inject({ url: '/', headers })).body
      // The note is written behind the answer's back.
      await until(async () => (await apps[0]!.inject({ url: '/', headers })).body === home && (await apps[1]!.inject({ url: '/', headers })).body === home)
      for (let i = 0; i < 4; i++) t.equal((await apps[i % 2]!.inject({ url: '/', headers })).body, home)
    }
  })

  t.test('values are claimed once, and kept', async (t) => {
    const [one, two] = [connect(t, { url: server.url, prefix: 'kv' }), connect(t, { url: server.url, prefix: 'kv' })]
    await Promise.all([reached(one), reached(two)])
    const [a, b] = [one.keyValue('tickets'), two.keyValue('tickets')]
    const secrets = [randomBytes(48), randomBytes(48)]
    const both = await Promise.all([a.claim('epoch-1', secrets[0]!, 60_000), b.claim('epoch-1', secrets[1]!, 60_000)])
    t.ok(both[0]!.equals(both[1]!))
    t.ok(secrets.some((secret) => secret.equals(both[0]!)))
    t.equal(await b.get('certificate'), undefined)
    await a.set('certificate', secrets[1]!)
    t.ok((await b.get('certificate'))!.equals(secrets[1]!))
    t.equal(await one.keyValue('other').get('certificate'), undefined)
    t.same([await b.delete('certificate'), await b.delete('certificate')], [true, false])
  })

  t.test('what exceeds a limit may renew its window, or make it longer', async (t) => {
    const state = connect(t, { url: server.url, prefix: 'renew' })
    await reached(state)
    const Store = state.rateLimitStore()
    const ttls = async (options: object, key: string): Promise<number[]> => {
      const store = new Store(options)
      const found: number[] = []
      const next = (): Promise<number> => new Promise((resolve) => { store.incr(key, (_error, result) => { resolve(result!.ttl) }, 3_600_000, 2) })
      for (let i = 0; i < 5; i++) found.push(await next())
      return found.map((ttl) => Math.round(ttl / 3_600_000))
    }
    t.same(await ttls({}, 'a'), [1, 1, 1, 1, 1])
    t.same(await ttls({ exponentialBackoff: true }, 'b'), [1, 1, 1, 2, 4])
    const counters = state.counters('short')
    const [first, second] = [await counters.add('c', 3_600_000), await counters.add('c', 7_200_000, 1, { max: 1, how: 'whole' })]
    t.same([first.count, second.count], [1, 2])
    t.ok(first.ttl <= 3_600_000 && second.ttl > 3_600_000)
    let last = await counters.add('d', 1000)
    for (let i = 0; i < 1100; i++) last = await counters.add('d', 1000, 1, { max: 1, how: 'doubled' })
    t.equal(last.count, 1101)
    t.ok(last.ttl > 1e13, 'and has an end')
  })

  t.test('one limit for all processes, with @fastify/rate-limit; each its own without Redis', async (t) => {
    const lost = new RedisServer(t, await freePort(), [])
    await lost.start()
    const apps: FastifyInstance[] = []
    for (let i = 0; i < 2; i++) {
      const state = connect(t, { url: lost.url, prefix: 'limit' })
      await reached(state)
      const app = Fastify()
      await app.register(rateLimit, { max: 10, timeWindow: 600_000, store: state.rateLimitStore() as never })
      app.get('/', async () => 'yes')
      app.get('/more', { config: { rateLimit: { max: 3 } } }, async () => 'yes')
      t.teardown(() => app.close())
      apps.push(app)
    }
    const statuses = async (url: string, count: number): Promise<number[]> => {
      const all = []
      for (let i = 0; i < count; i++) all.push((await apps[i % 2]!.inject(url)).statusCode)
      return all
    }
    t.equal((await statuses('/', 14)).filter((status) => status === 200).length, 10)
    t.equal((await statuses('/more', 6)).filter((status) => status === 200).length, 3, 'routes count apart')
    await lost.stop()
    const alone = await statuses('/', 40)
    t.equal(alone.filter((status) => status === 200).length, 6, 'what each counted itself goes on')
    t.equal(alone.filter((status) => status === 429).length, 34)
  })
})
