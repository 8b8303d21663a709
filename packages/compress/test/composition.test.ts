import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import zlib from 'node:zlib'
import etag from '@fastify/etag'
import helmet from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import balancer from '@headgate/balancer'
import Fastify from 'fastify'
import t from 'tap'
import compress from '../src/index.ts'
import { decoded, get, listen, text, upstream } from './helpers.ts'

const body = text(20_000)

t.test('@fastify/etag before: the tag is of the plain body, and conditional requests are answered', async (t) => {
  for (const mode of ['weak', 'suffix'] as const) {
    const app = Fastify({ forceCloseConnections: true })
    await app.register(etag)
    await app.register(compress, { etag: mode, load: false })
    app.get('/', (_request, reply) => reply.type('text/html').send(body))
    app.get('/weak', (_request, reply) => reply.type('text/html').header('etag', 'W/"1"').send(body))
    app.get('/image', (_request, reply) => reply.type('image/png').send(body))
    app.get('/kept', (_request, reply) => reply.type('text/html').header('cache-control', 'no-transform').send(body))
    app.get('/left', { config: { compress: false } }, (_request, reply) => reply.type('text/html').send(body))
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    const plain = (await get(url)).headers.etag!
    const coded = (await get(url, { 'accept-encoding': 'gzip' })).headers.etag!
    t.equal(coded, mode === 'weak' ? `W/${plain}` : `${plain.slice(0, -1)}~gzip"`)
    const again = await get(url, { 'accept-encoding': 'gzip', 'if-none-match': coded })
    t.equal(again.status, 304, mode)
    t.equal(again.headers.etag, coded)
    t.equal(again.headers.vary, 'Accept-Encoding', 'as of the 200')
    for (const [path, vary] of [['/weak', 'Accept-Encoding'], ['/image', undefined], ['/kept', undefined], ['/left', undefined]] as const) {
      const { etag } = (await get(url + path)).headers
      const unchanged = await get(url + path, { 'accept-encoding': 'gzip', 'if-none-match': etag! })
      t.equal(unchanged.status, 304)
      t.equal(unchanged.headers.vary, vary, path)
    }
    t.equal(again.body.length, 0)
  }
})

