import { once } from 'node:events'
import replyFrom from '@fastify/reply-from'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import balancer, { type BalancerOptions, bodies, sendProblem } from '../../src/index.ts'
import { bodyOf, refusing, upstream } from '../helpers.ts'
import { nothingLeft } from './helpers.ts'

/** An app whose forwarding is reply-from's, and whose upstreams are the balancer's. */
async function front (t: Parameters<typeof upstream>[0], pools: BalancerOptions['pools']): Promise<{ app: FastifyInstance; url: string }> {
  const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
  await app.register(balancer, { pools })
  await app.register(replyFrom, { base: 'http://web', undici: app.balancer.dispatcher('web') as never })
  app.setErrorHandler(sendProblem)
  await app.register(bodies)
  app.all('/*', (_, reply) => reply.from(undefined, { retryDelay: () => null, onError: (answer, { error }) => { answer.send((error as Error).cause) } }))
  t.teardown(() => app.close())
  return { app, url: await app.listen({ port: 0, host: '127.0.0.1' }) }
}

t.test('reply-from forwards through a pool, and another upstream takes over', async (t) => {
  const { url: fine } = await upstream(t, async (incoming, response) => { response.setHeader('x-url', incoming.url!).end(await bodyOf(incoming)) })
  const { app, url } = await front(t, { web: { upstreams: [await refusing(), fine], policy: 'first' } })
  const bytes = Buffer.alloc(4 << 20, 'abc')
  const answer = await fetch(`${url}/path?a=b`, { method: 'POST', body: bytes })
  t.same([answer.status, answer.headers.get('x-url')], [200, '/path?a=b'])
  t.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes))
  t.equal((await fetch(url)).status, 200)
  await nothingLeft(app)
})

t.test('failures keep their statuses and codes', async (t) => {
  const { app, url } = await front(t, { web: [await refusing()] })
  const answer = await fetch(url)
  t.equal(answer.status, 502)
  t.match(await answer.json(), { code: 'HG_UPSTREAM_FAILED' })
  app.balancer.pool('web').upstreams[0]!.health.force('drain', 'test')
  t.equal((await fetch(url)).status, 503)
  await nothingLeft(app)
})

t.test('a client that leaves while it uploads, or reads, ends the work upstream', async (t) => {
  const closed: Promise<unknown>[] = []
  const { url: slow } = await upstream(t, (incoming, response) => {
    closed.push(once(response, 'close'))
    if (incoming.method === 'GET') response.write('begin')
    else incoming.resume()
  })
  const { app, url } = await front(t, { web: [slow] })
  for (const method of ['POST', 'GET']) {
    const controller = new AbortController()
    const body = method === 'GET' ? {} : { body: new ReadableStream({ start (stream) { stream.enqueue(Buffer.from('a')) } }), duplex: 'half' }
    const sent = fetch(url, { method, signal: controller.signal, ...body } as RequestInit)
    if (method === 'GET') await sent
    const before = closed.length
    while (closed.length === before && method !== 'GET') await new Promise((resolve) => { setImmediate(resolve) })
    controller.abort()
    await sent.catch(() => {})
    await closed.at(-1)
  }
  await nothingLeft(app)
})
