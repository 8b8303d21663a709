import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { brotliCompressSync, brotliDecompressSync, gzipSync } from 'node:zlib'
import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import stickySession from '@headgate/sticky-session'
import Fastify from 'fastify'
import t from 'tap'
import compress, { type StaticMessage, channels } from '../src/index.ts'
import { TestClock, app as cached, eventually } from '../../cache/test/helpers.ts'
import { decoded, get, text, upstream } from './helpers.ts'

const body = text(20_000)

t.test('with the cache in front: one stored body, encoded once for each coding, with the right fields on hits', async (t) => {
  let asked = 0
  const codings: unknown[] = []
  const to = await upstream(t, (request, response) => {
    asked++
    codings.push(request.headers['accept-encoding'])
    response.setHeader('content-type', 'text/html').setHeader('cache-control', 'max-age=60').setHeader('etag', '"v1"').setHeader('constructor', 'own').end(body)
  })
  const made: StaticMessage[] = []
  const heard = (message: unknown): void => { made.push(message as StaticMessage) }
  channels.static.subscribe?.(heard)
  t.teardown(() => { channels.static.unsubscribe?.(heard) })
  for (const etag of ['weak', 'suffix'] as const) {
    asked = made.length = 0
    const app = Fastify({ forceCloseConnections: true })
    await app.register(cache)
    await app.register(compress, { etag, load: false, backgroundShare: 1, memo: false, upstream: 'identity' })
    await app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    for (let round = 0; round < 3; round++) {
      for (const encoding of ['gzip', 'br', 'identity']) {
        const answer = await get(url, { 'accept-encoding': encoding })
        t.equal(answer.headers['content-encoding'], encoding === 'identity' ? undefined : encoding)
        t.equal(answer.headers.etag, encoding === 'identity' ? '"v1"' : etag === 'weak' ? 'W/"v1"' : `"v1~${encoding}"`)
        t.match(answer.headers.vary, /^accept-encoding$/i)
        t.equal(answer.headers['constructor'], 'own', 'a name that every object has')
        t.equal(Number(answer.headers['content-length']), answer.body.length)
        t.equal(decoded(answer).toString(), body)
      }
    }
    t.equal(asked, 1, 'the upstream was asked once')
    t.equal(codings.at(-1), 'identity')
    // Both are made in the background, once, however many asked meanwhile.
    while (made.length < 2) await get(url, { 'accept-encoding': 'br' })
    for (let i = 0; i < 5; i++) t.equal(decoded(await get(url, { 'accept-encoding': 'gzip' })).toString(), body)
    t.same(made.map(({ encoding }) => encoding).sort(), ['br', 'gzip'])
    t.equal((await get(url, { 'accept-encoding': 'gzip', 'if-none-match': etag === 'weak' ? 'W/"v1"' : '"v1~gzip"' })).status, 304)
  }
})