t.test('@fastify/static: files are encoded, precompressed siblings and ranges are left alone', async (t) => {
  const root = t.testdir({})
  mkdirSync(join(root, 'assets'))
  writeFileSync(join(root, 'assets/app.js'), body)
  writeFileSync(join(root, 'assets/both.js'), body)
  const precompressed = zlib.brotliCompressSync(Buffer.from(body))
  writeFileSync(join(root, 'assets/both.js.br'), precompressed)
  writeFileSync(join(root, 'assets/long.js'), text(500_000))
  writeFileSync(join(root, 'assets/logo.png'), body)
  const { url } = await listen(t, {}, (app) => app.register(fastifyStatic, { root, preCompressed: true }))
  const app = await get(`${url}/assets/app.js`, { 'accept-encoding': 'br' })
  t.equal(app.headers['content-encoding'], 'br')
  t.equal(app.headers['accept-ranges'], 'none')
  t.match(app.headers.etag, /^W\//)
  t.equal(decoded(app).toString(), body)
  const both = await get(`${url}/assets/both.js`, { 'accept-encoding': 'br' })
  t.ok(both.body.equals(precompressed), 'the sibling itself')
  t.equal(both.headers['content-encoding'], 'br')
  const long = await get(`${url}/assets/long.js`, { 'accept-encoding': 'gzip' })
  t.equal(decoded(long).toString(), text(500_000))
  const part = await get(`${url}/assets/app.js`, { 'accept-encoding': 'br', range: 'bytes=0-99' })
  t.equal(part.status, 206)
  t.equal(part.headers['content-encoding'], undefined)
  t.equal(part.body.toString(), body.slice(0, 100))
  t.equal((await get(`${url}/assets/app.js`, { 'accept-encoding': 'br', 'if-none-match': app.headers.etag! })).status, 304)
  t.equal((await get(`${url}/assets/logo.png`, { 'accept-encoding': 'br' })).headers.vary, undefined)
  const head = await get(`${url}/assets/app.js`, { 'accept-encoding': 'br' }, 'HEAD')
  t.equal(head.headers['content-encoding'], 'br')
  t.not(head.headers['content-length'], String(body.length))
})

t.test('@fastify/helmet, hooks of the app, encapsulation and errors', async (t) => {
  const { url, app } = await listen(t, {}, async (app) => {
    await app.register(helmet)
    app.addHook('onSend', async (_request, reply, payload) => {
      reply.header('x-seen', Buffer.isBuffer(payload) ? 'encoded' : typeof payload)
      return payload
    })
    app.get('/', (_request, reply) => reply.type('text/html').send(body))
    app.get('/json', () => ({ list: Array.from({ length: 500 }, (_, id) => ({ id })) }))
    app.get('/fails', () => { throw new Error('x'.repeat(5000)) })
    app.register(async (scope) => { scope.get('/scoped', (_request, reply) => reply.type('text/html').send(body)) })
  })
  const answer = await get(url, { 'accept-encoding': 'gzip' })
  t.equal(answer.headers['x-frame-options'], 'SAMEORIGIN')
  t.equal(answer.headers['x-seen'], 'encoded', 'a hook that comes later sees the encoded body')
  t.equal(decoded(answer).toString(), body)
  t.equal((await get(`${url}/scoped`, { 'accept-encoding': 'gzip' })).headers['content-encoding'], 'gzip')
  t.equal(JSON.parse(decoded(await get(`${url}/json`, { 'accept-encoding': 'deflate' })).toString()).list.length, 500)
  const failed = await get(`${url}/fails`, { 'accept-encoding': 'gzip' })
  t.equal(failed.status, 500)
  t.match(JSON.parse(decoded(failed).toString()), { message: /^x{5000}$/ })
  const injected = await app.inject({ url: '/', headers: { 'accept-encoding': 'gzip' } })
  t.equal(zlib.gunzipSync(injected.rawPayload).toString(), body)
})

t.test('a registration in a scope concerns that scope only', async (t) => {
  const app = Fastify()
  app.get('/outside', (_request, reply) => reply.type('text/html').send(body))
  await app.register(async (scope) => {
    await scope.register(compress, { load: false })
    scope.get('/inside', (_request, reply) => reply.type('text/html').send(body))
  })
  t.equal((await app.inject({ url: '/outside', headers: { 'accept-encoding': 'gzip' } })).headers['content-encoding'], undefined)
  t.equal((await app.inject({ url: '/inside', headers: { 'accept-encoding': 'gzip' } })).headers['content-encoding'], 'gzip')
})

t.test('cookies and fields of an app and of its upstream stay, reply.forward too', async (t) => {
  const to = await upstream(t, (_request, response) => {
    response.setHeader('content-type', 'text/html').setHeader('set-cookie', ['a=1', 'b=2']).setHeader('link', '</x>; rel=preload').end(body)
  })
  const { url } = await listen(t, {}, async (app) => {
    await app.register(balancer, { pools: { web: [to] } })
    app.addHook('onRequest', async (_request, reply) => { reply.header('set-cookie', 'stick=1') })
    app.get('/*', (_request, reply) => reply.forward('web'))
  })
  const answer = await get(`${url}/x`, { 'accept-encoding': 'gzip' })
  t.same([...answer.headers['set-cookie']!].sort(), ['a=1', 'b=2', 'stick=1'])
  t.equal(answer.headers['link'], '</x>; rel=preload')
  t.equal(decoded(answer).toString(), body)
})

t.test('BREACH: no compression, or a length that tells less, when there are credentials', async (t) => {
  const lengths = async (url: string, headers: Record<string, string>): Promise<Set<number>> => {
    const set = new Set<number>()
    for (let i = 0; i < 30; i++) {
      const answer = await get(url, headers)
      t.equal(decoded(answer).toString(), body)
      set.add(answer.body.length)
    }
    return set
  }
  const { url: skip } = await listen(t, { breach: 'skip' }, (app) => { app.get('/', (_request, reply) => reply.type('text/html').send(body)) })
  for (const credentials of [{ cookie: 'a=1' }, { authorization: 'Bearer x' }]) {
    t.equal((await get(skip, { 'accept-encoding': 'gzip', ...credentials } as Record<string, string>)).headers['content-encoding'], undefined)
  }
  t.equal((await get(skip, { 'accept-encoding': 'gzip' })).headers['content-encoding'], 'gzip')
  t.equal((await get(skip, { 'accept-encoding': 'gzip, identity;q=0', cookie: 'a=1' })).headers['content-encoding'], 'gzip', 'what else')
  const { url: padded } = await listen(t, { breach: (request) => request.url === '/' ? 'pad' : 'off' }, (app) => {
    for (const path of ['/', '/other']) app.get(path, (_request, reply) => reply.type('text/html').send(body))
    app.get('/stream', (_request, reply) => reply.type('text/html').send(body))
  })
  t.ok((await lengths(padded, { 'accept-encoding': 'gzip', cookie: 'a=1' })).size > 5)
  t.equal((await lengths(padded, { 'accept-encoding': 'gzip' })).size, 1, 'nobody is known')
  t.equal((await lengths(`${padded}/other`, { 'accept-encoding': 'gzip', cookie: 'a=1' })).size, 1, 'not asked for here')
  t.equal((await get(padded, { 'accept-encoding': 'br, gzip;q=0.5', cookie: 'a=1' })).headers['content-encoding'], 'gzip', 'brotli has no room for padding')
  t.equal((await get(padded, { 'accept-encoding': 'br', cookie: 'a=1' })).headers['content-encoding'], undefined)
  if ('zstd' in process.versions) t.ok((await lengths(padded, { 'accept-encoding': 'zstd', cookie: 'a=1' })).size > 5)
})
