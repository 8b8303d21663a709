import type { ServerResponse } from 'node:http'
import balancer from '@headgate/balancer'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import t from 'tap'
import { WebSocket } from 'ws'
import { app, eventually, origin, TestClock } from './helpers.ts'

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

t.test('a fetch in the background goes through the pool: it is tried again elsewhere, and what fails is passed over', async (t) => {
  const clock = new TestClock()
  let down = false
  const answer = (name: string) => (_request: unknown, response: ServerResponse): void => {
    if (down && name === 'a') response.writeHead(503).end()
    else response.setHeader('cache-control', 'max-age=10, stale-while-revalidate=60').end(name)
  }
  const [a, b] = [await origin(t, answer('a')), await origin(t, answer('b'))]
  const { app: instance } = await app(t, { clock }, (app) => app.register(balancer, {
    pools: { web: { upstreams: [a.url, b.url], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }]
  }))
  const get = () => instance.inject('/x').then(({ body, headers }) => [body, /; hit/.test(String(headers['cache-status']))])
  t.same(await get(), ['a', false])
  down = true
  clock.advance(15_000)
  t.same(await get(), ['a', true], 'stale at once')
  await eventually(() => instance.cache.stats.stored === 2)
  t.same(await get(), ['b', true], 'what the other one answered is stored')
  t.equal(a.requests.length, 2)
  t.equal(b.requests.length, 1)
})
