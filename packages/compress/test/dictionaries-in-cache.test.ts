import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import zlib from 'node:zlib'
import balancer from '@headgate/balancer'
import cache, { type CacheOptions } from '@headgate/cache'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { dictionaryEncodings } from '../src/encodings/dictionary.ts'
import { Bus } from '../../workers/test/bus.ts'
import { decoded, get, listen, text, upstream } from './helpers.ts'

const skip = dictionaryEncodings().length === 0 ? `this Node (${process.version}) can encode with no dictionary` : false
const name = dictionaryEncodings()[0]?.name ?? ''
const root = mkdtempSync(join(tmpdir(), 'headgate-dictionaries-'))
t.teardown(() => { rmSync(root, { recursive: true, force: true }) })
const hashOf = (body: Buffer): string => `:${createHash('sha256').update(body).digest('base64')}:`
const one = Buffer.from(text(200_000))
const two = Buffer.from(text(200_000).replaceAll('user 1', 'person 1').replace('[', '/* second */['))
const host = 'site.example'
const having = (body: Buffer): Record<string, string> => ({ host, 'accept-encoding': `gzip, ${name}`, 'available-dictionary': hashOf(body) })

/** Compress and cache before a balancer with one upstream. */
async function site (t: Parameters<typeof listen>[0], options: CacheOptions, first: 'cache' | 'compress' = 'compress'): Promise<{ app: FastifyInstance; url: string; fetched: string[] }> {
  const assets: Record<string, Buffer> = { '/app-1.js': one, '/app-2.js': two }
  const fetched: string[] = []
  const to = await upstream(t, (request, response) => {
    fetched.push(request.url!)
    response.writeHead(200, { 'content-type': 'text/javascript', 'cache-control': 'public, max-age=3600', 'cache-tag': request.url!.slice(1), 'content-length': assets[request.url!]!.length })
    response.end(assets[request.url!])
  })
  const routes = async (app: FastifyInstance): Promise<void> => { await app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }) }
  const match = { dictionaries: { match: ['/app-*.js'] } }
  const caching = (app: FastifyInstance): unknown => app.register(cache, options)
  const { app, url } = await listen(t, match, async (app) => {
    if (first === 'compress') await caching(app)
    await routes(app)
  }, {}, first === 'compress' ? undefined : caching)
  return { app, url, fetched }
}

/** Until it is encoded with the version that the client has: what is stored on a disk can be found a little later. */
async function encodedWith (url: string, dictionary: Buffer): Promise<Buffer> {
  for (;;) {
    const { headers, body } = await get(`${url}/app-2.js`, having(dictionary))
    if (headers['content-encoding'] !== name) continue
    const from = name === 'dcb' ? 36 : 40
    const decode = (name === 'dcb' ? zlib.brotliDecompressSync : (zlib as unknown as { zstdDecompressSync: unknown }).zstdDecompressSync) as (body: Buffer, options: object) => Buffer
    return decode(body.subarray(from), { dictionary })
  }
}

t.test('versions are in the cache, and are purged with what they are versions of', { skip }, async (t) => {
  for (const first of ['compress', 'cache'] as const) {
    const { app, url, fetched } = await site(t, {}, first)
    const asked: string[] = []
    const { encode } = app.compress
    Object.assign(app.compress, { encode: (...args: Parameters<typeof encode>) => { asked.push(args[1]); return encode.apply(app.compress, args) } })
    const plain = await get(`${url}/app-1.js`, { host, 'accept-encoding': 'gzip' })
    t.equal(plain.headers['use-as-dictionary'], 'match="/app-*.js"')
    t.equal(app.cache.stats.entries, 2, 'the asset, and it as a version')
    t.ok((await encodedWith(url, one)).equals(two))
    t.equal(app.cache.stats.entries, 4)
    for (let i = 0; i < 3; i++) {
      const again = await get(`${url}/app-2.js`, { host, 'accept-encoding': 'gzip' })
      t.match(again.headers['cache-status'], /hit/)
      t.ok(decoded(again).equals(two))
      t.equal(again.headers['use-as-dictionary'], 'match="/app-*.js"', 'hits tell of it too')
      t.ok((await encodedWith(url, one)).equals(two), 'and are encoded with it')
    }
    t.same(fetched, ['/app-1.js', '/app-2.js'])
    t.same(asked, [], 'the cache has it encoded by nobody else, as it would have to be decoded again')
    t.equal(await app.cache.purge({ urls: [`http://${host}/app-1.js`], soft: true }), 2)
    t.ok((await encodedWith(url, one)).equals(two), 'a stale one is of use to whoever has it')
    t.equal(await app.cache.purge({ tags: ['app-1.js'] }), 2)
    t.equal((await get(`${url}/app-2.js`, having(one))).headers['content-encoding'], 'gzip')
  }
})

t.test('versions survive a restart on disk', { skip }, async (t) => {
  const disk = { path: join(root, 'restart') }
  const before = await site(t, { disk })
  await get(`${before.url}/app-1.js`, { host, 'accept-encoding': 'gzip' })
  await before.app.close()
  const after = await site(t, { disk })
  t.ok((await encodedWith(after.url, one)).equals(two))
  t.same(after.fetched, ['/app-2.js'])
})

t.test('processes that share a disk share versions', { skip }, async (t) => {
  const bus = new Bus()
  const disk = { path: join(root, 'shared') }
  const [a, b] = [await site(t, { disk, sharing: bus.join() }), await site(t, { disk, sharing: bus.join() })]
  await get(`${a.url}/app-1.js`, { host, 'accept-encoding': 'gzip' })
  t.ok((await encodedWith(b.url, one)).equals(two))
  t.same(b.fetched, ['/app-2.js'], 'it has never seen the first')
  await a.app.cache.purge({ urls: [`http://${host}/app-1.js`] })
  t.equal((await get(`${b.url}/app-2.js`, having(one))).headers['content-encoding'], 'gzip')
})

t.test('what the cache may not store is not kept', { skip }, async (t) => {
  const { app, url } = await site(t, { privateCookies: ['session'] })
  await get(`${url}/app-1.js`, { host, 'accept-encoding': 'gzip', cookie: 'session=1' })
  t.equal(app.cache.stats.entries, 0)
  t.equal((await get(`${url}/app-2.js`, having(one))).headers['content-encoding'], 'gzip')
})
