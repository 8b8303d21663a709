import { randomBytes } from 'node:crypto'
import type { CacheStore, Entry } from '@headgate/cache'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { app } from '../../cache/test/helpers.ts'
import { bodyOf, entry as made, put } from '../../cache/test/store/helpers.ts'
import { connectRedis, type RedisState } from '../src/index.ts'
import { type RedisServer, redisServer, type Test, until } from './servers.ts'

/** Entries of the cache's own tests are of long ago. */
const entry: typeof made = (...args) => Object.assign(made(...args), { responseTime: Date.now(), date: Date.now() })

t.test('the cache store', { skip: skipWithout('redis-server') }, async (t) => {
  const server = await redisServer(t)
  const connect = async (t: Test, prefix: string, to: RedisServer = server): Promise<RedisState> => {
    const state = connectRedis({ url: to.url, prefix, timeout: 5000 })
    t.teardown(() => state.close())
    await state.ready
    return state
  }
  const open = async (t: Test, options: Parameters<RedisState['cache']>[0] = {}, prefix = randomBytes(6).toString('hex')): Promise<CacheStore> => {
    const state = connectRedis({ url: server.url, prefix, timeout: 5000 })
    const store = state.cache(options)
    t.teardown(async () => {
      await store.close()
      await state.close()
    })
    await state.ready
    return store
  }
  const pair = async (t: Test): Promise<[CacheStore, CacheStore]> => {
    const prefix = randomBytes(6).toString('hex')
    return [await open(t, {}, prefix), await open(t, {}, prefix)]
  }
  const ids = (entries: readonly Entry[]): string[] => entries.map(({ id }) => id)

  t.test('what was stored is found, whole and in part, here and elsewhere', async (t) => {
    const [one, two] = await pair(t)
    t.same(await one.get('http://a.example/x'), [])
    const kept = (await put(one, entry('http://a.example/x', { 'x-a': 'ü', vary: 'b' }, { b: '1' }), 'hello world'))!
    t.equal((await one.get('http://a.example/x'))[0], kept)
    t.equal(await bodyOf(one, kept), 'hello world')
    const [other] = await two.get('http://a.example/x') as Entry[]
    t.same({ ...other, body: undefined }, { ...kept, body: undefined })
    t.equal(await bodyOf(two, other!, 4, 6), 'o w')
    t.notOk(two.get('http://a.example/x') instanceof Promise, 'the second time nobody is asked')
  })

  t.test('an invalidation that comes while a response is being validated is not undone by the answer', async (t) => {
    const prefix = randomBytes(6).toString('hex')
    const [store, other] = [await open(t, {}, prefix), await open(t, {}, prefix)]
    let asked = false
    let answer = (): void => {}
    const answered = new Promise<void>((resolve) => { answer = resolve })
    const { app: one } = await app(t, { store }, (one) => one.get('/x', async (request, reply) => {
      reply.header('etag', '"1"')
      if (request.headers['if-none-match'] === undefined) return reply.header('cache-control', 'max-age=0').send('x')
      asked = true
      await answered
      return reply.header('cache-control', 'max-age=60').code(304).send()
    }))
    const headers = { host: 'a.example' }
    await one.inject({ url: '/x', headers })
    const validated = one.inject({ url: '/x', headers: { ...headers, 'cache-control': 'max-age=0' } })
    await until(() => asked)
    await other.purge!({ by: 'url', names: ['http://a.example/x'], mode: 'invalidate' })
    answer()
    t.match((await validated).headers['cache-status'], /fwd=.*fwd-status=304/)
    await store.settled?.()
    t.match((await one.inject({ url: '/x', headers: { ...headers, 'cache-control': 'only-if-cached' } })).headers['cache-status'], /fwd=stale/)
    const [found] = await other.get('http://a.example/x') as Entry[]
    t.same([found!.lifetime, found!.invalidated], [60_000, true])
  })

  t.test('who purges need not know which parameters matter: all of the path that was stored under such a rule goes', async (t) => {
    const prefix = randomBytes(6).toString('hex')
    const [store, other, third] = [await open(t, {}, prefix), await open(t, {}, prefix), await open(t, {}, prefix)]
    const ruled = { 'no-vary-search': 'params=("from")' }
    const put3 = async (): Promise<void> => {
      for (const url of ['http://a.example/x', 'http://a.example/x?id=1', 'http://a.example/y?id=1']) await put(store, entry(url, ruled), 'x')
      await put(store, entry('http://a.example/x?plain'), 'x')
      for (const url of ['x?id=1', 'x?plain']) await third.get(`http://a.example/${url}`)
    }
    const left = async (from: CacheStore): Promise<string> => {
      const all = await Promise.all(['x', 'x?id=1', 'y?id=1', 'x?plain'].map(async (url) => await from.get(`http://a.example/${url}`)))
      return all.map(([found]) => found === undefined ? '-' : found.invalidated ? 'i' : '+').join('')
    }
    await put3()
    t.equal(await other.purge!({ by: 'url', names: ['http://a.example/x?id=1&from=b'], mode: 'hard' }), 0, 'it has none itself')
    t.same(await Promise.all([left(store), left(third), left(other)]), ['--++', '--++', '--++'])
    await put3()
    const late = await open(t, {}, prefix)
    await late.purge!({ by: 'url', names: ['http://a.example/x?id=1&from=b'], mode: 'invalidate' })
    t.same(await Promise.all([left(store), left(third), left(other)]), ['ii++', 'ii++', 'ii++'])
  })

  t.test('bodies in chunks, also those that no memory takes', async (t) => {
    const prefix = randomBytes(6).toString('hex')
    const body = randomBytes(700_001)
    for (const memory of [{}, { maxEntryBytes: 1000 }]) {
      const one = await open(t, { memory, maxEntryBytes: 1_000_000 }, prefix)
      const two = await open(t, { memory, maxEntryBytes: 1_000_000 }, prefix)
      const key = `http://a.example/${Object.keys(memory).length}`
      const kept = (await put(one, entry(key), body))!
      t.equal(kept.size, body.length)
      const [other] = await two.get(key) as Entry[]
      t.ok(Buffer.from((await two.read(other!, 0, body.length - 1)) as Buffer).equals(body))
      t.ok(Buffer.from((await two.read(other!, 262_000, 600_000)) as Buffer).equals(body.subarray(262_000, 600_001)))
      t.equal(two.create(entry(key), 1_000_001) === undefined, memory.maxEntryBytes !== undefined, 'too long for both')
    }
  })

  t.test('nothing is found before it is complete, nor after it was cut off', async (t) => {
    const [one, two] = await pair(t)
    const writer = one.create(entry('http://a.example/x'), -1)!
    writer.write(randomBytes(300_000))
    t.same(await two.get('http://a.example/x'), [])
    writer.abort()
    t.same(await one.get('http://a.example/x'), [])
    t.same(await two.get('http://a.example/x'), [])
  })

  t.test('a new response takes the place of those that it replaces; what one deletes is gone for all', async (t) => {
    const [one, two] = await pair(t)
    const first = (await put(one, entry('http://a.example/x'), 'one'))!
    const other = (await put(one, entry('http://a.example/x', { vary: 'b' }, { b: '1' }), 'other'))!
    const second = (await put(one, entry('http://a.example/x'), 'two', [first]))!
    t.same(new Set(ids(await two.get('http://a.example/x'))), new Set([other.id, second.id]))
    two.delete((await two.get('http://a.example/x'))[0]!)
    await two.settled?.()
    const third = await open(t, {}, randomBytes(6).toString('hex'))
    t.same(await third.get('http://a.example/x'), [], 'another prefix has nothing')
    t.equal((await one.getUrl('http://a.example/x')).length, 2, 'a copy that is fresh may be used, as HTTP has it')
  })

  t.test('by URL, all keys; by iteration, all entries', async (t) => {
    const [one, two] = await pair(t)
    for (const key of ['http://a.example/x', 'http://a.example/x h:b="1"', 'http://a.example/x QUERY abc', 'http://a.example/y']) await put(one, entry(key), 'x')
    t.equal((await two.getUrl('http://a.example/x')).length, 3)
    t.equal((await two.get('http://a.example/x')).length, 1)
    const all: string[] = []
    for await (const { key } of two.entries()) all.push(key)
    t.equal(new Set(all).size, 4)
    t.equal(all.length, 4)
  })

  t.test('versions of assets, whose keys do not begin with their URLs, are found elsewhere and purged with their assets', async (t) => {
    const [one, two] = await pair(t)
    t.ok(one.anyKey)
    for (const [hash, body] of [['a+/=', Buffer.from('short')], ['b+/=', randomBytes(300_000)]] as const) {
      const key = `dictionary:http://a.example/${hash} h:x="1"`
      const version = (): Entry => Object.assign(entry('http://a.example/app-1.js'), { key })
      await put(one, version(), body)
      const [other] = await two.get(key) as Entry[]
      t.equal(other!.url, 'http://a.example/app-1.js')
      t.ok(Buffer.from((await two.read(other!, 0, body.length - 1)) as Buffer).equals(body))
      await two.purge!({ by: 'url', names: ['http://a.example/app-1.js'], mode: 'hard' })
      t.same(await one.get(key), [])
      t.same(await two.get(key), [])
      const again = (await put(two, version(), body))!
      one.delete((await one.get(key))[0]!)
      await one.settled?.()
      two.delete(again)
      t.same(await two.get(key), [], 'deleted in Redis too')
    }
  })

  t.test('many variants of one key do not fill it', async (t) => {
    const [one, two] = await pair(t)
    for (let i = 0; i < 40; i++) await put(one, entry('http://a.example/x', { vary: 'b' }, { b: String(i) }), 'x')
    t.equal((await one.get('http://a.example/x')).length, 32)
    t.equal((await two.get('http://a.example/x')).length, 32)
  })

  t.test('a freshened response is fresh for all', async (t) => {
    const [one, two] = await pair(t)
    const kept = (await put(one, entry('http://a.example/x'), 'x'))!
    kept.responseTime -= 3_600_000
    one.update(kept)
    await one.settled?.()
    const [stale] = await two.get('http://a.example/x') as Entry[]
    t.ok(stale!.responseTime < Date.now() - 1_000_000)
    kept.responseTime = Date.now()
    one.update(kept)
    await one.settled?.()
    const [fresh] = await two.get('http://a.example/x') as Entry[]
    t.equal(fresh!.responseTime, kept.responseTime)
    t.equal(await bodyOf(two, fresh!), 'x')
  })

  t.test('a purge holds everywhere when it is confirmed: by URL, tag, prefix, group, all; hard, soft, for validation', async (t) => {
    const [one, two] = await pair(t)
    const fill = async (): Promise<void> => {
      for (const name of ['a/1', 'a/2', 'b/1']) {
        await put(one, entry(`http://a.example/${name}`, { 'cache-tag': name, 'cache-groups': `"${name}"` }), name)
        await two.get(`http://a.example/${name}`)
      }
    }
    const has = async (store: CacheStore): Promise<string> => {
      const found = []
      for (const name of ['a/1', 'a/2', 'b/1']) if ((await store.get(`http://a.example/${name}`)).length > 0) found.push(name)
      return found.join(' ')
    }
    const cases = [
      [{ by: 'url', names: ['http://a.example/a/1'] }, 'a/2 b/1'], [{ by: 'tag', names: ['a/2', 'b/1'] }, 'a/1'],
      [{ by: 'prefix', names: ['http://a.example/a/'] }, 'b/1'], [{ by: 'group', names: ['http://a.example\nb/1'] }, 'a/1 a/2'], [{ by: 'all', names: [] }, '']
    ] as const
    for (const [concern, left] of cases) {
      await fill()
      t.equal(await has(two), 'a/1 a/2 b/1')
      await one.purge!({ ...concern, mode: 'hard' })
      t.equal(await has(two), left, `${concern.by}, elsewhere`)
      t.equal(await has(one), left, `${concern.by}, here`)
      await fill()
      t.equal(await has(two), 'a/1 a/2 b/1', 'what is stored after it may be used')
    }
    await two.purge!({ by: 'tag', names: ['a/1'], mode: 'invalidate' })
    await two.purge!({ by: 'url', names: ['http://a.example/a/2'], mode: 'soft' })
    const third = one.get('http://a.example/a/1') as readonly Entry[] | Promise<readonly Entry[]>
    t.equal((await third)[0]!.invalidated, true)
    const [soft] = await one.get('http://a.example/a/2') as Entry[]
    t.equal(soft!.invalidated, false)
    t.ok(soft!.initialAge + Date.now() - soft!.responseTime >= soft!.lifetime, 'stale')
  })

  t.test('a process that comes later obeys earlier purges', async (t) => {
    const prefix = randomBytes(6).toString('hex')
    const one = await open(t, {}, prefix)
    await put(one, entry('http://a.example/x', { 'cache-tag': 'old' }), 'x')
    await put(one, entry('http://a.example/y'), 'y')
    await one.purge!({ by: 'tag', names: ['old'], mode: 'hard' })
    const two = await open(t, {}, prefix)
    await until(async () => (await two.get('http://a.example/y')).length === 1)
    t.same(await two.get('http://a.example/x'), [])
  })

  t.test('what was fetched before a purge is not stored after it', async (t) => {
    const [one, two] = await pair(t)
    const writer = one.create(entry('http://a.example/x', { 'cache-tag': 'x' }), 1)!
    writer.write(Buffer.from('x'))
    await two.purge!({ by: 'tag', names: ['x'], mode: 'hard' })
    t.equal(await writer.commit([]), false)
    t.same(await one.get('http://a.example/x'), [])
    t.same(await two.get('http://a.example/x'), [])
  })

  t.test('what was fetched before a soft purge is stale after it, in memory too', async (t) => {
    const [one, two] = await pair(t)
    const writer = one.create(entry('http://a.example/x', { 'cache-tag': 'x' }), 1)!
    writer.write(Buffer.from('x'))
    await two.purge!({ by: 'tag', names: ['x'], mode: 'soft' })
    t.equal(await writer.commit([]), true)
    for (const store of [one, two]) {
      const [found] = await store.get('http://a.example/x') as Entry[]
      t.ok(found!.initialAge + Date.now() - found!.responseTime >= found!.lifetime, 'stale')
    }
  })

  t.test('a purge that comes while a long body is read holds for it as well', async (t) => {
    const [one, two] = await pair(t)
    for (const mode of ['hard', 'invalidate'] as const) {
      const url = `http://a.example/${mode}`
      await put(one, entry(url), randomBytes(300_000))
      const [found] = await two.get(url) as Entry[]
      await one.purge!({ by: 'url', names: [url], mode })
      t.equal(((await two.read(found!, 0, 299_999)) as Buffer).length, 300_000, 'who asked before may have it')
      const after = await two.get(url)
      if (mode === 'hard') t.same(after, [])
      else t.ok(after.every(({ invalidated }) => invalidated))
    }
  })

  t.test('of many who want a response one fetches', async (t) => {
    const [one, two] = await pair(t)
    const ask = { key: 'http://a.example/x', url: 'http://a.example/x', variant: 'http://a.example/x', known: [], wait: 60_000 }
    const first = await one.claim!(ask)
    t.equal(first.verdict, 'fetch')
    t.equal((await two.claim!({ ...ask, wait: 0 })).verdict, 'look', 'in the background nobody waits')
    const second = two.claim!(ask)
    await put(one, entry('http://a.example/x'), 'x')
    first.done(0)
    t.equal((await second).verdict, 'look')
    t.equal((await two.get('http://a.example/x')).length, 1)
    const third = await one.claim!({ ...ask, variant: 'other' })
    t.equal(third.verdict, 'look', 'what came after the last look is noticed')
    const fourth = await one.claim!({ ...ask, known: await one.get('http://a.example/x') })
    t.equal(fourth.verdict, 'fetch')
    fourth.done(60_000)
    await until(async () => (await two.claim!({ ...ask, wait: 0 })).verdict === 'pass')
  })

  t.test('a holder that has died is followed', async (t) => {
    const prefix = randomBytes(6).toString('hex')
    const two = await open(t, { claim: 100 }, prefix)
    const dead = connectRedis({ url: server.url, prefix, timeout: 5000 })
    const ask = { key: 'http://a.example/x', url: 'http://a.example/x', variant: 'v', known: [], wait: 60_000 }
    const store = dead.cache({ claim: 100 })
    await dead.ready
    t.equal((await store.claim(ask)).verdict, 'fetch')
    dead.connection.close()
    t.equal((await two.claim!(ask)).verdict, 'fetch')
    await dead.close()
  })

  t.test('without Redis each has its own', async (t) => {
    const lost = await redisServer(t)
    const state = connectRedis({ url: lost.url, timeout: 5000, retryAfter: 10, lease: 1000 })
    t.teardown(() => state.close())
    const store = state.cache({ isolated: 'validate' })
    await state.ready
    await put(store, entry('http://a.example/x'), 'x')
    await lost.stop()
    t.equal((await store.get('http://a.example/x')).length, 1)
    await until(() => (store.get('http://a.example/x') as Entry[])[0]!.invalidated)
    t.ok(await put(store, entry('http://a.example/y'), 'y'))
    t.equal((await store.get('http://a.example/y')).length, 1)
    t.equal((await store.claim({ key: 'k', url: 'k', variant: 'k', known: [], wait: 1000 })).verdict, 'fetch')
    await t.rejects(store.purge({ by: 'all', names: [], mode: 'hard' }), { code: 'HG_REDIS_PURGE_UNCONFIRMED' })
    t.same(await store.get('http://a.example/y'), [], 'it holds here')
    await lost.start()
    await until(async () => { try { await store.purge({ by: 'all', names: [], mode: 'hard' }); return true } catch { return false } })
    await put(store, entry('http://a.example/z'), 'z')
    t.equal((await store.get('http://a.example/z'))[0]!.invalidated, false)
  })

  t.test('a Redis that went back to an old state does not bring back what was purged', async (t) => {
    const old = await redisServer(t, '--dbfilename', 'dump.rdb')
    const one = await connect(t, 'p', old)
    const two = await connect(t, 'p', old)
    const [a, b] = [one.cache(), two.cache()]
    await put(a, entry('http://a.example/x'), 'x')
    await b.get('http://a.example/x')
    await one.connection.client.call('SAVE')
    await a.purge({ by: 'url', names: ['http://a.example/x'], mode: 'hard' })
    await old.stop()
    await old.start()
    await until(async () => { try { return await one.connection.client.call('PING') === 'PONG' } catch { return false } })
    for (const state of [one, two]) await until(async () => { try { return (await state.connection.client.exists('p:c1:{log}')) === 1 } catch { return false } })
    for (const store of [a, b]) {
      // Whenever it looks, before or after it has seen what happened.
      for (let i = 0; i < 50; i++) t.same(await store.get('http://a.example/x'), [])
    }
    await until(async () => { try { await b.purge({ by: 'tag', names: ['none'], mode: 'hard' }); return true } catch { return false } })
    t.same(await a.get('http://a.example/x'), [])
    t.same(await b.get('http://a.example/x'), [])
  })
})
