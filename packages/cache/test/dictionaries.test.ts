import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { Bus } from '../../workers/test/bus.ts'
import { type CacheOptions, LentStore, MemoryStore, type Purge, type Versions } from '../src/index.ts'
import { app, type Test, TestClock } from './helpers.ts'

const root = mkdtempSync(join(tmpdir(), 'headgate-dictionaries-'))
t.teardown(() => { rmSync(root, { recursive: true, force: true }) })
let folders = 0
const folder = (): string => join(root, String(folders++))
const headers = { host: 'a.example' }
const bodyOf = (version: number, bytes = 5000): Buffer => Buffer.from(`version ${version} `.repeat(bytes).slice(0, bytes))
const hashOf = (body: Buffer): string => createHash('sha256').update(body).digest('base64')

async function eventually (holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

interface More {
  readonly fields?: Record<string, string>
  readonly headers?: Record<string, string>
  readonly held?: () => unknown
  readonly most?: number
}

interface Shop {
  readonly app: FastifyInstance
  /** Asks for an asset of which this body is kept; `held`: between the request and that. */
  keep (url: string, body: Buffer, more?: More): Promise<void>
  /** What such a request finds. */
  find (body: Buffer, headers?: Record<string, string>): Promise<Buffer | undefined>
}

/** An app whose handler does with versions what a compressor's hooks do. */
async function shop (t: Test, options: CacheOptions = {}): Promise<Shop> {
  let act: (versions: Versions | undefined) => unknown
  const { app: instance } = await app(t, { clock: new TestClock(), ...options }, (app) => {
    const seen = new WeakMap<object, Versions>()
    app.addHook('onRequest', (request, _reply, done) => {
      const versions = app.cache.dictionaries?.of(request)
      if (versions !== undefined) seen.set(request, versions)
      done()
    })
    app.get('/*', { config: { cache: false } }, async (request) => {
      await act(seen.get(request))
      return 'done'
    })
  })
  return {
    app: instance,
    async keep (url, body, { fields = {}, headers: more = {}, held, most = 4 } = {}) {
      act = async (versions) => {
        await held?.()
        const flat = Object.entries({ 'Cache-Control': 'public, max-age=60', 'Content-Type': 'text/javascript', ...fields }).flat()
        const own = Buffer.from(body)
        versions?.put({ hash: hashOf(body), body: own, fields: flat, asset: '/*.js', most })
        own.fill(0)
      }
      await instance.inject({ url, headers: { ...headers, ...more } })
    },
    async find (body, more = {}) {
      let found: Buffer | undefined
      act = async (versions) => {
        found = await versions?.get(hashOf(body))
        const peeked = versions?.peek(hashOf(body))
        if (peeked !== undefined && found?.equals(peeked) === false) throw new Error('peek and get differ')
      }
      await instance.inject({ url: '/2.js', headers: { ...headers, ...more } })
      return found
    }
  }
}

const purges: [string, Purge, boolean][] = [
  ['url', { urls: ['http://a.example/1.js'] }, true], ['another url', { urls: ['http://a.example/2.js'] }, false],
  ['prefix', { prefixes: ['http://a.example/'] }, true], ['tag', { tags: ['assets'] }, true], ['another tag', { tags: ['pages'] }, false],
  ['group', { groups: [{ origin: 'http://a.example', name: 'g' }] }, true], ['everything', { all: true }, true]
]
for (const where of ['memory', 'disk'] as const) {
  t.test(`in ${where}, a version is found by its hash, and is purged with its asset`, async (t) => {
    const { app, keep, find } = await shop(t, where === 'memory' ? {} : { disk: { path: folder() } })
    for (const [name, purge, gone] of purges) {
      await keep('/1.js', bodyOf(1), { fields: { 'Cache-Tag': 'assets', 'Cache-Groups': '"g"' } })
      await eventually(async () => (await find(bodyOf(1)))?.equals(bodyOf(1)) === true)
      t.equal(app.cache.stats.entries, 1, 'it counts as a stored response')
      t.ok(app.cache.stats.bytes > 5000)
      t.equal(await find(bodyOf(2)), undefined, 'another one')
      t.equal(await find(bodyOf(1), { host: 'b.example' }), undefined, 'of another origin')
      t.equal(await app.cache.purge({ ...purge, soft: true }), gone ? 1 : 0)
      t.ok(await find(bodyOf(1)), `${name}: one that is stale stays of use`)
      t.equal(await app.cache.purge(purge), gone ? 1 : 0, name)
      t.equal(await find(bodyOf(1)) === undefined, gone, name)
      await app.cache.purge({ all: true })
    }
  })
}

t.test('what the cache may not store is no version, nor what went past it', async (t) => {
  const { keep, find } = await shop(t, {
    privateCookies: ['session'], bypass: (request) => request.headers['x-past'] !== undefined, key: { headers: ['x-tenant'] }, memory: { maxEntryBytes: 10_000 }
  })
  const cases: More[] = [
    { fields: { 'Cache-Control': 'private' } }, { fields: { 'CDN-Cache-Control': 'no-store' } }, { fields: { 'Vary': '*' } }, { headers: { cookie: 'session=1' } },
    { headers: { 'x-past': '1' } }, { headers: { 'cache-control': 'no-store' } }, { headers: { host: 'a.example/b' } }
  ]
  for (const more of cases) {
    await keep('/1.js', bodyOf(1), more)
    t.equal(await find(bodyOf(1)), undefined, JSON.stringify(more))
  }
  await keep('/1.js', bodyOf(1, 20_000))
  t.equal(await find(bodyOf(1, 20_000)), undefined, 'too long for the store')
  await keep('/1.js', bodyOf(1), { headers: { 'x-tenant': 'a' } })
  t.ok(await find(bodyOf(1), { 'x-tenant': 'a' }))
  t.equal(await find(bodyOf(1), { 'x-tenant': 'b' }), undefined, 'what the key tells apart is apart here')
  t.equal(await find(bodyOf(1), { 'x-tenant': 'a', cookie: 'session=1' }), undefined)
})

t.test('a purge while the response is under way', async (t) => {
  for (const disk of [false, true]) {
    const { app, keep, find } = await shop(t, disk ? { disk: { path: folder() } } : {})
    await keep('/1.js', bodyOf(1), { held: () => app.cache.purge({ urls: ['http://a.example/1.js'] }) })
    // While it is being written.
    await keep('/3.js', bodyOf(3))
    await app.cache.purge({ urls: ['http://a.example/3.js'] })
    await keep('/4.js', bodyOf(4))
    await eventually(async () => await find(bodyOf(4)) !== undefined)
    t.equal(await find(bodyOf(1)), undefined)
    t.equal(await find(bodyOf(3)), undefined)
  }
})

t.test('no more versions of an asset are kept than were asked for, and no more bytes than the store has', async (t) => {
  const few = await shop(t)
  for (const version of [1, 2, 3]) await few.keep(`/${version}.js`, bodyOf(version), { most: 2 })
  await few.keep('/3.js', bodyOf(3), { most: 2 })
  t.equal(await few.find(bodyOf(1)), undefined)
  t.ok(await few.find(bodyOf(2)))
  t.ok(await few.find(bodyOf(3)))
  const small = await shop(t, { memory: { maxBytes: 100_000 } })
  for (let version = 0; version < 50; version++) await small.keep(`/${version}.js`, bodyOf(version), { most: 64 })
  t.ok(small.app.cache.stats.bytes <= 100_000)
  t.ok(small.app.cache.stats.evicted > 20)
})

t.test('versions survive a restart on disk', async (t) => {
  const path = folder()
  const before = await shop(t, { disk: { path } })
  for (const bytes of [5000, 200_000]) await before.keep('/1.js', bodyOf(1, bytes))
  await before.app.close()
  const after = await shop(t, { disk: { path } })
  await eventually(async () => await after.find(bodyOf(1)) !== undefined)
  for (const bytes of [5000, 200_000]) t.ok((await after.find(bodyOf(1, bytes)))?.equals(bodyOf(1, bytes)), `${bytes} bytes`)
  t.equal(await after.app.cache.purge({ urls: ['http://a.example/1.js'] }), 2)
  t.equal(await after.find(bodyOf(1)), undefined)
})

t.test('processes that share a disk share versions and their purges', async (t) => {
  const bus = new Bus()
  const clock = new TestClock()
  const disk = { path: folder() }
  const [a, b] = [await shop(t, { disk, clock, sharing: bus.join() }), await shop(t, { disk, clock, sharing: bus.join() })]
  await a.keep('/1.js', bodyOf(1))
  await eventually(async () => (await b.find(bodyOf(1)))?.equals(bodyOf(1)) === true)
  await b.keep('/1.js', bodyOf(1))
  t.equal(b.app.cache.stats.entries, 1, 'not stored again')
  await b.app.cache.purge({ urls: ['http://a.example/1.js'] })
  t.equal(await a.find(bodyOf(1)), undefined)
  t.equal(await b.find(bodyOf(1)), undefined)
})

t.test('stores that find responses only by their URLs keep no versions; a lent one does as the one behind it', async (t) => {
  const store = new MemoryStore()
  const lent = await shop(t, { store: new LentStore(store) })
  t.ok(lent.app.cache.dictionaries)
  const plain = new MemoryStore()
  Object.defineProperty(plain, 'anyKey', { value: undefined })
  const { app } = await shop(t, { store: new LentStore(plain) })
  t.equal(app.cache.dictionaries, undefined)
})
