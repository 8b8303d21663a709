import t, { type Test as TapTest } from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { connectRedis, type RedisOptions, type RedisState } from '../src/index.ts'
import { admin, holds, redisCluster } from './cluster.ts'
import { redisServer, sentinel, type Test, until } from './servers.ts'
import { origin, type Proxy, proxy, Traffic } from './site.ts'

async function three (t: Test, redis: RedisOptions): Promise<{ proxies: Proxy[]; traffic: Traffic }> {
  const truth = await origin(t)
  const options = { upstreams: [truth.url], redis: { lease: 1500, retryAfter: 50, ...redis }, cache: { isolated: 'validate' } }
  const proxies = await Promise.all([1, 2, 3].map(() => proxy(t, options)))
  const traffic = new Traffic(proxies, truth)
  t.teardown(() => traffic.end())
  return { proxies, traffic }
}

/** All that is shared but for the cache works. */
async function works (t: TapTest, state: RedisState): Promise<void> {
  await until(async () => { try { return await state.connection.client.exists('nothing') === 0 } catch { return false } })
  const table = state.stickTable()
  await table.set('who', { upstreamId: 'x', boundAt: 1 }, 60_000)
  const kept = state.keyValue('some')
  t.same(await kept.claim('name', Buffer.from('value'), 60_000), Buffer.from('value'))
  t.same([await table.get('who'), (await state.counters('c').add('k', 60_000, 3)).count], [{ upstreamId: 'x', boundAt: 1 }, 3])
  t.same(await state.votes({ instance: 'i' }).exchange([]), [{ instance: 'i', votes: [] }])
}

t.test('Sentinel: the primary dies under load, and its successor hangs', { skip: skipWithout('redis-server'), timeout: 200_000 }, async (t) => {
  const replication = ['--repl-diskless-sync-delay', '0']
  const first = await redisServer(t, ...replication)
  const second = await redisServer(t, ...replication, '--replicaof', `127.0.0.1 ${first.port}`)
  const [one, two] = [admin(t, first.port), admin(t, second.port)]
  await holds(two, ['INFO', 'replication'], /master_link_status:up/)
  const sentinels = await Promise.all([1, 2, 3].map(() => sentinel(t, first.port)))
  for (const { port } of sentinels) {
    const client = admin(t, port)
    await holds(client, ['SENTINEL', 'master', 'main'], /num-slaves,1,num-other-sentinels,2/)
  }
  const where = { sentinel: { nodes: sentinels.map(({ url }) => url), name: 'main' } }
  const state = connectRedis({ ...where, prefix: 'others', timeout: 5000 })
  t.teardown(() => state.close())
  await works(t, state)
  const { traffic } = await three(t, where)
  await traffic.more(150, 5)
  t.ok(traffic.seen.hits > 0, 'it caches')

  traffic.phase = 'the primary has died'
  await first.stop()
  await traffic.more(150, 0)
  await holds(two, ['INFO', 'replication'], /role:master/)
  traffic.phase = 'the other took over'
  await traffic.more(150, 5)

  await first.start()
  await holds(one, ['INFO', 'replication'], /role:slave[^]*master_link_status:up/)
  traffic.phase = 'the second primary hangs'
  second.pause()
  await traffic.more(150, 0)
  await holds(one, ['INFO', 'replication'], /role:master/)
  traffic.phase = 'and another took over'
  await traffic.more(150, 5)
  second.resume()
  traffic.phase = 'and the one that hung goes on'
  await traffic.more(150, 5)
  await traffic.end()
  t.same(traffic.failed, [], 'no failed request')
  t.same(traffic.stale, [], 'no stale answer after a purge was acknowledged')
  t.comment(JSON.stringify(traffic.seen))
})

t.test('Cluster: the node of the log of purges dies under load, and its successor hangs', { skip: skipWithout('redis-server'), timeout: 200_000 }, async (t) => {
  const prefix = 'clustered'
  const { masters, owner, spare } = await redisCluster(t, `${prefix}:c1:{log}`)
  const where = { cluster: masters.map(({ server }) => server.url) }
  const state = connectRedis({ ...where, prefix: 'others', timeout: 5000 })
  t.teardown(() => state.close())
  await works(t, state)
  const { traffic } = await three(t, { ...where, prefix })
  await traffic.more(150, 5)
  t.ok(traffic.seen.hits > 0, 'it caches')
  const shared = await Promise.all(masters.map(async ({ client }) => (await client.keys(`${prefix}:c1:*:k:*`)).length))
  t.ok(shared.filter((count) => count > 0).length > 1, 'responses are spread over the nodes')

  traffic.phase = 'a node has died'
  await owner.server.stop()
  await traffic.more(150, 0)
  await holds(spare.client, ['INFO', 'replication'], /role:master/)
  traffic.phase = 'its replica took over'
  await traffic.more(150, 5)

  await owner.server.start()
  await holds(owner.client, ['INFO', 'replication'], /role:slave[^]*master_link_status:up/)
  traffic.phase = 'that hangs'
  spare.server.pause()
  await traffic.more(150, 0)
  await holds(owner.client, ['INFO', 'replication'], /role:master/)
  traffic.phase = 'and another took over'
  await traffic.more(150, 5)
  spare.server.resume()
  traffic.phase = 'and the one that hung goes on'
  await traffic.more(150, 5)
  await traffic.end()
  t.same(traffic.failed, [], 'no failed request')
  t.same(traffic.stale, [], 'no stale answer after a purge was acknowledged')
  t.comment(JSON.stringify(traffic.seen))
})

t.test('a Redis that is full', { skip: skipWithout('redis-server'), timeout: 200_000 }, async (t) => {
  const server = await redisServer(t, '--maxmemory-policy', 'noeviction')
  const client = admin(t, server.port)
  const { traffic, proxies } = await three(t, { url: server.url })
  const state = connectRedis({ url: server.url, prefix: 'others', timeout: 5000 })
  t.teardown(() => state.close())
  await works(t, state)
  await traffic.more(150, 5)
  traffic.phase = 'full'
  await client.config('SET', 'maxmemory', '1')
  const before = traffic.seen.refused
  await until(() => traffic.seen.refused > before + 3)
  await traffic.more(150, 0)
  t.equal((await proxies[0]!.get('/_state')).status, 200)
  const table = state.stickTable()
  await table.set('new', { upstreamId: 'y', boundAt: 2 }, 60_000)
  t.same(await table.get('new'), { upstreamId: 'y', boundAt: 2 }, 'what could not be written is known here')
  t.equal((await state.counters('d').add('k', 60_000, 2)).count, 2, 'each counts for itself')
  await t.rejects(state.votes().exchange([]), 'votes: each decides alone')
  traffic.phase = 'room again'
  await client.config('SET', 'maxmemory', '0')
  await traffic.more(150, 5)
  await traffic.end()
  t.same(traffic.failed, [], 'no failed request')
  t.same(traffic.stale, [], 'no stale answer after a purge was acknowledged')
  t.comment(JSON.stringify(traffic.seen))
})
