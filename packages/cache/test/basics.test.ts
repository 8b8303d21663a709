import basicAuth from '@fastify/basic-auth'
import jwt from '@fastify/jwt'
import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import cache from '../src/index.ts'
import { app, counting, proxied, TestClock } from './helpers.ts'

t.test('an ordinary handler: a miss is stored, then hits with Age and Cache-Status', async (t) => {
  const clock = new TestClock()
  let runs = 0
  const { app: instance } = await app(t, { clock }, (app) => {
    app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=60').send({ runs: ++runs }))
  })
  const miss = await instance.inject('/')
  t.same(miss.json(), { runs: 1 })
  t.equal(miss.headers['cache-status'], 'headgate; fwd=uri-miss; stored')
  clock.advance(10_500)
  const hit = await instance.inject('/')
  t.same(hit.json(), { runs: 1 })
  t.equal(hit.headers['age'], '10')
  t.equal(hit.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(hit.headers['content-length'], String(hit.rawPayload.length))
  t.equal(hit.headers['cache-status'], 'headgate; hit; ttl=50')
  clock.advance(60_000)
  t.same((await instance.inject('/')).json(), { runs: 2 }, 'stale, and there is nothing to validate it with')
  t.match(instance.cache.stats, { hits: 1, misses: 2, stored: 2, entries: 1 })
})

t.test('async handlers, strings, streams, errors and no content', async (t) => {
  let runs = 0
  const { app: instance } = await app(t, { ttl: 60_000 }, (app) => {
    app.get('/async', async () => ({ runs: ++runs }))
    app.get('/text', (_request, reply) => { reply.type('text/plain').send(`run ${++runs}`) })
    app.get('/none', (_request, reply) => { runs++; reply.code(204).send() })
    app.get('/fails', async () => { runs++; throw new Error('on purpose') })
    app.get('/missing', (_request, reply) => { runs++; reply.callNotFound() })
  })
  for (const url of ['/async', '/text', '/none', '/missing']) {
    const before = runs
    const first = await instance.inject(url)
    const second = await instance.inject(url)
    t.equal(second.body, first.body, url)
    t.equal(second.statusCode, first.statusCode, url)
    t.match(second.headers['cache-status'], /; hit;/, url)
    t.equal(runs, before + 1, url)
  }
  t.equal((await instance.inject('/fails')).statusCode, 500)
  t.equal((await instance.inject('/fails')).statusCode, 500)
  t.match((await instance.inject('/fails')).json(), { message: 'on purpose' })
})

t.test('proxied routes: hits do not reach the upstream', async (t) => {
  const { app: instance, proxy, requests } = await proxied(t, {}, counting({ 'cache-control': 'max-age=60', etag: '"a"', 'x-own': 'y' }))
  const miss = await fetch(`${proxy}/x?a=1`)
  t.equal(await miss.text(), 'body 1')
  const hit = await fetch(`${proxy}/x?a=1`)
  t.equal(await hit.text(), 'body 1')
  t.equal(hit.headers.get('x-own'), 'y')
  t.match(hit.headers.get('cache-status'), /^headgate; hit/)
  t.equal(await (await fetch(`${proxy}/x?a=2`)).text(), 'body 2', 'another query is another resource')
  const conditional = await instance.inject({ url: '/x?a=1', headers: { host: new URL(proxy).host, 'if-none-match': 'W/"a"' } })
  t.equal(conditional.statusCode, 304)
  t.equal(conditional.headers['etag'], '"a"')
  const head = await fetch(`${proxy}/x?a=1`, { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), '6')
  t.equal(requests.length, 2)
})

t.test('hooks: those before run for every request, onSend sees every answer, decorations reach the handler', async (t) => {
  const seen: string[] = []
  const { app: instance } = await app(t, {}, (app) => {
    app.decorateRequest('who', '')
    app.addHook('onRequest', async (request, reply) => {
      (request as unknown as { who: string }).who = 'me'
      reply.header('x-request', 'own').header('vary', 'origin')
    })
    app.addHook('onSend', async (request, reply, payload) => {
      seen.push(request.url)
      reply.header('x-sent', 'yes')
      return payload
    })
    app.get('/', (request, reply) => reply.header('cache-control', 'max-age=60').header('vary', 'accept').send((request as unknown as { who: string }).who))
  })
  for (const status of [/stored/, /hit/]) {
    const response = await instance.inject('/')
    t.equal(response.body, 'me')
    t.match(response.headers['cache-status'], status)
    t.equal(response.headers['x-request'], 'own')
    t.equal(response.headers['x-sent'], 'yes')
    t.equal(response.headers['vary'], 'origin, accept')
  }
  t.equal(seen.length, 2, 'once for each client')
})

t.test('what a handler puts on its request is there for the hooks of the client that it ran for, and nothing else of it is', async (t) => {
  interface Marked { who: string; found?: string; raw: { headers: Record<string, unknown> } }
  let [ran, sent]: Marked[] = []
  const { url } = await app(t, {}, (app) => {
    app.decorateRequest('who', '')
    app.addHook('onRequest', async (request) => { (request as unknown as Marked).who = 'me' })
    app.addHook('onSend', async (request) => { sent = request as unknown as Marked })
    app.get('/', (request, reply) => {
      ran = request as unknown as Marked
      ran.found = `for ${ran.who}`
      return reply.header('cache-control', 'max-age=60').send('x')
    })
  })
  await fetch(url, { headers: { 'if-none-match': '"y"' } })
  t.not(ran, sent)
  t.equal(sent!.found, 'for me')
  t.same([ran!.raw.headers['if-none-match'], sent!.raw.headers['if-none-match']], [undefined, '"y"'])
})

t.test('authentication comes first, wherever its hook is', async (t) => {
  let runs = 0
  const { app: instance } = await app(t, {}, async (app) => {
    await app.register(jwt, { secret: 'a secret of more than thirty-two bytes' })
    await app.register(basicAuth, { validate: async (name, password) => { if (name !== 'u' || password !== 'p') throw new Error('no') } })
    const answer = (_request: unknown, reply: { header (name: string, value: string): { send (body: string): unknown } }): unknown =>
      reply.header('cache-control', 'public, max-age=60').send(`secret ${++runs}`)
    app.get('/jwt', { onRequest: async (request) => { await request.jwtVerify() } }, answer as never)
    app.get('/basic', { preHandler: (request, reply, done) => { app.basicAuth(request, reply, done) } }, answer as never)
  })
  const cases = [['/jwt', `Bearer ${instance.jwt.sign({ sub: 'x' })}`], ['/basic', `Basic ${Buffer.from('u:p').toString('base64')}`]] as const
  for (const [url, authorization] of cases) {
    const before = runs
    t.equal((await instance.inject({ url, headers: { authorization } })).body, `secret ${before + 1}`)
    t.match((await instance.inject({ url, headers: { authorization } })).headers['cache-status'], /; hit/)
    const refused = await instance.inject({ url })
    t.equal(refused.statusCode, 401, `${url} refuses although it is stored`)
    t.notMatch(refused.body, /secret/)
  }
})

t.test('config.cache: false, and options of a route', async (t) => {
  let runs = 0
  const { app: instance } = await app(t, {}, (app) => {
    app.get('/off', { config: { cache: false } }, async () => ++runs)
    app.get('/on', { config: { cache: { ttl: 1000 } } }, async () => ({ runs: ++runs }))
  })
  t.equal((await instance.inject('/off')).headers['cache-status'], undefined)
  await instance.inject('/on')
  t.match((await instance.inject('/on')).headers['cache-status'], /hit; ttl=/)
})

t.test('how an app is put together: what would break something is said when it starts', async (t) => {
  const warnings = async (register: (app: FastifyInstance) => Promise<unknown>): Promise<string[]> => {
    const rules: string[] = []
    const app = Fastify() as FastifyInstance
    t.teardown(() => app.close())
    app.log.warn = ((object: { rule?: string }) => { if (object.rule !== undefined) rules.push(object.rule) }) as never
    await register(app)
    await app.ready()
    return rules
  }
  const pools = { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web' }] }
  t.same(await warnings(async (app) => { await app.register(cache); await app.register(balancer, pools) }), [])
  t.same(await warnings(async (app) => { await app.register(balancer, pools); await app.register(cache) }), ['cache-before-balancer'])
  t.same(await warnings(async (app) => { app.get('/', async () => 'x'); await app.register(cache) }), ['cache-before-routes'])
  t.same(await warnings(async (app) => {
    await app.register(cache)
    await app.register(fp(async () => {}, { name: '@fastify/compress' }))
    app.get('/', async () => 'x')
  }), ['one-compressor'])
})
