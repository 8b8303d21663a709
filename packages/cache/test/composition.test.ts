import { brotliDecompressSync } from 'node:zlib'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import balancer from '@headgate/balancer'
import compress from '@headgate/compress'
import sticky from '@headgate/sticky-session'
import t from 'tap'
import { WebSocket } from 'ws'
import { app, eventually, origin } from './helpers.ts'

t.test('helmet, cors and rate-limit: their fields are each client\'s own', async (t) => {
  let runs = 0
  const { app: instance } = await app(t, {}, async (app) => {
    await app.register(helmet)
    await app.register(cors, { origin: [/\.example$/] })
    await app.register(rateLimit, { max: 3 })
    app.get('/x', async (_request, reply) => reply.header('cache-control', 'max-age=60').send({ runs: ++runs }))
  })
  const get = (name: string) => instance.inject({ url: '/x', headers: { origin: name } })
  const one = await get('http://one.example')
  const two = await get('http://two.example')
  t.match(two.headers['cache-status'], /; hit/)
  t.equal(one.headers['access-control-allow-origin'], 'http://one.example')
  t.equal(two.headers['access-control-allow-origin'], 'http://two.example')
  t.match(two.headers['vary'], /origin/i)
  t.equal(two.headers['x-frame-options'], 'SAMEORIGIN')
  t.equal(two.headers['x-ratelimit-remaining'], '1')
  await get('http://one.example')
  t.equal((await get('http://one.example')).statusCode, 429, 'the limit holds for what is cached, too')
  t.equal(runs, 1)
})

t.test('compress: hits are encoded once, and the coded body is kept beside the plain one', async (t) => {
  const text = 'the same words again and again. '.repeat(400)
  let runs = 0
  const { app: instance } = await app(t, {}, async (app) => {
    await app.register(compress)
    app.get('/x', async (_request, reply) => {
      runs++
      return reply.type('text/plain').headers({ 'cache-control': 'max-age=60', etag: '"a"' }).send(text)
    })
    app.get('/as-it-is', async (_request, reply) => reply.type('text/plain').header('cache-control', 'max-age=60, no-transform').send(text))
  })
  const get = (encoding: string, more: Record<string, string> = {}) => instance.inject({ url: '/x', headers: { 'accept-encoding': encoding, ...more } })
  const before = (await get('identity')).body
  t.equal(before, text)
  const bytes = instance.cache.stats.bytes
  const first = await get('br')
  t.equal(first.headers['content-encoding'], 'br')
  t.equal(brotliDecompressSync(first.rawPayload).toString(), text, 'at once, by the hook of the compressor')
  await eventually(() => instance.cache.stats.bytes > bytes)
  const kept = await get('br')
  t.equal(kept.headers['content-encoding'], 'br')
  t.equal(kept.headers['content-length'], String(kept.rawPayload.length))
  t.equal(brotliDecompressSync(kept.rawPayload).toString(), text)
  t.match(kept.headers['vary'], /accept-encoding/i)
  t.match(kept.headers['cache-status'], /; hit; ttl=\d+/)
  t.not(kept.headers['etag'], '"a"', 'another representation has another entity-tag')
  t.equal((await get('br', { 'if-none-match': String(kept.headers['etag']) })).statusCode, 304)
  t.equal((await get('identity')).body, text)
  t.equal(runs, 1)
  for (let i = 0; i < 2; i++) t.equal((await instance.inject({ url: '/as-it-is', headers: { 'accept-encoding': 'br' } })).body, text)
})

t.test('sticky sessions: what is stored carries nobody\'s affinity; what is not, does', async (t) => {
  const fields: Record<string, string> = { 'cache-control': 'max-age=60' }
  const listener = (_request: unknown, response: { setHeader (name: string, value: string): unknown; end (body: string): unknown }): void => {
    for (const name of Object.keys(fields)) response.setHeader(name, fields[name]!)
    response.end('x')
  }
  const upstreams = [await origin(t, listener as never), await origin(t, listener as never)]
  const { app: instance } = await app(t, {}, async (app) => {
    await app.register(cookie)
    await app.register(balancer, { pools: { web: upstreams.map(({ url }) => url) }, routes: [{ prefix: '/', pool: 'web' }] })
    await app.register(sticky, { keys: ['a secret of more than thirty-two bytes, for this test'] })
  })
  const stored = await instance.inject('/x')
  t.match(stored.headers['cache-status'], /stored/)
  const hit = await instance.inject('/x')
  t.match(hit.headers['cache-status'], /; hit/)
  for (const response of [stored, hit]) t.equal(response.headers['set-cookie'], undefined)
  fields['cache-control'] = 'no-store'
  const own = await instance.inject('/y')
  t.match(own.headers['cache-status'], /detail=no-store/)
  const affinity = String(own.headers['set-cookie']).split(';')[0]!
  t.not(own.headers['set-cookie'], undefined, 'the client that the fetch was for has its cookie')
  const counts = upstreams.map(({ requests }) => requests.length)
  for (let i = 0; i < 10; i++) await instance.inject({ url: '/z', headers: { cookie: affinity } })
  const more = upstreams.map(({ requests }, i) => requests.length - counts[i]!)
  t.same(more.sort((a, b) => a - b), [0, 10], 'and stays where it was')
})

t.test('WebSockets and streams of events pass', async (t) => {
  const { url } = await app(t, {}, async (app) => {
    await app.register(websocket)
    app.get('/ws', { websocket: true }, (socket) => { socket.on('message', (data: Buffer) => { socket.send(`echo ${data.toString()}`) }) })
    app.get('/events', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
      reply.raw.write('data: one\n\n')
    })
  })
  const echoed = await new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`)
    socket.on('open', () => { socket.send('hello') })
    socket.on('message', (data: Buffer) => {
      socket.close()
      resolve(data.toString())
    })
    socket.on('error', reject)
  })
  t.equal(echoed, 'echo hello')
  const aborter = new AbortController()
  const events = await fetch(`${url}/events`, { signal: aborter.signal })
  t.equal(Buffer.from((await events.body!.getReader().read()).value!).toString(), 'data: one\n\n', 'an event is there before the next one comes')
  aborter.abort()
})
