import fc from 'fast-check'
import { Redis } from 'ioredis'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { connectRedis, type RedisOptions, type RedisState } from '../src/index.ts'
import { agreed, majority } from '../src/sentinels.ts'
import { holds, redisCluster } from './cluster.ts'
import { fakeSentinel, type FakeSentinel } from './sentinels.ts'
import { type RedisServer, redisServer, type Test, until } from './servers.ts'

const options = { skip: skipWithout('redis-server'), timeout: 60_000 }

function open (t: Test, sentinels: readonly FakeSentinel[], more: RedisOptions = {}): RedisState {
  const state = connectRedis({ sentinel: { nodes: sentinels.map(({ url }) => url), name: 'main' }, timeout: 5000, failures: 1000, ...more })
  t.teardown(() => state.close())
  return state
}

interface Pair {
  readonly first: RedisServer
  readonly second: RedisServer
  readonly sentinels: readonly FakeSentinel[]
  /** The replica takes over, and all sentinels name it. */
  promote (): Promise<void>
  ask (server: RedisServer): Redis
}

/** A primary, its replica, and three sentinels that name it. */
async function pair (t: Test): Promise<Pair> {
  const first = await redisServer(t, '--repl-diskless-sync-delay', '0')
  const second = await redisServer(t, '--replicaof', `127.0.0.1 ${first.port}`)
  const sentinels = await Promise.all([1, 2, 3].map(() => fakeSentinel(t, first.port)))
  const ask = (server: RedisServer): Redis => {
    const client = new Redis({ port: server.port })
    client.on('error', () => {})
    t.teardown(() => { client.disconnect() })
    return client
  }
  const client = ask(second)
  await until(async () => (await client.info('replication')).includes('master_link_status:up'))
  const promote = async (): Promise<void> => {
    await client.replicaof('NO', 'ONE')
    for (const one of sentinels) one.names = second.port
  }
  return { first, second, sentinels, promote, ask }
}

/** The port of whoever answers questions. */
const asks = async ({ connection }: RedisState): Promise<number> => {
  try {
    return Number(/tcp_port:(\d+)/.exec(await connection.ask((client) => client.info('server')))![1])
  } catch { return 0 }
}

/** Who is connected, but for those who look for that, and what they do. */
const connected = async (client: Redis): Promise<string[]> =>
  (await client.client('LIST') as string).split('\n').filter((line) => line.includes(' flags=N ') || line.includes(' flags=b ')).map((line) => / cmd=(\S+)/.exec(line)![1]!)
    .filter((command) => command !== 'client|list' && command !== 'info' && command !== 'replicaof')

const records = async (client: Redis, prefix = 'headgate'): Promise<string[]> =>
  (await client.xrange(`${prefix}:c1:{log}`, '-', '+')).map(([, [, text]]) => text!)

t.test('of all that sentinels say more than half decides, and few that agree where no more answer', async (t) => {
  const nobody = undefined
  t.same([[], [nobody], ['a'], ['a', nobody, nobody], ['a', 'b', nobody], ['a', 'b', nobody, nobody, nobody], ['b', 'a', 'b']].map(agreed),
    [nobody, nobody, 'a', 'a', nobody, nobody, 'b'])
  const answer = fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined })
  fc.assert(fc.property(fc.array(answer, { maxLength: 9 }), fc.array(fc.boolean(), { minLength: 9, maxLength: 9 }), (answers, silent) => {
    const decided = majority(answers)
    if (decided !== undefined) t.ok(agreed(answers) === decided)
    // Whoever hears some of them only never goes by another majority.
    const heard = majority(answers.map((one, i) => silent[i]! ? undefined : one))
    t.ok(heard === undefined || heard === decided)
    if (answers.every((one) => one === undefined)) t.ok(agreed(answers) === undefined)
  }))
})

t.test('a connection to a primary that hung is none when another was named meanwhile', options, async (t) => {
  const { first, second, sentinels, promote, ask } = await pair(t)
  const old = ask(first)
  await old.ping()
  first.pause()
  const state = open(t, sentinels, { connectTimeout: 30_000 })
  state.cache()
  let ready = 0
  state.connection.client.on('ready', () => { ready++ })
  // Its own and that of the log of purges wait for the first word.
  await until(() => sentinels.every(({ asked }) => asked >= 2))
  await promote()
  first.resume()
  await until(async () => await asks(state) === second.port)
  await state.ready
  t.equal(ready, 1, 'it never was connected to the old one')
  t.same(await connected(old), [], 'nor is the log of purges')
  t.same(await records(old), [])
  await until(async () => (await connected(ask(second))).includes('xread'))
})

t.test('a connection to a server that takes itself for a replica is none', options, async (t) => {
  const { first, second, sentinels } = await pair(t)
  for (const one of sentinels) one.names = second.port
  const state = open(t, sentinels)
  let ready = 0
  state.connection.client.on('ready', () => { ready++ })
  await until(() => sentinels[0]!.asked > 8)
  t.equal(ready, 0)
  for (const one of sentinels) one.names = first.port
  await until(async () => await asks(state) === first.port)
})

t.test('a primary that another took the place of is left, by the log of purges too, though it answers', options, async (t) => {
  const { first, second, sentinels, promote, ask } = await pair(t)
  const state = open(t, sentinels)
  state.cache()
  await state.ready
  await until(async () => (await connected(ask(first))).includes('xread'))
  // One of three says nothing yet.
  sentinels[0]!.names = second.port
  t.equal(await state.connection.holds(state.connection.session('some'), 'some'), true)
  t.equal(await asks(state), first.port)
  await promote()
  await until(async () => await asks(state) === second.port)
  const old = ask(first)
  await until(async () => (await connected(old)).length === 0)
  await until(async () => (await connected(ask(second))).includes('xread'))
})

