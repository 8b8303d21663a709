import basicAuth from '@fastify/basic-auth'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import multipart from '@fastify/multipart'
import rateLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { proxy, upstream } from './helpers.ts'

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
