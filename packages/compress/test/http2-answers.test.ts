import { connect, constants } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import Fastify from 'fastify'
import t from 'tap'
import compress from '../src/index.ts'

t.test('HTTP/2 clients get encoded bodies, and see one that breaks off', async (t) => {
  const app = Fastify({ http2: true })
  await app.register(compress as never, { load: false })
  app.get('/', (_request, reply) => { void reply.type('text/plain').send('x'.repeat(5000)) })
  app.get('/broken', (_request, reply) => {
    let pieces = 0
    const body = new Readable({
      read () {
        if (pieces++ < 20) this.push(Buffer.from(Array.from({ length: 10_000 }, (_, i) => (i * pieces * 7919) & 0xff)))
        else setImmediate(() => this.destroy(new Error('no more')))
      }
    })
    void reply.type('text/plain').send(body)
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => { session.destroy() })
  const get = (path: string): Promise<{ headers: Record<string, unknown>; body: Buffer; code: number | undefined }> => new Promise((resolve) => {
    const stream = session.request({ ':path': path, 'accept-encoding': 'gzip' })
    const pieces: Buffer[] = []
    let headers: Record<string, unknown> = {}
    stream.on('response', (fields) => { headers = fields })
    stream.on('data', (piece: Buffer) => { pieces.push(piece) })
    stream.on('error', () => {})
    stream.on('close', () => { resolve({ headers, body: Buffer.concat(pieces), code: stream.rstCode }) })
  })

  const whole = await get('/')
  t.match(whole, { headers: { ':status': 200, 'content-encoding': 'gzip' }, code: 0 })
  t.equal(gunzipSync(whole.body).toString(), 'x'.repeat(5000))

  const broken = await get('/broken')
  t.match(broken, { headers: { ':status': 200, 'content-encoding': 'gzip' }, code: constants.NGHTTP2_INTERNAL_ERROR })
  t.ok(broken.body.length > 0)
})