t.test('with sticky sessions: the client keeps its upstream, and the cookie is there', async (t) => {
  const names = ['a', 'b', 'c']
  const upstreams = await Promise.all(names.map((name) => upstream(t, (_request, response) => {
    response.setHeader('content-type', 'text/html').setHeader('x-name', name).end(body)
  })))
  const app = Fastify({ forceCloseConnections: true })
  await app.register(compress, { load: false })
  await app.register(balancer, { pools: { web: upstreams }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.register(stickySession, { keys: ['a secret of more than thirty-two bytes for this'] })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const first = await get(url, { 'accept-encoding': 'gzip' })
  const cookie = first.headers['set-cookie']![0]!.split(';')[0]!
  for (let i = 0; i < 9; i++) {
    const answer = await get(url, { 'accept-encoding': 'gzip', cookie })
    t.equal(answer.headers['x-name'], first.headers['x-name'])
    t.equal(answer.headers['content-encoding'], 'gzip')
    t.equal(decoded(answer).toString(), body)
  }
})

t.test('a response that is left alone passes by the hook, with the same fields as through it', async (t) => {
  const bodies: Record<string, Buffer> = { none: Buffer.alloc(0), short: Buffer.from('short'), long: Buffer.alloc(5000, 'words and words. ') }
  const coded: Record<string, (body: Buffer) => Buffer> = { gzip: gzipSync, br: brotliCompressSync }
  const upstream = createServer((request, response) => {
    const query = new URL(request.url!, 'http://x').searchParams
    const coding = query.get('coding') ?? ''
    const body = bodies[query.get('body')!]!
    const bytes = coding in coded ? coded[coding]!(body) : body
    response.setHeader('X-Case', 'kept')
    for (const name of ['content-type', 'vary', 'cache-control', 'etag', 'content-range']) if (query.has(name)) response.setHeader(name, query.get(name)!)
    if (coding !== '') response.setHeader('content-encoding', coding)
    response.statusCode = Number(query.get('status') ?? 200)
    if (response.statusCode !== 304 && response.statusCode !== 204) response.setHeader('content-length', bytes.length)
    response.end(request.method === 'HEAD' || response.statusCode === 304 ? undefined : bytes)
  }).listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  t.teardown(() => { upstream.closeAllConnections(); upstream.close() })
  const open = async (hook: boolean): Promise<string> => {
    const app = Fastify({ forceCloseConnections: true })
    await app.register(compress, { load: false, memo: false })
    if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
    await app.register(balancer, {
      pools: { web: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web' }]
    })
    t.teardown(() => app.close())
    return app.listen({ port: 0, host: '127.0.0.1' })
  }
  const [direct, through] = [await open(false), await open(true)]
  type Asked = Promise<{ direct: boolean; answer: object }>
  const ask = (base: string, path: string, method: string, headers: Record<string, string>): Asked => new Promise((resolve, reject) => {
    request(base + path, { method, headers }, (response) => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => { pieces.push(piece) }).on('error', reject)
      response.on('end', () => {
        const { date: _date, ...fields } = response.headers
        resolve({ direct: response.rawHeaders.includes('X-Case'), answer: { status: response.statusCode, fields, body: Buffer.concat(pieces).toString('base64') } })
      })
    }).on('error', reject).end()
  })
  let passed = 0
  let all = 0
  const check = async (query: Record<string, string>, headers: Record<string, string> = {}, method = 'GET'): Promise<void> => {
    const path = `/?${new URLSearchParams(query).toString()}`
    const [a, b] = [await ask(direct, path, method, headers), await ask(through, path, method, headers)]
    t.same(a.answer, b.answer, `${method} ${path} ${JSON.stringify(headers)}`)
    t.notOk(b.direct)
    all++
    if (a.direct) passed++
  }
  for (const accepts of ['', 'gzip', 'br, gzip;q=0.5', 'identity', 'identity;q=0, gzip']) {
    const headers: Record<string, string> = accepts === '' ? {} : { 'accept-encoding': accepts }
    for (const type of ['text/plain', 'image/png', 'text/event-stream']) {
      for (const body of Object.keys(bodies)) for (const coding of ['', 'gzip', 'br', 'other']) await check({ body, coding, 'content-type': type }, headers)
    }
    await check({ body: 'long', 'content-type': 'text/plain', vary: 'Accept-Encoding, X-A' }, headers)
    await check({ body: 'long', 'content-type': 'text/plain', vary: 'X-A' }, headers)
    await check({ body: 'long', 'content-type': 'text/plain', vary: '*' }, headers)
    await check({ body: 'long', 'content-type': 'text/plain', 'cache-control': 'no-transform' }, headers)
    await check({ body: 'long', 'content-type': 'text/plain' }, { ...headers, 'cache-control': 'no-transform' })
    await check({ body: 'long', 'content-type': 'text/plain', status: '206', 'content-range': 'bytes 0-4999/9999' }, headers)
    await check({ body: 'none', status: '204' }, headers)
    await check({ body: 'none', status: '304', etag: '"a"' }, { ...headers, 'if-none-match': '"a"' })
    await check({ body: 'none', status: '304', etag: '"a"' }, { ...headers, 'if-none-match': 'W/"a"' })
    await check({ body: 'long', 'content-type': 'image/png' }, headers, 'HEAD')
    await check({ body: 'long', coding: 'gzip', 'content-type': 'text/plain' }, headers, 'HEAD')
  }
  t.ok(passed > all / 2, `${passed} of ${all} passed by it`)
  t.equal((await ask(direct, '/?body=long&content-type=text/plain', 'GET', { 'accept-encoding': 'gzip' })).direct, false, 'what is encoded did not')
})

t.test('with the cache: hits are encoded once, and the coded body is kept beside the plain one', async (t) => {
  const words = 'the same words again and again. '.repeat(400)
  let runs = 0
  const { app: instance, url } = await cached(t, { clock: new TestClock() }, async (app) => {
    await app.register(compress, { load: false })
    app.get('/x', async (_request, reply) => {
      runs++
      return reply.type('text/plain').headers({ 'cache-control': 'max-age=60', etag: '"a"' }).send(words)
    })
    app.get('/as-it-is', async (_request, reply) => reply.type('text/plain').header('cache-control', 'max-age=60, no-transform').send(words))
  })
  const ask = (encoding: string, more: Record<string, string> = {}) => instance.inject({ url: '/x', headers: { 'accept-encoding': encoding, ...more } })
  const before = (await ask('identity')).body
  t.equal(before, words)
  const bytes = instance.cache.stats.bytes
  const first = await ask('br')
  t.equal(first.headers['content-encoding'], 'br')
  t.equal(brotliDecompressSync(first.rawPayload).toString(), words, 'at once, by the hook of the compressor')
  await eventually(() => instance.cache.stats.bytes > bytes)
  const kept = await ask('br')
  t.equal(kept.headers['content-encoding'], 'br')
  t.equal(kept.headers['content-length'], String(kept.rawPayload.length))
  t.equal(brotliDecompressSync(kept.rawPayload).toString(), words)
  t.match(kept.headers['vary'], /accept-encoding/i)
  t.match(kept.headers['cache-status'], /; hit; ttl=\d+/)
  t.not(kept.headers['etag'], '"a"', 'another representation has another entity-tag')
  t.equal((await ask('br', { 'if-none-match': String(kept.headers['etag']) })).statusCode, 304)
  t.equal((await ask('identity')).body, words)
  t.equal(runs, 1)
  for (let i = 0; i < 2; i++) t.equal((await instance.inject({ url: '/as-it-is', headers: { 'accept-encoding': 'br' } })).body, words)
  // On a kept connection, as the bytes of frequent answers are kept ready there.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  const over = (encoding: string): Promise<string> => new Promise((resolve, reject) => {
    request(`${url}/x`, { agent, headers: { host: 'localhost:80', 'accept-encoding': encoding } }, (response) => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => pieces.push(piece)).on('error', reject).on('end', () => {
        resolve(JSON.stringify([response.statusCode, response.rawHeaders, Buffer.concat(pieces).toString('latin1')]))
      })
    }).on('error', reject).end()
  })
  for (const encoding of ['br', 'identity', 'gzip;q=0.1, br']) {
    const settled = await over(encoding)
    t.equal(settled.includes('"content-encoding","br"'), encoding !== 'identity')
    for (let i = 0; i < 8; i++) t.equal(await over(encoding), settled)
  }
})
