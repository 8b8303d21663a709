import { once } from 'node:events'
import { connect } from 'node:http2'
import { type AddressInfo, connect as connectPlain } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
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
  const closed = once(socket, 'close')
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
