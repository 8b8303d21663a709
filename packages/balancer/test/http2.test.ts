import { once } from 'node:events'
import { type ClientHttp2Session, connect, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect as connectPlain } from 'node:net'
import Fastify from 'fastify'
import type { Duplex } from 'node:stream'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { type Frame, FrameReader, headers, PREFACE, reset, settings, TYPE } from '../../core/test/transport/frames.ts'
import balancer, { http2Limits } from '../src/index.ts'
import { bodyOf, until, upstream } from './helpers.ts'

for (const hook of [false, true]) {
  t.test(`HTTP/2 clients: bodies, fields and aborts${hook ? ', through onSend' : ''}`, async (t) => {
    let aborted = 0
    const { url: to } = await upstream(t, async (request, response) => {
      if (request.url === '/hang') {
        request.on('close', () => { aborted++ })
        return
      }
      if (request.url === '/stream') {
        request.on('close', () => { aborted++ })
        response.on('error', () => {})
        const more = (): void => { while (!response.destroyed && response.write(Buffer.alloc(65_536))); }
        response.on('drain', more)
        return more()
      }
      response.setHeader('set-cookie', ['a=1', 'b=2'])
      response.setHeader('keep-alive', 'timeout=5')
      response.end(`${request.method} ${request.headers.host} ${request.rawHeaders.filter((_, i, all) => all[i - 1]?.toLowerCase() === 'cookie').join('|')} ${(await bodyOf(request)).toString()}`)
    })
    const app = Fastify({ http2: true })
    if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
    await app.register(balancer as never, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', preserveHost: true }] })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    session.on('error', () => {})
    t.teardown(() => { session.destroy() })
    const pool = (app as never as { balancer: { pool (name: string): { inFlight: number } } }).balancer.pool('web')

    const post = session.request({ ':method': 'POST', ':path': '/', ':authority': 'site.example', cookie: ['a=1', 'b=2'] })
    post.end('hello')
    const [headers] = await once(post, 'response') as [Record<string, unknown>]
    t.equal(headers[':status'], 200)
    t.same(headers['set-cookie'], ['a=1', 'b=2'])
    t.equal(headers['keep-alive'], undefined)
    t.equal(headers['connection'], undefined)
    t.equal((await bodyOf(post as never)).toString(), 'POST site.example a=1; b=2 hello')

    for (const path of ['/hang', '/stream']) {
      const gone = aborted
      const stream = session.request({ ':path': path })
      stream.on('error', () => {})
      if (path === '/hang') await until(() => pool.inFlight === 1)
      else await once(stream, 'response')
      stream.close(8)
      await until(() => pool.inFlight === 0 && aborted > gone)
    }
    t.pass('an aborted stream ends the attempt, before and after the head')
  })
}

t.test('an app of one\'s own is bounded by a plugin: a rapid reset is logged, and ends what it began upstream', async (t) => {
  const seen = { begun: 0, ended: 0 }
  const { url: to } = await upstream(t, (request) => {
    seen.begun++
    request.on('close', () => { seen.ended++ })
  })
  const lines: Record<string, unknown>[] = []
  const app = Fastify({ http2: true, logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } } })
  await app.register(http2Limits as never, { maxConcurrentStreams: 5, resets: { burst: 20, rate: 0 } })
  await app.register(balancer as never, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const socket = connectPlain((app.server.address() as AddressInfo).port, '127.0.0.1')
  const frames: Frame[] = []
  const reader = new FrameReader()
  socket.on('data', (chunk: Buffer) => { frames.push(...reader.push(chunk)) })
  socket.on('error', () => {})
  socket.write(PREFACE)
  socket.write(settings())
  // Not `once`: what is written to a closed connection fails, and that is no news here.
  const closed = new Promise((resolve) => { socket.on('close', resolve) })
  for (let id = 1; id < 400 && !socket.destroyed; id += 2) {
    socket.write(Buffer.concat([headers(id, [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a.example'], 5), reset(id, 8)]))
    if (id % 20 === 1) await new Promise((resolve) => { setImmediate(resolve) })
  }
  await closed
  t.equal(frames.find(({ type }) => type === TYPE.goaway)?.payload.readUInt32BE(4), 11)
  t.match(lines.filter(({ reason }) => reason !== undefined), [{ reason: 'resets', closed: true, remoteAddress: '127.0.0.1' }])
  const pool = (app as never as { balancer: { pool (name: string): { inFlight: number } } }).balancer.pool('web')
  await until(() => pool.inFlight === 0 && seen.ended === seen.begun)
  t.ok(seen.begun <= 21, 'no upstream hears of more than the burst')

  const plain = Fastify()
  t.teardown(() => plain.close())
  await plain.register(http2Limits, {})
  t.pass('with HTTP/1.1 there is nothing to do')
  await t.rejects(async () => Fastify({ http2: true }).register(http2Limits as never, { resets: true } as never), { code: 'HG_POOL_INVALID_OPTION' })
})

/** A WebSocket in a stream: the client's half of `ws`, or the server's. */
function socketIn (stream: Duplex, isServer: boolean): WebSocket {
  type Inner = WebSocket & { _isServer: boolean; setSocket (stream: Duplex, head: Buffer, options: object): void }
  const socket = new WebSocket(null as never, undefined as never, {}) as Inner
  socket._isServer = isServer
  // What `ws` knows of sockets alone.
  Object.assign(stream, { setTimeout: () => stream, setNoDelay: () => stream })
  socket.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 1 << 20, skipUTF8Validation: false })
  return socket
}

t.test('WebSockets of HTTP/2 clients (RFC 8441), to upstreams of HTTP/1.1 and HTTP/2', async (t) => {
  const { url: one, server } = await upstream(t, (_request, response) => { response.end('plain') })
  const echo = new WebSocketServer({ noServer: true })
  t.teardown(() => { echo.close() })
  const heads: Record<string, string | string[] | undefined>[] = []
  let closed = 0
  server.on('upgrade', (request, socket, head) => {
    heads.push({ ...request.headers, url: request.url, method: request.method })
    if (request.url === '/refused') return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n')
    if (request.url === '/liar') return socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: bm8=\r\n\r\n')
    echo.handleUpgrade(request, socket, head, (peer) => {
      peer.on('message', (data, binary) => { peer.send(data, { binary }) })
      peer.on('close', () => { closed++ })
    })
  })
  const two = createHttp2Server({ settings: { enableConnectProtocol: true } })
  two.on('stream', (stream, fields) => {
    if (fields[':protocol'] !== 'websocket') return stream.respond({ ':status': 404 }, { endStream: true })
    stream.respond({ ':status': 200 })
    socketIn(stream, true).on('message', function (this: WebSocket, data, binary) { this.send(data, { binary }) })
  })
  two.listen(0, '127.0.0.1')
  await once(two, 'listening')
  t.teardown(() => two.close())
  const app = Fastify({ http2: true })
  const seen: unknown[] = []
  app.addHook('onRequest', async (request, reply) => {
    seen.push([request.method, request.url, request.headers.upgrade])
    if (request.headers['x-token'] === 'wrong') await reply.code(401).send({ who: 'are you' })
  })
  const h2c = `http://127.0.0.1:${(two.address() as AddressInfo).port}`
  await app.register(balancer as never, {
    pools: { one: [one], two: { upstreams: [h2c], protocol: 'h2c' } }, routes: [{ prefix: '/two', pool: 'two' }, { prefix: '/', pool: 'one', limits: { maxPerClient: 2 } }]
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => { session.destroy() })
  session.on('error', () => {})
  await once(session, 'remoteSettings')
  t.equal(session.remoteSettings.enableConnectProtocol, true, 'they are offered')

  const ask = (path: string, more: object = {}): ReturnType<ClientHttp2Session['request']> =>
    session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':path': path, ':authority': 'site.example', 'sec-websocket-version': '13', ...more })
  for (const path of ['/chat?room=1', '/two']) {
    const stream = ask(path)
    const [fields] = await once(stream, 'response') as [Record<string, unknown>]
    t.equal(fields[':status'], 200, path)
    for (const name of ['upgrade', 'connection', 'sec-websocket-accept']) t.notOk(name in fields, `${name} is of HTTP/1.1`)
    const socket = socketIn(stream, false)
    for (const text of ['hello', 'x'.repeat(300_000)]) {
      socket.send(text)
      const [data] = await once(socket, 'message') as [Buffer]
      t.equal(String(data), text)
    }
    socket.close(1000)
    await once(stream, 'close')
    t.equal(stream.rstCode, 0)
  }
  await until(() => closed === 1)
  t.match(heads[0], { url: '/chat?room=1', method: 'GET', upgrade: 'websocket', connection: 'Upgrade', 'sec-websocket-version': '13', 'sec-websocket-key': /^[\w+/]{22}==$/ })
  t.notOk(Object.keys(heads[0]!).some((name) => name.startsWith(':')))
  t.same(seen, [['GET', '/chat?room=1', 'websocket'], ['GET', '/two', 'websocket']], 'hooks see what HTTP/1.1 would bring')

  const status = async (path: string, more: object = {}): Promise<[number, string]> => {
    const stream = ask(path, more)
    stream.on('error', () => {})
    const [fields] = await once(stream, 'response') as [{ ':status': number }]
    let text = ''
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => { text += chunk })
    await once(stream, 'end')
    stream.close(8)
    return [fields[':status'], text]
  }
  t.same(await status('/refused'), [403, 'no!\n'], "an upstream's refusal comes through")
  t.same(await status('/x', { 'x-token': 'wrong' }), [401, '{"who":"are you"}'], "and so does a hook's")
  t.same(await status('/liar'), [502, ''], 'an upstream that did not read the key is not believed')
  t.equal((await status('/x', { ':protocol': 'connect-udp' }))[0], 501)

  // Who is gone, or goes away, ends the other side.
  const gone = ask('/gone')
  gone.on('error', () => {})
  await once(gone, 'response')
  gone.close(8)
  await until(() => closed === 2)
  const pool = (app as never as { balancer: { pool (name: string): { inFlight: number } } }).balancer.pool('one')
  await until(() => pool.inFlight === 0)
  const cut = ask('/cut')
  await once(cut, 'response')
  cut.on('error', () => {}).resume()
  for (const client of echo.clients) client.terminate()
  await once(cut, 'end')
  cut.end()
  await once(cut, 'close')
  await until(() => pool.inFlight === 0)
})

t.test('a quiet tunnel in a stream ends', async (t) => {
  const { url: to, server } = await upstream(t, (_request, response) => { response.end() })
  const echo = new WebSocketServer({ server })
  t.teardown(() => { echo.close() })
  const app = Fastify({ http2: true })
  await app.register(balancer as never, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', tunnelTimeout: 40 }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  session.on('error', () => {})
  t.teardown(() => { session.destroy() })
  await once(session, 'remoteSettings')
  const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':path': '/', ':authority': 'site.example', 'sec-websocket-version': '13' })
  stream.on('error', () => {})
  await once(stream, 'close')
  t.pass('it is closed')
})
