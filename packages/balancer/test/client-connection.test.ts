import { once } from 'node:events'
import { connect } from 'node:http2'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import balancer from '../src/index.ts'
import { upstream } from './helpers.ts'

type Fields = Record<string, string>

/** An app that forwards, and tells clients what the upstream got. */
async function site (t: Test, options: object = {}, prepare: (app: FastifyInstance) => void = () => {}): Promise<number> {
  const { url } = await upstream(t, (request, response) => { response.end(JSON.stringify(request.headers)) })
  const app = Fastify({ http2: true, forceCloseConnections: true, ...options } as never) as unknown as FastifyInstance
  prepare(app)
  await app.register(balancer as never, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '0.0.0.0' })
  t.teardown(() => app.close())
  return (app.server.address() as AddressInfo).port
}

/** Asks once for each of `fields`, all on one connection that comes from this address. */
async function ask (port: number, from: string, fields: readonly Fields[] = [{}, {}]): Promise<Fields[]> {
  const session = connect(`http://127.0.0.1:${port}`, { createConnection: () => connectTcp({ port, host: '127.0.0.1', localAddress: from }) })
  const all: Fields[] = []
  for (const sent of fields) {
    let text = ''
    const stream = session.request({ ':path': '/', ...sent }).setEncoding('utf8').on('data', (data: string) => { text += data })
    await once(stream, 'end')
    all.push(JSON.parse(text) as Fields)
  }
  session.destroy()
  return all
}

t.test('the forwarding fields of an HTTP/2 client are those of its connection', async (t) => {
  const port = await site(t)
  for (const from of ['127.0.0.1', '127.0.0.2']) {
    for (const fields of await ask(port, from)) {
      t.match(fields, { 'x-forwarded-for': from, 'x-forwarded-proto': 'http', 'x-forwarded-port': String(port), forwarded: new RegExp(`^for=${from};proto=http;`) })
    }
  }
})

t.test('with trustProxy they are what each request says', async (t) => {
  const port = await site(t, { trustProxy: true })
  const sent = [{ 'x-forwarded-for': '6.6.6.6', 'x-forwarded-proto': 'https' }, { 'x-forwarded-for': '7.7.7.7', 'x-forwarded-proto': 'http' }]
  t.match(await ask(port, '127.0.0.2', sent), [
    { 'x-forwarded-for': '6.6.6.6, 127.0.0.2', 'x-forwarded-proto': 'https', 'x-forwarded-port': String(port) },
    { 'x-forwarded-for': '7.7.7.7, 127.0.0.2', 'x-forwarded-proto': 'http', 'x-forwarded-port': String(port) }
  ])
})

for (const [name, field] of [['ip', 'x-forwarded-for'], ['protocol', 'x-forwarded-proto']] as const) {
  t.test(`who says something else of a request’s ${name} is asked for each`, async (t) => {
    const says = (request: object): string => `${(request as FastifyRequest).headers['x-says'] as string}.example`
    const sent = [{ 'x-says': 'a' }, { 'x-says': 'b' }]
    const expected = [{ [field]: 'a.example' }, { [field]: 'b.example' }]
    t.match(await ask(await site(t, {}, (app) => {
      app.addHook('onRequest', async (request) => { Object.defineProperty(request, name, { value: says(request) }) })
    }), '127.0.0.1', sent), expected, 'by a property of its own')
    t.match(await ask(await site(t, {}, (app) => {
      app.decorateRequest(name as never, { getter () { return says(this) } } as never)
    }), '127.0.0.1', sent), expected, 'by a decorator')
  })
}
