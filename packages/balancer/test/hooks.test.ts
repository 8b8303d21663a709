import { once } from 'node:events'
import type { RequestListener, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import { channels } from '@headgate/core'
import balancer from '../src/index.ts'
import { proxy, raw, upstream } from './helpers.ts'

const dead = 'http://127.0.0.1:1'

/** Both ways in which a response is written: straight to the socket, and through `onSend` hooks. */
const sinks: [name: string, prepare: (app: FastifyInstance) => void][] = [
  ['raw', () => {}],
  ['through onSend', (app) => { app.addHook('onSend', async (_request, reply, payload) => { void reply.header('x-sent', 'yes'); return payload }) }]
]

/** Adds hooks that note that they ran, and for which route. */
function record (app: FastifyInstance, label = ''): string[] {
  const fired: string[] = []
  const note = (what: string): void => { fired.push(label + what) }
  app.addHook('onRequest', async () => { note('onRequest') })
  app.addHook('preParsing', async () => { note('preParsing') })
  app.addHook('preValidation', async () => { note('preValidation') })
  app.addHook('preHandler', async () => { note('preHandler') })
  app.addHook('onResponse', async (request, reply) => { note(`onResponse ${reply.statusCode} ${request.upstream === null ? 'nobody' : 'upstream'}`) })
  app.addHook('onError', async (_request, _reply, error) => { note(`onError ${error.code}`) })
  app.addHook('onTimeout', async () => { note('onTimeout') })
  return fired
}

async function settled (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setImmediate(resolve) })
}

const has = (fired: readonly string[], start: string): boolean => fired.some((what) => what.startsWith(start))