t.test('a purge that only the old primary took is made at the new one before it is confirmed', options, async (t) => {
  const { first, second, sentinels, promote, ask } = await pair(t)
  const state = open(t, sentinels, { lease: 10_000 })
  const store = state.cache()
  await state.ready
  first.pause()
  const purge = { by: 'url' as const, names: ['http://a.example/'], mode: 'hard' as const }
  const done = store.purge(purge)
  // Under way in the hang, it is answered OK by one that does not know yet.
  await promote()
  first.resume()
  await done
  t.ok((await records(ask(first))).some((text) => text.includes('a.example')), 'the old one has it')
  t.ok((await records(ask(second))).some((text) => text.includes('a.example')), 'and the new one')
})

t.test('a purge is not confirmed, and what is shared not used, while the sentinels do not agree', options, async (t) => {
  const { first, second, sentinels } = await pair(t)
  const state = open(t, sentinels, { lease: 1000 })
  const store = state.cache({ isolated: 'validate' })
  await state.ready
  // Asked for, or not even that.
  const shared = (): boolean => !Array.isArray(store.get('http://a.example/'))
  t.ok(shared())
  sentinels[0]!.names = second.port
  sentinels[1]!.names = undefined
  const purge = { by: 'url' as const, names: ['http://a.example/'], mode: 'hard' as const }
  await t.rejects(store.purge(purge), { code: 'HG_REDIS_PURGE_UNCONFIRMED' })
  t.notOk(shared())
  t.equal(await asks(state), first.port, 'there is no other to go to')
  sentinels[0]!.names = first.port
  await until(async () => { try { await store.purge(purge); return true } catch { return false } })
  // This process has told that it read the purge, which confirms it, and may yet have to read others, of its own, before its contact counts.
  await until(shared)
})

t.test('sentinels that are gone, or hang, take nothing away', options, async (t) => {
  const { first, second, sentinels } = await pair(t)
  const state = open(t, sentinels, { lease: 1000, connectTimeout: 200 })
  const store = state.cache()
  await state.ready
  const purge = (name: string): Promise<number> => store.purge({ by: 'url', names: [name], mode: 'hard' })
  let left = 0
  state.connection.client.on('close', () => { left++ })
  sentinels[0]!.end()
  sentinels[1]!.hangs = true
  await purge('http://one.example/')
  sentinels[2]!.end()
  await purge('http://none.example/')
  t.equal(await asks(state), first.port)
  t.equal(left, 0)
  // One alone is not gone by as long as the primary answers: it may be the one that is behind.
  sentinels[1]!.hangs = false
  sentinels[1]!.names = second.port
  const { asked } = sentinels[1]!
  await until(() => sentinels[1]!.asked > asked)
  await t.rejects(purge('http://other.example/'), { code: 'HG_REDIS_PURGE_UNCONFIRMED' })
  t.equal(left, 0)
})

t.test('in a cluster, a purge that only the old owner took is made at the new one before it is confirmed', options, async (t) => {
  const { masters, owner, spare, part } = await redisCluster(t, 'headgate:c1:{log}')
  const state = connectRedis({ cluster: masters.map(({ server }) => server.url), timeout: 5000, failures: 1000, lease: 40_000 })
  t.teardown(() => state.close())
  const store = state.cache()
  await state.ready
  // It goes on as the owner, and the others have another one.
  const mend = await part()
  await holds(spare.client, ['CLUSTER', 'FAILOVER', 'TAKEOVER'], /OK/)
  const id = String(await spare.client.call('CLUSTER', 'MYID'))
  for (const { client, server } of masters) if (server !== owner.server) await holds(client, ['CLUSTER', 'NODES'], new RegExp(`${id} \\S+ master`))
  const done = store.purge({ by: 'url', names: ['http://a.example/'], mode: 'hard' })
  const has = async ({ client }: { client: Redis }): Promise<boolean> => (await records(client)).some((text) => text.includes('a.example'))
  await until(() => has(owner))
  mend()
  await done
  t.ok(await has(spare))
})

t.test('in a cluster, what a node says that hung counts only while the others know it as the owner', options, async (t) => {
  const key = 'headgate:c1:{log}'
  const { masters, owner, spare } = await redisCluster(t, key)
  const state = connectRedis({ cluster: masters.map(({ server }) => server.url), timeout: 5000, failures: 1000 })
  t.teardown(() => state.close())
  const { connection } = state
  await state.ready
  const session = connection.session(key)
  t.equal(await connection.holds(session, key), true)
  owner.server.pause()
  await holds(spare.client, ['CLUSTER', 'FAILOVER', 'TAKEOVER'], /OK/)
  await until(async () => !await connection.holds(session, key))
  owner.server.resume()
  await until(async () => connection.server(key) === `127.0.0.1 ${spare.server.port}` && await connection.holds(connection.session(key), key))
})

t.test('in a cluster, other nodes that hang take nothing away', options, async (t) => {
  const { masters, owner } = await redisCluster(t, 'headgate:c1:{log}')
  const state = connectRedis({ cluster: masters.map(({ server }) => server.url), timeout: 5000, failures: 1000 })
  t.teardown(() => state.close())
  const store = state.cache()
  await state.ready
  for (const { server } of masters) if (server !== owner.server) server.pause()
  t.equal(await store.purge({ by: 'url', names: ['http://a.example/'], mode: 'hard' }), 0)
})
