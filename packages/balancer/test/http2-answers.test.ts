import { once } from 'node:events'
import { type ClientHttp2Stream, connect, constants } from 'node:http2'
import { type AddressInfo, createServer } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import balancer from '../src/index.ts'
import { bodyOf, upstream } from './helpers.ts'

interface Answer { headers: Record<string, unknown>; body: string; trailers: Record<string, unknown> | undefined }

async function answerOf (stream: ClientHttp2Stream): Promise<Answer> {
  let trailers: Record<string, unknown> | undefined
  stream.on('trailers', (fields) => { trailers = fields })
  const [headers] = await once(stream, 'response') as [Record<string, unknown>]
  return { headers, body: (await bodyOf(stream as never)).toString(), trailers }
}

t.test('answers to HTTP/2 clients, in the ways that an upstream of HTTP/1.1 sends them', async (t) => {
  let release = (): void => {}
  const { url: to } = await upstream(t, (request, response) => {
    response.setHeader('Set-Cookie', ['a=1', 'b=2'])
    response.setHeader('X-More', ['1', '2'])
    const text = 'x'.repeat(20)
    switch (request.url) {
      case '/chunked': {
        response.setHeader('Trailer', 'X-Sum')
        response.write(text)
        response.addTrailers({ 'X-Sum': '20' })
        response.end()
        return
      }
      case '/late': {
        response.setHeader('Content-Length', '20')
        response.flushHeaders()
        release = () => { response.end(text) }
        return
      }
      case '/empty':
        response.end()
        return
      default:
        response.setHeader('Content-Length', '20')
        response.end(text)
    }
  })
  const app = Fastify({ http2: true })
  app.addHook('onRequest', async (request, reply) => {
    if (request.url === '/own') reply.header('connection', 'close').header('keep-alive', 'timeout=5').header('x-own', 'yes')
  })
  await app.register(balancer as never, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => { session.destroy() })
  const get = (path: string, method = 'GET'): ClientHttp2Stream => session.request({ ':path': path, ':method': method })

  const whole = await answerOf(get('/'))
  t.match(whole, { headers: { ':status': 200, 'content-length': '20', 'x-more': '1, 2', 'set-cookie': ['a=1', 'b=2'] }, body: 'x'.repeat(20), trailers: undefined })
  t.match(whole.headers, { date: /GMT$/ })

  const own = await answerOf(get('/own'))
  t.match(own, { headers: { ':status': 200, 'x-own': 'yes' }, body: 'x'.repeat(20) })
  t.strictSame([own.headers['connection'], own.headers['keep-alive']], [undefined, undefined], 'HTTP/2 does not allow them')

  const late = get('/late')
  const [headers] = await once(late, 'response') as [Record<string, unknown>]
  t.equal(headers['content-length'], '20', 'the head does not wait for the body')
  release()
  t.equal((await bodyOf(late as never)).toString(), 'x'.repeat(20))

  t.match(await answerOf(get('/chunked')), { headers: { ':status': 200 }, body: 'x'.repeat(20), trailers: { 'x-sum': '20' } })
  t.match(await answerOf(get('/empty')), { headers: { ':status': 200 }, body: '' })
  t.match(await answerOf(get('/', 'HEAD')), { headers: { ':status': 200, 'content-length': '20' }, body: '' })
})

for (const hook of [false, true]) {
  t.test(`an answer that breaks off resets the stream with an error${hook ? ', through onSend' : ''}`, async (t) => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => { socket.end('HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf') })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const app = Fastify({ http2: true })
    if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
    await app.register(balancer as never, { pools: { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web' }] })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    t.teardown(() => { session.destroy() })
    const stream = session.request({ ':path': '/' })
    stream.on('error', () => {})
    stream.resume()
    await new Promise((resolve) => { stream.on('close', resolve) })
    t.equal(stream.rstCode, constants.NGHTTP2_INTERNAL_ERROR)
  })
}