for (const [name, prepare] of sinks) {
  t.test(`${name}: hooks run in Fastify's order, and may answer themselves`, async (t) => {
    let reached = 0
    const { url: to } = await upstream(t, (_request, response) => {
      reached++
      response.end('ok')
    })
    let fired: string[] = []
    const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      fired = record(app)
      prepare(app)
      app.addHook('preHandler', async (request, reply) => {
        if (request.headers['x-stop'] === 'answer') return reply.code(418).send('own answer')
        if (request.headers['x-stop'] === 'throw') throw Object.assign(new Error('no'), { statusCode: 403, code: 'NO' })
      })
    })
    const before = ['onRequest', 'preParsing', 'preValidation', 'preHandler']
    const response = await fetch(url)
    t.equal(await response.text(), 'ok')
    t.equal(response.headers.get('x-sent'), name === 'raw' ? null : 'yes')
    await settled(() => has(fired, 'onResponse'))
    t.same(fired.splice(0), [...before, 'onResponse 200 upstream'])

    const own = await fetch(url, { method: 'POST', body: 'left unread', headers: { 'x-stop': 'answer' } })
    t.same([own.status, await own.text(), own.headers.get('x-sent')], [418, 'own answer', name === 'raw' ? null : 'yes'])
    await settled(() => has(fired, 'onResponse'))
    t.same(fired.splice(0), [...before, 'onResponse 418 nobody'])

    t.equal((await fetch(url, { headers: { 'x-stop': 'throw' } })).status, 403)
    await settled(() => has(fired, 'onResponse'))
    t.same(fired.splice(0), [...before, 'onError NO', 'onResponse 403 nobody'])
    t.equal(reached, 1, 'what hooks answer reaches no upstream')
  })

  t.test(`${name}: onError and the app's error handler see what the proxy has to answer`, async (t) => {
    let fired: string[] = []
    const handled: string[] = []
    const { url: silent } = await upstream(t, () => {})
    const { url } = await proxy(t, {
      pools: { dead: [dead], silent: [silent] },
      routes: [{ prefix: '/dead', pool: 'dead' }, { prefix: '/silent', pool: 'silent', headersTimeout: 50, retry: false }]
    }, (app) => {
      fired = record(app)
      prepare(app)
      app.setErrorHandler((error: Error & { code: string; statusCode: number }, _request, reply) => {
        handled.push(error.code)
        return reply.code(error.statusCode).send({ mine: error.code })
      })
    })
    for (const [path, status, code] of [['/dead', 502, 'HG_UPSTREAM_FAILED'], ['/silent', 504, 'HG_UPSTREAM_TIMEOUT']] as const) {
      const response = await fetch(url + path)
      t.equal(response.status, status)
      t.same(await response.json(), { mine: code })
      t.equal(response.headers.get('x-sent'), name === 'raw' ? null : 'yes')
      await settled(() => has(fired, 'onResponse'))
      t.same(fired.splice(0).slice(-2), [`onError ${code}`, `onResponse ${status} upstream`])
      t.same(handled.splice(0), [code])
    }
  })

  t.test(`${name}: onTimeout runs when the client's connection times out, and the upstream's work ends`, async (t) => {
    let gone = (): void => {}
    const ended = new Promise<void>((resolve) => { gone = resolve })
    let fired: string[] = []
    const { url: silent } = await upstream(t, (request) => { request.on('close', gone) })
    const { app, port } = await proxy(t, { pools: { web: [silent] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      fired = record(app)
      prepare(app)
    }, { connectionTimeout: 200 })
    const socket = connect(port, '127.0.0.1', () => { socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n') })
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'close')
    await ended
    await settled(() => has(fired, 'onTimeout') && app.balancer.pool('web').inFlight === 0)
    t.equal(fired.filter((what) => what === 'onTimeout').length, 1)
  })

  t.test(`${name}: with a handlerTimeout of Fastify's the late answer of an upstream harms nobody`, async (t) => {
    let answer = (): void => {}
    let fired: string[] = []
    const { url: to } = await upstream(t, (request, response) => {
      if (request.url !== '/late') return response.end('ok')
      answer = () => { response.end('late') }
    })
    const { app, url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      fired = record(app)
      prepare(app)
    }, { handlerTimeout: 300 } as object)
    const response = await fetch(`${url}/late`)
    t.equal(response.status, 503)
    t.match(await response.json(), { code: 'FST_ERR_HANDLER_TIMEOUT' })
    answer()
    await settled(() => app.balancer.pool('web').inFlight === 0)
    t.equal(await (await fetch(url)).text(), 'ok')
    await settled(() => fired.filter((what) => what.startsWith('onResponse')).length === 2)
  })

  t.test(`${name}: hooks of other scopes stay out, those of the own scope and its parents run`, async (t) => {
    const { url: to } = await upstream(t, (request, response) => { response.end(request.url) })
    const fired: string[] = []
    const app = Fastify({ forceCloseConnections: true })
    prepare(app)
    app.addHook('onRequest', async () => { fired.push('root') })
    await app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/root', pool: 'web' }] })
    await app.register(async (scope) => {
      scope.addHook('onRequest', async () => { fired.push('scope') })
      scope.addHook('onSend', async () => { fired.push('scope onSend') })
      scope.setErrorHandler((_error, _request, reply) => reply.code(500).send('scope'))
      await scope.register(balancer, { pools: { api: [to] }, routes: [{ prefix: '/x', pool: 'api', rewritePrefix: '/y' }] })
      scope.get('/own', (_request, reply) => reply.forward('web'))
    }, { prefix: '/scope' })
    app.post('/parsed', (request) => request.body)
    t.teardown(() => app.close())
    const ask = async (url: string): Promise<unknown[]> => {
      fired.length = 0
      const { body } = await app.inject(url)
      return [body, ...fired]
    }
    t.same(await ask('/root/1'), ['/root/1', 'root'])
    t.same(await ask('/scope/x/1?q'), ['/y/1?q', 'root', 'scope', 'scope onSend'], "the scope's prefix is replaced with the route's")
    t.same(await ask('/scope/own'), ['/scope/own', 'root', 'scope', 'scope onSend'])
    t.same((await app.inject({ method: 'POST', url: '/parsed', payload: { a: 1 } })).json(), { a: 1 }, "the app's own bodies are parsed as ever")
    t.same(await ask('/none').then(([body]) => JSON.parse(body as string) as { statusCode: number }).then(({ statusCode }) => statusCode), 404)
  })

  t.test(`${name}: inject and the socket give the same`, async (t) => {
    const echo: RequestListener = async (request, response) => {
      let text = ''
      for await (const chunk of request) text += String(chunk)
      response.writeHead(201, { 'content-type': 'text/x-own', 'set-cookie': ['a=1', 'b=2'], etag: '"x"' })
      response.end(`${request.method} ${request.url} ${text}`)
    }
    const { url: to } = await upstream(t, echo)
    const { app, url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, prepare)
    const injected = await app.inject({ method: 'POST', url: '/a?b=%20', payload: '{"a": 1}', headers: { 'content-type': 'application/json' } })
    const real = await fetch(`${url}/a?b=%20`, { method: 'POST', body: '{"a": 1}', headers: { 'content-type': 'application/json' } })
    t.equal(injected.body, 'POST /a?b=%20 {"a": 1}')
    t.equal(injected.body, await real.text())
    t.equal(injected.statusCode, real.status)
    t.same(injected.headers['set-cookie'], real.headers.getSetCookie())
    for (const field of ['content-type', 'etag', 'x-sent', 'content-length']) t.equal(injected.headers[field] ?? null, real.headers.get(field), field)
    t.equal((await app.inject({ method: 'HEAD', url: '/' })).body, '')
  })

  t.test(`${name}: several plugins' request state is there in all hooks`, async (t) => {
    const { url: to } = await upstream(t, (_request, response) => { response.end('ok') })
    const seen: unknown[] = []
    const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', config: { tag: 'kept' } as never }] }, (app) => {
      app.decorateRequest('user', '')
      app.addHook('onRequest', async (request) => { (request as FastifyRequest & { user: string }).user = 'ada' })
      prepare(app)
      app.addHook('onResponse', async (request) => {
        seen.push((request as FastifyRequest & { user: string }).user, request.upstream?.url, (request.routeOptions.config as { tag?: string }).tag, request.id)
      })
    })
    await (await fetch(url)).text()
    await settled(() => seen.length > 0)
    t.same(seen.slice(0, 3), ['ada', to, 'kept'])
  })
}

