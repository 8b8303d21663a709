import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { type CacheStore, DiskStore, MemoryStore, TieredStore } from '../../src/index.ts'
import { bodyOf, entry, put } from './helpers.ts'

interface Bounds { readonly maxBytes?: number; readonly maxEntries?: number; readonly maxEntryBytes?: number; readonly eviction?: 's3-fifo' | 'sieve' | 'gdsf' }

const folder = mkdtempSync(join(tmpdir(), 'headgate-cache-'))
t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
let count = 0

/** Every store keeps the same promises. */
const stores: Record<string, (bounds?: Bounds) => CacheStore> = {
  memory: (bounds = {}) => new MemoryStore(bounds),
  disk: (bounds = {}) => new DiskStore({ path: join(folder, String(count++)), ...bounds }),
  tiered: (bounds = {}) => new TieredStore(new DiskStore({ path: join(folder, String(count++)), ...bounds }), { maxBytes: 64 * 1024 })
}

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

    t.test('bounds: a body that is too long, too many entries, too many bytes', async (t) => {
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
