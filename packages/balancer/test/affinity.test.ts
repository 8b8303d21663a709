import type { Affinity, AffinityHint, Pool } from '@headgate/core'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { proxy, upstream } from './helpers.ts'

/** Puts an affinity on every request, as a plugin would. */
function affinity (app: FastifyInstance, make: (request: FastifyRequest, reply: FastifyReply) => Affinity): void {
  app.addHook('onRequest', async (request, reply) => { request.affinity = make(request, reply) })
}

const bind = (pool: Pool, index: number, more: Partial<AffinityHint> = {}): AffinityHint =>
  ({ upstreamId: pool.upstreams[index]!.id, whileDraining: true, strict: false, ...more })

async function two (t: Parameters<typeof upstream>[0]): Promise<string[]> {
  return Promise.all(['a', 'b'].map(async (name) => (await upstream(t, (request, response) => {
    response.setHeader('x-seen', request.headers.cookie ?? '')
    response.setHeader('set-cookie', 'app=1')
    response.end(name)
  })).url))
}

for (const path of ['raw', 'reply', 'promised'] as const) {
  t.test(`who answered is told before the head is written, and fields may change: ${path}`, async (t) => {
    const upstreams = await two(t)
    const { url, app } = await proxy(t, { pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      if (path === 'reply') app.addHook('onSend', async () => {})
      affinity(app, (_request, reply) => ({
        propose: (pool) => path === 'promised' ? Promise.resolve(bind(pool, 1)) : bind(pool, 1),
        sending: (upstream, headers) => { headers[headers.findIndex((name) => name === 'cookie') + 1] = `for-${upstream.id}` },
        answered: (upstream, status, headers) => {
          reply.header('set-cookie', `by=${upstream.id}-${status}`)
          headers[headers.indexOf('app=1')] = 'app=2'
        }
      }))
    })
    const response = await fetch(url, { headers: { cookie: 'x=1' } })
    const { id } = app.balancer.pool('web').upstreams[1]!
    t.equal(await response.text(), 'b')
    t.equal(response.headers.get('x-seen'), `for-${id}`)
    t.same(response.headers.getSetCookie(), ['app=2', `by=${id}-200`])
  })
}

t.test('after a retry the one that answered is told, and no other', async (t) => {
  const { url: failing } = await upstream(t, (_request, response) => { response.writeHead(503).end() })
  const { url: good } = await upstream(t, (_request, response) => { response.end('good') })
  const told: string[] = []
  const { url } = await proxy(t, { pools: { web: { upstreams: [failing, good], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    affinity(app, () => ({ propose: (pool) => bind(pool, 0), answered: (upstream, status) => { told.push(`${upstream.url} ${status}`) } }))
  })
  t.equal(await (await fetch(url)).text(), 'good')
  t.same(told, [`${good} 200`])
})

t.test('each pool is asked for, and strict goes to no fallback pool', async (t) => {
  const [a, b] = await two(t)
  const asked: string[] = []
  let strict = false
  const { url, app } = await proxy(t, {
    pools: { one: [a!], two: [b!] }, routes: [{ prefix: '/', rules: [{ pool: 'one', fallback: ['two'] }] }]
  }, (app) => {
    affinity(app, () => ({
      propose: (pool) => {
        asked.push(pool.name)
        return bind(pool, 0, { strict, whileDraining: false })
      }
    }))
  })
  const pool = app.balancer.pool('one')
  await pool.drain(pool.upstreams[0]!.id)
  t.equal(await (await fetch(url)).text(), 'b')
  t.same(asked, ['one', 'two'])
  strict = true
  t.equal((await fetch(url)).status, 503)
})

t.test('a client that leaves while its affinity is looked up is not forwarded; a rejected look-up is an error', async (t) => {
  let reached = 0
  const { url: to } = await upstream(t, (_request, response) => {
    reached++
    response.end()
  })
  let settle: () => void = () => {}
  let asked: () => void = () => {}
  const waiting = new Promise<void>((resolve) => { asked = resolve })
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    affinity(app, (request) => ({
      propose: () => request.url === '/bad' ? Promise.reject(new Error('store')) : new Promise((resolve) => {
        settle = () => { resolve(undefined) }
        request.raw.socket.once('close', settle)
        asked()
      })
    }))
  })
  const abort = new AbortController()
  const gone = fetch(url, { signal: abort.signal })
  await waiting
  abort.abort()
  await t.rejects(gone)
  t.equal((await fetch(`${url}/bad`)).status, 500)
  t.equal(reached, 0)
})

t.test('a switch of protocols follows it, tells of it, and carries what the reply was given', async (t) => {
  const { url: first } = await upstream(t, (_request, response) => { response.end() })
  const { url: second, server } = await upstream(t, (_request, response) => { response.end() })
  const sockets = new WebSocketServer({ server })
  t.teardown(() => { sockets.close() })
  const { url, app } = await proxy(t, { pools: { web: { upstreams: [first, second], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    affinity(app, (_request, reply) => ({
      propose: (pool) => bind(pool, 1),
      answered: (upstream, status) => { reply.header('set-cookie', `by=${upstream.id}-${status}`) }
    }))
  })
  const cookies = await new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace('http', 'ws'))
    socket.on('upgrade', (response) => { resolve(response.headers['set-cookie']) })
    socket.on('open', () => { socket.close() })
    socket.on('error', reject)
  })
  t.same(cookies, [`by=${app.balancer.pool('web').upstreams[1]!.id}-101`])
})

t.test("a route's config is there for hooks and other plugins", async (t) => {
  const [a] = await two(t)
  const seen: unknown[] = []
  const { url, app } = await proxy(t, { pools: { web: [a!] }, routes: [{ prefix: '/x', pool: 'web', config: { mark: 1 } as object }] }, (app) => {
    app.addHook('onRequest', async (request) => { seen.push((request.routeOptions.config as { mark?: number }).mark) })
  })
  await fetch(`${url}/x/y`)
  t.same(seen, [1])
  t.same(app.balancer.routes.map(({ prefix }) => prefix), ['/x'])
})
