import { isBuiltin } from 'node:module'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { cacheStores } from 'undici'
import { type CacheStore, DiskStore, MemoryStore, TieredStore, type UndiciCacheStore, UndiciStore } from '../../src/index.ts'
import type { FastifyInstance } from 'fastify'
import { app, eventually } from '../helpers.ts'
import { bodyOf, entry, put } from './helpers.ts'

interface Bounds { readonly maxBytes?: number; readonly maxEntries?: number; readonly maxEntryBytes?: number; readonly eviction?: 's3-fifo' | 'sieve' | 'gdsf' }

const folder = mkdtempSync(join(tmpdir(), 'headgate-cache-'))
t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
let count = 0

/** Every store keeps the same promises. */
const stores: Record<string, (bounds?: Bounds) => CacheStore> = {
  memory: (bounds = {}) => new MemoryStore(bounds),
  disk: (bounds = {}) => new DiskStore({ path: join(folder, String(count++)), ...bounds }),
  tiered: (bounds = {}) => new TieredStore(new DiskStore({ path: join(folder, String(count++)), ...bounds }), { maxBytes: 64 * 1024 }),
  'undici\'s MemoryCacheStore': () => new UndiciStore(new cacheStores.MemoryCacheStore() as UndiciCacheStore),
  // Needs node:sqlite, of Node 22.
  ...isBuiltin('node:sqlite') && {
    'undici\'s SqliteCacheStore': () => new UndiciStore(new cacheStores.SqliteCacheStore({ location: join(folder, `${count++}.sqlite`) }) as UndiciCacheStore)
  }
}

/** Stores of others have their own bounds, of which they do not tell. */
const bounded = (name: string): boolean => !name.startsWith('undici')

for (const [name, make] of Object.entries(stores)) {
  t.test(name, async (t) => {
    const open = async (bounds?: Bounds): Promise<CacheStore> => {
      const store = make(bounds)
      t.teardown(() => store.close())
      await store.ready
      return store
    }

    t.test('what was stored is found, whole and in part', async (t) => {
      const store = await open()
      t.same(await store.get('http://a.example/x'), [])
      const one = (await put(store, entry('http://a.example/x', { 'x-a': 'ü', vary: 'b' }, { b: '1' }), 'hello world'))!
      t.equal((await store.get('http://a.example/x'))[0], one)
      t.equal(one.size, 11)
      t.equal(await bodyOf(store, one), 'hello world')
      t.equal(await bodyOf(store, one, 4, 6), 'o w')
      t.equal(store.stats.entries, 1)
      t.ok(store.stats.bytes > 11)
    })

    t.test('nothing is found before it is complete, nor after it was cut off', async (t) => {
      const store = await open()
      const writer = store.create(entry('http://a.example/x'), -1)!
      writer.write(Buffer.from('half'))
      t.same(await store.get('http://a.example/x'), [])
      writer.abort()
      t.same(await store.get('http://a.example/x'), [])
      t.equal(store.stats.entries, 0)
    })

    t.test('a new response takes the place of those that it replaces', async (t) => {
      const store = await open()
      const first = (await put(store, entry('http://a.example/x'), 'one'))!
      const other = (await put(store, entry('http://a.example/x', { vary: 'b' }, { b: '1' }), 'other'))!
      const second = (await put(store, entry('http://a.example/x'), 'two', [first]))!
      t.same(new Set(await store.get('http://a.example/x')), new Set([other, second]))
    })

    t.test('a list that was given does not change', async (t) => {
      const store = await open()
      const first = (await put(store, entry('http://a.example/x'), 'one'))!
      const list = await store.get('http://a.example/x')
      await put(store, entry('http://a.example/x', { vary: 'b' }, { b: '1' }), 'two')
      store.delete(first)
      t.same(list, [first])
    })

    t.test('by URL, all keys; by iteration, all entries', async (t) => {
      const store = await open()
      await put(store, entry('http://a.example/x'), 'one')
      await put(store, entry('http://a.example/x h:b="1"'), 'two')
      await put(store, entry('http://a.example/x QUERY abc'), 'three')
      await put(store, entry('http://a.example/y'), 'four')
      t.equal((await store.getUrl('http://a.example/x')).length, 3)
      t.equal((await store.get('http://a.example/x')).length, 1)
      const all: string[] = []
      for await (const one of store.entries()) all.push(one.key)
      t.equal(all.length, 4)
      for (const one of await store.getUrl('http://a.example/x')) store.delete(one)
      t.same(await store.getUrl('http://a.example/x'), [])
      t.equal(store.stats.entries, 1)
    })

    if (bounded(name)) t.test('bounds: a body that is too long, too many entries, too many bytes', async (t) => {
      const short = await open({ maxEntryBytes: 10 })
      t.equal(short.create(entry('http://a.example/x'), 11), undefined, 'known before')
      const writer = short.create(entry('http://a.example/x'), -1)!
      t.ok(writer.alive)
      writer.write(Buffer.alloc(11))
      t.notOk(writer.alive, 'known on the way')
      t.notOk(await writer.commit([]))
      const few = await open({ maxEntries: 3 })
      const evicted: string[] = []
      few.onEvict = ({ key }) => { evicted.push(key) }
      for (let i = 0; i < 10; i++) await put(few, entry(`http://a.example/${i}`), 'x')
      t.equal(few.stats.entries, 3)
      t.equal(evicted.length, 7)
      const small = await open({ maxBytes: 1024 * 1024 })
      for (let i = 0; i < 300; i++) await put(small, entry(`http://a.example/${i}`), Buffer.alloc(10_000))
      t.ok(small.stats.bytes <= 1024 * 1024)
      t.ok(small.stats.entries > 90)
    })

    t.test('many variants of one key do not fill the store', async (t) => {
      const store = await open()
      for (let i = 0; i < 50; i++) await put(store, entry('http://a.example/x', { vary: 'b' }, { b: String(i) }), 'x')
      t.equal((await store.get('http://a.example/x')).length, 32)
    })

    t.test('an empty body', async (t) => {
      const store = await open()
      const one = (await put(store, entry('http://a.example/x'), ''))!
      t.equal(one.size, 0)
      t.equal((await store.get('http://a.example/x'))[0], one)
    })

    t.test('a megabyte, streamed', async (t) => {
      const store = await open({ maxEntryBytes: 4 * 1024 * 1024 })
      const body = Buffer.alloc(1_500_000, 'abcdefghij')
      const one = (await put(store, entry('http://a.example/x'), body))!
      t.equal(await bodyOf(store, one), body.toString())
      t.equal((await bodyOf(store, one, 100_000, 999_999))!.length, 900_000)
    })
  })
}

