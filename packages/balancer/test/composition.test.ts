import { gunzipSync } from 'node:zlib'
import basicAuth from '@fastify/basic-auth'
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import etag from '@fastify/etag'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import multipart from '@fastify/multipart'
import rateLimit from '@fastify/rate-limit'
import session from '@fastify/session'
import websocket from '@fastify/websocket'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { proxy, raw, upstream } from './helpers.ts'

t.test('helmet, cors and rate-limit put their fields on forwarded responses', async (t) => {
  const { url: to } = await upstream(t, (_request, response) => { response.end('ok') })
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, async (app) => {
    await app.register(helmet)
    await app.register(cors, { origin: 'http://a.example' })
    await app.register(rateLimit, { max: 2 })
  })
  const response = await fetch(url, { headers: { origin: 'http://a.example' } })
  t.equal(await response.text(), 'ok')
  t.equal(response.headers.get('access-control-allow-origin'), 'http://a.example')
  t.equal(response.headers.get('x-frame-options'), 'SAMEORIGIN')
  t.equal(response.headers.get('x-ratelimit-remaining'), '1')
  await fetch(url)
  t.equal((await fetch(url)).status, 429, 'the limit holds on forwarded routes')
})

t.test("what cookie, session and etag do in their onSend hooks is done to forwarded responses, after helmet's fields", async (t) => {
  const { url: to } = await upstream(t, (request, response) => {
    response.setHeader('Set-Cookie', ['up=1', 'up2=2']).setHeader('Content-Type', 'text/plain')
    response.end(request.url === '/empty' ? undefined : 'x'.repeat(Number(request.url!.slice(1))))
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, async (app) => {
    await app.register(helmet)
    await app.register(cookie)
    await app.register(session, { secret: 'a secret of more than thirty-two bytes', cookie: { secure: false } })
    await app.register(etag)
    app.addHook('preHandler', async (request, reply) => {
      request.session.set('seen' as never, 1 as never)
      reply.setCookie('own', '1')
    })
  })
  const ask = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n${fields}\r\n`
  const tags: string[] = []
  for (const path of ['/5', '/20000', '/300000', '/empty']) {
    const [head, body] = (await raw(port, ask(path, 'Connection: close\r\n'))).split('\r\n\r\n') as [string, string]
    t.match(head, /^HTTP\/1\.1 200 OK\r\n/, path)
    t.same([...head.matchAll(/^set-cookie: ([^=]+)/gm)].map(([, name]) => name), ['up', 'up2', 'own', 'sessionId'])
    t.match(head, /^x-frame-options: SAMEORIGIN\r$/m)
    t.equal(body.length, path === '/empty' ? 0 : Number(path.slice(1)))
    tags.push(/^etag: (\S+)\r$/m.exec(head)?.[1] ?? '')
  }
  t.match(tags[0], /^"\w+/, 'a body that came with its head has a tag')
  t.same(tags.slice(2), ['', ''], 'a stream, or none, has not')
  // On one connection: nothing is left of a body that was dropped.
  const [same, next] = (await raw(port, ask('/5', `If-None-Match: ${tags[0]!}\r\n`) + ask('/5', 'Connection: close\r\n'))).split(/(?<=\r\n\r\n)(?=HTTP)/) as [string, string]
  t.match(same, /^HTTP\/1\.1 304 Not Modified\r\n[^]*\r\n\r\n$/)
  t.match(next, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nxxxxx$/)
})

t.test('@fastify/compress encodes forwarded bodies that are worth it, and leaves the others as they are', async (t) => {
  const { url: to } = await upstream(t, (request, response) => { response.setHeader('Content-Type', 'text/plain').end('x'.repeat(Number(request.url!.slice(1)))) })
  const { url, port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, async (app) => { await app.register(compress) })
  for (const size of [5, 2000, 20_000, 300_000]) {
    const response = await fetch(`${url}/${size}`, { headers: { 'accept-encoding': 'gzip' } })
    t.equal(response.headers.get('content-encoding'), size < 1024 ? null : 'gzip')
    t.equal(await response.text(), 'x'.repeat(size))
  }
  const bytes = Buffer.from(await raw(port, 'GET /2000 HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n'), 'latin1')
  t.equal(String(gunzipSync(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4))), 'x'.repeat(2000))
})

t.test('jwt and basic-auth guard forwarded routes before anything reaches an upstream', async (t) => {
  let reached = 0
  const { url: to } = await upstream(t, (_request, response) => {
    reached++
    response.end('secret')
  })
  const { url, app } = await proxy(t, { pools: { web: [to] } }, async (app) => {
    await app.register(jwt, { secret: 'a secret of more than thirty-two bytes' })
    await app.register(basicAuth, { validate: async (name, password) => { if (name !== 'u' || password !== 'p') throw new Error('no') } })
    app.get('/jwt', { onRequest: async (request) => { await request.jwtVerify() } }, (_request, reply) => reply.forward('web'))
    app.get('/basic', { onRequest: (request, reply, done) => { app.basicAuth(request, reply, done) } }, (_request, reply) => reply.forward('web'))
  })
  t.equal((await fetch(`${url}/jwt`)).status, 401)
  t.equal((await fetch(`${url}/basic`)).status, 401)
  t.equal(reached, 0)
  t.equal(await (await fetch(`${url}/jwt`, { headers: { authorization: `Bearer ${app.jwt.sign({ sub: 'x' })}` } })).text(), 'secret')
  t.equal(await (await fetch(`${url}/basic`, { headers: { authorization: `Basic ${Buffer.from('u:p').toString('base64')}` } })).text(), 'secret')
})

t.test('multipart bodies pass untouched while the app parses its own', async (t) => {
  let received = ''
  const { url: to } = await upstream(t, async (request, response) => {
    for await (const chunk of request) received += String(chunk)
    response.end('ok')
  })
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/up', pool: 'web' }] }, async (app) => {
    await app.register(multipart)
    app.post('/own', async (request) => {
      let parts = 0
      for await (const part of request.parts()) parts += part.type === 'field' ? 1 : 0
      return { parts }
    })
  })
  const form = new FormData()
  form.set('a', 'one')
  t.equal(await (await fetch(`${url}/up`, { method: 'POST', body: form })).text(), 'ok')
  t.match(received, /name="a"\r\n\r\none\r\n/)
  t.same(await (await fetch(`${url}/own`, { method: 'POST', body: form })).json(), { parts: 1 })
})

t.test('WebSockets are proxied, beside @fastify/websocket too', async (t) => {
  const { url: to, server } = await upstream(t, (_request, response) => { response.end() })
  const echo = new WebSocketServer({ server })
  echo.on('connection', (socket) => { socket.on('message', (data, binary) => { socket.send(data, { binary }) }) })
  t.teardown(() => { echo.close() })
  const say = async (url: string): Promise<string> => new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace('http', 'ws'))
    socket.on('open', () => { socket.send('hello') })
    socket.on('message', (data) => {
      socket.close()
      resolve(String(data as Buffer))
    })
    socket.on('error', reject)
  })
  for (const beside of [false, true]) {
    const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, async (app) => {
      if (!beside) return
      await app.register(websocket)
      app.get('/own', { websocket: true }, (socket) => { socket.on('message', () => { socket.send('own') }) })
    })
    t.equal(await say(`${url}/ws`), 'hello', beside ? 'with @fastify/websocket' : 'alone')
    if (beside) t.equal(await say(`${url}/own`), 'own')
  }
})
