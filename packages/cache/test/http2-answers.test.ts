import { once } from 'node:events'
import { type ClientHttp2Session, connect, constants } from 'node:http2'
import type { AddressInfo } from 'node:net'
import balancer from '@headgate/balancer'
import Fastify from 'fastify'
import t from 'tap'
import cache from '../src/index.ts'
import { origin } from './helpers.ts'

interface Answer { headers: Record<string, unknown>; body: string; code: number | undefined }

function get (session: ClientHttp2Session, path: string): Promise<Answer> {
  const stream = session.request({ ':path': path })
  const answer: Answer = { headers: {}, body: '', code: undefined }
  stream.setEncoding('latin1')
  stream.on('response', (headers) => { answer.headers = headers })
  stream.on('data', (text: string) => { answer.body += text })
  stream.on('error', () => {})
  return once(stream, 'close').catch(() => {}).then(() => Object.assign(answer, { code: stream.rstCode }))
}

for (const hook of [false, true]) {
  t.test(`HTTP/2 clients get what is stored, and see what breaks off${hook ? ', through onSend' : ''}`, async (t) => {
    const upstream = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      if (request.url === '/broken') {
        response.setHeader('Content-Length', '200000')
        response.write(Buffer.alloc(100_000, 'x'), () => { response.destroy() })
        return
      }
      response.setHeader('Content-Type', 'text/plain')
      response.setHeader('Link', ['</a>; rel=preload', '</b>; rel=preload'])
      response.setHeader('Access-Control-Allow-Credentials', 'true')
      response.setHeader('Set-Cookie', ['a=1', 'b=2'])
      response.end('x'.repeat(5000))
    })
    const app = Fastify({ http2: true })
    if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
    await app.register(cache as never, { setCookie: 'store' })
    await app.register(balancer as never, { pools: { web: [upstream.url] }, routes: [{ prefix: '/', pool: 'web', retry: false }] })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    t.teardown(() => { session.destroy() })

    const answers = []
    for (let i = 0; i < 6; i++) answers.push(await get(session, '/'))
    t.equal(upstream.requests.length, 1)
    for (const { headers, body, code } of answers) {
      t.match({ body, code }, { body: 'x'.repeat(5000), code: 0 })
      t.match(headers, { ':status': 200, 'set-cookie': ['a=1', 'b=2'], link: '</a>; rel=preload, </b>; rel=preload' })
    }
    t.match(answers[5]!.headers['cache-status'], /hit/)

    const broken = await get(session, '/broken')
    t.equal(broken.headers[':status'], 200)
    t.equal(broken.code, constants.NGHTTP2_INTERNAL_ERROR, 'not as if it had ended')
    await get(session, '/broken')
    t.equal(upstream.requests.length, 3, 'and is not stored')
  })
}