t.test("the request's log line has upstream, attempts and time", async (t) => {
  const { url: to } = await upstream(t, (_request, response) => { response.end('ok') })
  const lines: Record<string, unknown>[] = []
  const { url } = await proxy(t, { pools: { web: { upstreams: [dead, to], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, {
    logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } }
  })
  await (await fetch(url)).text()
  const last = (): Record<string, unknown> | undefined => lines.find(({ msg }) => msg === 'request completed')
  await settled(() => last() !== undefined)
  t.match(last(), { upstream: to, attempts: 2, upstreamTime: Number, responseTime: Number, reqId: String })
  t.match(String(last()!['upstreamTime']), /^\d+(\.\d{1,3})?$/, 'to the microsecond')
})

t.test('a logger that requests share does not gather what is said of each', async (t) => {
  const { url: to } = await upstream(t, (_request, response) => { response.end('ok') })
  const lines: string[] = []
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    const shared = app.log.child({ shared: true })
    app.setChildLoggerFactory(function defaultName () { return shared })
  }, { logger: { level: 'info', stream: { write: (line: string) => { lines.push(line) } } } })
  for (let i = 1; i <= 3; i++) {
    await (await fetch(url)).text()
    await settled(() => lines.filter((line) => line.includes('request completed')).length === i)
  }
  for (const line of lines) t.ok(line.split('"upstream"').length <= 2, line)
  t.match(lines.filter((line) => line.includes('incoming request')).at(-1), /^(?!.*"upstream")/)
})

t.test('a handler may look first, and decide where to', async (t) => {
  const [a, b] = await Promise.all(['a', 'b'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const { url } = await proxy(t, { pools: { a: [a!.url], b: [b!.url] } }, (app) => {
    app.get('/sync', (request, reply: FastifyReply) => reply.header('x-own', '1').forward(request.headers['x-to'] as string))
    app.get('/async', async (request, reply) => {
      await new Promise((resolve) => { setImmediate(resolve) })
      return reply.forward(request.headers['x-to'] as string)
    })
  })
  for (const path of ['/sync', '/async']) {
    for (const to of ['a', 'b']) {
      const response = await fetch(url + path, { headers: { 'x-to': to } })
      t.equal(await response.text(), to)
      t.equal(response.headers.get('x-own'), path === '/sync' ? '1' : null)
    }
    t.equal((await fetch(url + path, { headers: { 'x-to': 'c' } })).status, 500)
  }
})

t.test('pipelined requests are answered in order, each through its hooks', async (t) => {
  const { url: to } = await upstream(t, (request, response) => { setTimeout(() => { response.end(`[${request.url}]`) }, request.url === '/1' ? 50 : 0) })
  let fired: string[] = []
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => { fired = record(app) })
  const text = await raw(port, 'GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
  t.match(text, /\[\/1\][^]*\[\/2\]/)
  await settled(() => fired.filter((what) => what.startsWith('onResponse')).length === 2)
  t.equal(fired.filter((what) => what === 'onRequest').length, 2)
})

t.test('a response that somebody else ends before the writes of its turn, or whose client leaves by then, harms no other', async (t) => {
  const { url: to } = await upstream(t, (request, response) => { response.end(request.url === '/empty' ? '' : 'ok') })
  const responses = new Map<string, ServerResponse>()
  const { port, url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    app.addHook('onRequest', async (request, reply) => { responses.set(request.url, reply.raw) })
  })
  // An attempt's end is told between the answer's last piece and the end of the turn.
  const meddle = (): void => {
    responses.get('/ended')?.end()
    responses.get('/empty')?.end()
    responses.get('/left')?.socket?.destroy()
    responses.clear()
  }
  channels.attempt.subscribe(meddle)
  t.teardown(() => { channels.attempt.unsubscribe(meddle) })
  const cut = await raw(port, 'GET /ended HTTP/1.1\r\nHost: a\r\n\r\n', '\r\n\r\n')
  t.match(cut, /^HTTP\/1\.1 200 OK\r\n/)
  t.notOk(cut.endsWith('ok'))
  t.match(await raw(port, 'GET /empty HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n$/)
  t.equal(await raw(port, 'GET /left HTTP/1.1\r\nHost: a\r\n\r\n'), '')
  t.equal(await (await fetch(`${url}/other`)).text(), 'ok')
})

t.test('through onSend, a response that breaks off before any of it was sent is a 502 without its fields', async (t) => {
  const { url: broken } = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain', 'cache-control': 'max-age=60', etag: '"1"' }).flushHeaders()
    setImmediate(() => { response.destroy() })
  })
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  app.addHook('onSend', async (_request, reply, payload) => { void reply.header('x-sent', 'yes'); return payload })
  await app.register(balancer, { pools: { web: [broken] }, routes: [{ prefix: '/', pool: 'web' }] })
  const response = await fetch(await app.listen({ port: 0, host: '127.0.0.1' }))
  t.equal(response.status, 502)
  t.match(await response.json(), { code: 'HG_UPSTREAM_FAILED' })
  t.same(['cache-control', 'etag'].map((name) => response.headers.get(name)), [null, null])
  t.equal(response.headers.get('x-sent'), 'yes')
})
