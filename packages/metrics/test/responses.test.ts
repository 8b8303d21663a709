import { once } from 'node:events'
import { get } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import { onResponses } from '../src/responses.ts'

type Test = { teardown (action: () => unknown): void }
type Count = (app: FastifyInstance, list: string[]) => void

const ours: Count = (app, list) => {
  onResponses(app, (request, reply, duration) => { list.push(`${request.method} ${request.url} ${reply.raw.statusCode}${duration > 0 ? '' : ' at once'}`) })
}
const fastifys: Count = (app, list) => {
  app.addHook('onResponse', async (request, reply) => { list.push(`${request.method} ${request.url} ${reply.raw.statusCode}${reply.elapsedTime > 0 ? '' : ' at once'}`) })
}

/** Routes that are answered from everywhere. `before`: registered before whoever counts. */
async function build (t: Test, count: Count, list: string[], before: (app: FastifyInstance) => unknown = () => {}, options = {}): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true, ...options }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await before(app)
  await app.register(fp(async (app: FastifyInstance) => { count(app, list) }))
  app.addHook('onRequest', (request, reply, done) => {
    if (request.url === '/hook') reply.code(401).send('no')
    else if (request.url === '/thrown') done(new Error('thrown'))
    else if (request.url === '/hijacked') reply.hijack().raw.writeHead(203).end('mine')
    else done()
  })
  app.get('/', async () => 'hello')
  app.get('/handler', (_request, reply) => { reply.hijack().raw.end('mine') })
  app.get('/stream', (_request, reply) => reply.send(Readable.from(['a', 'b'])))
  app.get('/never', (_request, reply) => { reply.hijack() })
  app.get('/late', async () => {
    await wait(20)
    return 'late'
  })
  await app.register(async (scope) => {
    scope.addHook('onRequest', async (_request, reply) => reply.code(403).send('no'))
    scope.get('/scope', async () => 'never')
  })
  return app
}

const PATHS = ['/', '/hook', '/thrown', '/hijacked', '/handler', '/stream', '/scope', '/nowhere', '/early', '/early-scope']
const EXPECTED = ['GET / 200', 'GET /hook 401', 'GET /thrown 500', 'GET /hijacked 203', 'GET /handler 200', 'GET /stream 200', 'GET /scope 403', 'GET /nowhere 404']

async function settled (list: readonly string[], count: number): Promise<void> {
  for (let tries = 0; list.length < count && tries < 200; tries++) await wait(5)
}

const early = async (app: FastifyInstance): Promise<void> => {
  app.addHook('onRequest', async (request, reply) => request.url === '/early' ? reply.code(429).send('no') : undefined)
}
const earlyScope = async (app: FastifyInstance): Promise<void> => {
  await app.register(async (scope) => {
    await scope.register(async (inner) => {
      inner.addHook('onRequest', async (_request, reply) => reply.code(402).send('no'))
      inner.get('/early-scope', async () => 'never')
    })
  })
}
const earlyRoute = (app: FastifyInstance): void => {
  app.get('/early', { onRequest: async (_request, reply) => reply.code(429).send('no') }, async () => 'never')
}

for (const [name, before, more] of [
  ['nobody', undefined, ['GET /early 404', 'GET /early-scope 404']],
  ['a hook', early, ['GET /early 429', 'GET /early-scope 404']],
  ['a scope with a hook', earlyScope, ['GET /early 404', 'GET /early-scope 402']],
  ['a route with a hook', earlyRoute, ['GET /early 429', 'GET /early-scope 404']]
] as const) {
  t.test(`behind ${name}, each response is counted once, whoever gave it, as by an onResponse hook`, async (t) => {
    for (const count of [ours, fastifys]) {
      const list: string[] = []
      const app = await build(t, count, list, before)
      const url = await app.listen({ port: 0, host: '127.0.0.1' })
      for (const path of PATHS) {
        await (await fetch(`${url}${path}`)).text()
        await settled(list, PATHS.indexOf(path) + 1)
      }
      t.same(list, [...EXPECTED, ...more])
      list.length = 0
      for (const path of PATHS) await app.inject(path)
      t.same(list, [...EXPECTED, ...more], 'app.inject')
      list.length = 0
      await fetch(`${url}/`, { method: 'HEAD' })
      await settled(list, 1)
      t.same(list, ['HEAD / 200'])
    }
  })
}

t.test('a client that left before an answer, and connections that carry many requests', async (t) => {
  for (const count of [ours, fastifys]) {
    const list: string[] = []
    const app = await build(t, count, list)
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    for (const path of ['/never', '/late']) {
      const request = get(`${url}${path}`)
      request.on('error', () => {})
      await wait(10)
      request.destroy()
    }
    await wait(50)
    t.same(list, [])
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
    socket.resume().write('GET /late HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /hook HTTP/1.0\r\n\r\n')
    await once(socket, 'close')
    await settled(list, 3)
    t.same(list.toSorted(), ['GET / 200', 'GET /hook 401', 'GET /late 200'])
  }
})

t.test('HTTP/2: each stream once, those that are reset too', async (t) => {
  for (const count of [ours, fastifys]) {
    const list: string[] = []
    const app = await build(t, count, list, undefined, { http2: true })
    const client = connectHttp2(await app.listen({ port: 0, host: '127.0.0.1' }))
    t.teardown(() => { client.destroy() })
    for (const path of PATHS) {
      const stream = client.request({ ':path': path })
      await once(stream.resume(), 'end')
      await settled(list, PATHS.indexOf(path) + 1)
    }
    t.same(list, [...EXPECTED, 'GET /early 404', 'GET /early-scope 404'])
    list.length = 0
    const stream = client.request({ ':path': '/never' })
    stream.on('error', () => {})
    await wait(20)
    stream.close(8)
    await once(stream, 'close')
    await settled(list, 1)
    t.same(list, ['GET /never 200'])
  }
})

t.test('only where it is known that no hook comes first is Fastify spared its own', async (t) => {
  const added = (app: FastifyInstance): string[] => {
    const names: string[] = []
    onResponses(Object.defineProperty(app, 'addHook', { value: (name: string) => { names.push(name) } }), () => {})
    return names
  }
  t.same(added(Fastify() as unknown as FastifyInstance), ['onRequest'])
  t.same(added(Object.create(Fastify()) as FastifyInstance), ['onResponse'], 'Fastify keeps its hooks elsewhere')
  const behind = Fastify() as unknown as FastifyInstance
  await early(behind)
  await behind.after()
  t.same(added(behind), ['onResponse'])
  const nested = Fastify() as unknown as FastifyInstance
  await earlyScope(nested)
  t.same(added(nested), ['onResponse'])
  const counted = Fastify() as unknown as FastifyInstance
  ours(counted, [])
  await counted.after()
  t.same(added(counted), ['onRequest'], 'whoever counts as well answers nothing')
})