t.test('an undici store behind the cache: hits, variants, another process, a body that is gone, a store that fails', async (t) => {
  const inner = new cacheStores.MemoryCacheStore() as unknown as UndiciCacheStore
  let runs = 0
  const routes = (app: FastifyInstance): void => {
    app.get('/x', async (request, reply) => {
      runs++
      return reply.headers({ 'cache-control': 'max-age=60', vary: 'accept-language' }).send(`${String(request.headers['accept-language'])} ${runs}`)
    })
  }
  const one = await app(t, { store: new UndiciStore(inner) }, routes)
  const get = (instance: FastifyInstance, language: string) => instance.inject({ url: '/x', headers: { 'accept-language': language, host: 'a.example' } })
  t.equal((await get(one.app, 'de')).body, 'de 1')
  t.equal((await get(one.app, 'en')).body, 'en 2')
  await eventually(() => one.app.cache.stats.stored === 2)
  t.equal((await get(one.app, 'de')).body, 'de 1')
  const two = await app(t, { store: new UndiciStore(inner) }, routes)
  const shared = await get(two.app, 'en')
  t.equal(shared.body, 'en 2')
  t.match(shared.headers['cache-status'], /; hit/, 'a store that several share')
  const remove = inner.delete.bind(inner)
  for (const entry of await new UndiciStore(inner).getUrl('http://a.example/x')) await remove({ origin: 'headgate:', method: 'GET', path: `${entry.url} ${entry.id}` })
  t.equal((await get(two.app, 'en')).body, 'en 3')
  await two.app.cache.purge({ urls: ['http://a.example/x'] })
  t.equal((await get(two.app, 'en')).body, 'en 4')
  const lines: string[] = []
  const broken = await app(t, { store: new UndiciStore({ get: () => { throw new Error('gone') }, createWriteStream: () => { throw new Error('gone') }, delete: () => { throw new Error('gone') } }) }, (app) => {
    app.log.warn = ((_object: object, message: string) => { lines.push(message) }) as never
    routes(app)
  })
  for (const run of [5, 6]) t.equal((await get(broken.app, 'de')).body, `de ${run}`)
  t.equal(lines.length, 1)
})
