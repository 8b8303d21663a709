import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import balancer from '@headgate/balancer'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import cache from '../src/index.ts'
import { app, counting, eventually, origin, proxied, TestClock } from './helpers.ts'

t.test('a stale response is validated with both validators, and a 304 freshens it with the new fields', async (t) => {
  const clock = new TestClock()
  const modified = 'Wed, 31 Dec 2025 00:00:00 GMT'
  const { app: instance, requests } = await proxied(t, { clock }, (request, response) => {
    const again = request.headers['if-none-match'] === '"a"'
    response.writeHead(again ? 304 : 200, { etag: '"a"', 'last-modified': modified, 'cache-control': 'max-age=10', 'x-version': again ? '2' : '1' })
    response.end(again ? undefined : 'body')
  })
  await instance.inject('/x')
  clock.advance(11_000)
  const revalidated = await instance.inject('/x')
  t.equal(requests[1]!.headers['if-none-match'], '"a"')
  t.equal(requests[1]!.headers['if-modified-since'], modified)
  t.equal(revalidated.statusCode, 200)
  t.equal(revalidated.body, 'body')
  t.equal(revalidated.headers['x-version'], '2')
  t.equal(revalidated.headers['age'], '0')
  t.equal(revalidated.headers['cache-status'], 'headgate; fwd=stale; fwd-status=304')
  t.match((await instance.inject('/x')).headers, { 'cache-status': /hit; ttl=10/, 'x-version': '2' })
  clock.advance(11_000)
  const both = await instance.inject({ url: '/x', headers: { 'if-none-match': '"a"' } })
  t.equal(both.statusCode, 304, 'the client has it too')
  t.equal(both.body, '')
  t.equal(instance.cache.stats.revalidated, 2)
})

t.test('a 304 with a strong validator freshens all responses that have it; another one is asked again', async (t) => {
  const clock = new TestClock()
  const { app: instance, requests } = await proxied(t, { clock }, (request, response) => {
    const etag = request.headers['x-kind'] === 'c' ? '"other"' : '"same"'
    const status = request.headers['if-none-match'] === undefined ? 200 : 304
    const sent = request.headers['x-kind'] === 'c' && status === 304 ? '"changed"' : etag
    response.writeHead(status, { etag: sent, vary: 'x-kind', 'cache-control': 'max-age=10' })
    response.end(status === 200 ? String(request.headers['x-kind']) : undefined)
  })
  const get = (kind: string) => instance.inject({ url: '/x', headers: { 'x-kind': kind } })
  for (const kind of ['a', 'b', 'c']) t.equal((await get(kind)).body, kind)
  clock.advance(11_000)
  await get('a')
  t.match((await get('b')).headers['cache-status'], /hit; ttl=10/, 'freshened together')
  t.equal(requests.length, 4)
  const other = await get('c')
  t.equal(other.statusCode, 200)
  t.equal(other.body, 'c', 'a 304 that speaks of something else is no answer: fetched without condition')
  t.equal(requests.length, 6)
})

t.test('conditions of clients are answered from the store, and not passed on when it is empty', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, counting({ etag: '"a"', 'cache-control': 'max-age=60', 'last-modified': 'Wed, 31 Dec 2025 00:00:00 GMT' }))
  const get = (headers: Record<string, string>) => instance.inject({ url: '/x', headers })
  const first = await get({ 'if-none-match': '"a"' })
  t.equal(first.statusCode, 304, 'the client has what was fetched for the store')
  t.equal(requests[0]!.headers['if-none-match'], undefined)
  const cases: [Record<string, string>, number][] = [
    [{ 'if-none-match': '"a"' }, 304], [{ 'if-none-match': 'W/"a"' }, 304], [{ 'if-none-match': '"b", "a"' }, 304], [{ 'if-none-match': '*' }, 304],
    [{ 'if-none-match': '"b"' }, 200], [{ 'if-none-match': 'a' }, 200],
    [{ 'if-modified-since': 'Wed, 31 Dec 2025 00:00:00 GMT' }, 304], [{ 'if-modified-since': 'Wednesday, 31-Dec-25 00:00:00 GMT' }, 304],
    [{ 'if-modified-since': 'Wed Dec 31 00:00:00 2025' }, 304], [{ 'if-modified-since': 'Tue, 30 Dec 2025 00:00:00 GMT' }, 200],
    [{ 'if-modified-since': 'yesterday' }, 200], [{ 'if-none-match': '"b"', 'if-modified-since': 'Wed, 31 Dec 2025 00:00:00 GMT' }, 200]
  ]
  for (const [headers, status] of cases) t.equal((await get(headers)).statusCode, status, JSON.stringify(headers))
  t.equal(requests.length, 1)
  const passed = await get({ 'if-match': '"z"' })
  t.match(passed.headers['cache-status'], /fwd=bypass; detail=condition/)
  t.equal(requests[1]!.headers['if-match'], '"z"', 'the If-Match family is for the origin')
})

t.test('HEAD: answered by a stored GET; what it tells updates or outdates what is stored', async (t) => {
  const clock = new TestClock()
  const fields: Record<string, string> = { etag: '"a"', 'cache-control': 'max-age=10', 'x-version': '1' }
  const { app: instance, requests } = await proxied(t, { clock }, (_request, response) => {
    response.writeHead(200, { ...fields, 'content-length': '4' })
    response.end('body')
  })
  const head = () => instance.inject({ method: 'HEAD', url: '/x' })
  await instance.inject('/x')
  t.match((await head()).headers, { 'cache-status': /hit/, 'content-length': '4' })
  clock.advance(11_000)
  fields['x-version'] = '2'
  await head()
  t.equal(requests[1]!.method, 'HEAD')
  t.match((await instance.inject('/x')).headers, { 'cache-status': /hit; ttl=10/, 'x-version': '2' }, 'updated')
  clock.advance(11_000)
  fields['etag'] = '"b"'
  await head()
  t.match((await instance.inject('/x')).headers['cache-status'], /fwd=stale/, 'it is not what is stored any more')
})

t.test('Fastify\'s own HEAD routes and hooks', async (t) => {
  const { app: instance } = await app(t, {}, (app) => {
    app.get('/x', async (_request, reply) => reply.header('cache-control', 'max-age=60').send('four'))
  })
  await instance.inject('/x')
  const head = await instance.inject({ method: 'HEAD', url: '/x' })
  t.equal(head.headers['content-length'], '4')
  t.equal(head.body, '')
  t.match(head.headers['cache-status'], /hit/)
})

t.test('unsafe methods outdate the target, and what Location and Content-Location name on the same origin', async (t) => {
  let fields: Record<string, string> = {}
  let status = 200
  const { app: instance } = await proxied(t, {}, (request, response) => {
    if (request.method === 'GET') return response.setHeader('cache-control', 'max-age=60').end('x')
    response.writeHead(status, fields).end()
  })
  const headers = { host: 'a.example' }
  const fill = async (): Promise<void> => { for (const url of ['/x', '/y', '/z']) await instance.inject({ url, headers }) }
  const cached = async (url: string): Promise<boolean> => /; hit/.test(String((await instance.inject({ url, headers })).headers['cache-status']))
  const send = (method: 'POST' | 'PUT' | 'DELETE' | 'PATCH') => instance.inject({ method, url: '/x', headers })
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH'] as const) {
    await fill()
    t.equal((await send(method)).headers['cache-status'], 'headgate; fwd=method')
    t.notOk(await cached('/x'), method)
    t.ok(await cached('/y'))
  }
  fields = { location: '/y', 'content-location': 'http://a.example/z' }
  await fill()
  await send('POST')
  t.notOk(await cached('/y'))
  t.notOk(await cached('/z'))
  fields = { location: 'http://b.example/y', 'content-location': '//c.example/z' }
  await fill()
  await send('POST')
  t.ok(await cached('/y'), 'other origins are none of its business')
  t.ok(await cached('/z'))
  status = 500
  await fill()
  await send('POST')
  t.ok(await cached('/x'), 'a failure changes nothing')
})

t.test('unsafe requests whose body the handler reads before it answers', async (t) => {
  const { app: instance, url } = await app(t, {}, (app) => {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, payload, done) => { done(null, payload) })
    app.get('/x', (_request, reply) => reply.headers({ 'cache-control': 'max-age=60' }).send('x'))
    app.post('/x', async (request, reply) => {
      for await (const _ of request.body as AsyncIterable<Buffer>) { /* read away */ }
      await new Promise((resolve) => { setTimeout(resolve, 10) })
      return reply.send('done')
    })
  })
  await (await fetch(`${url}/x`)).text()
  await (await fetch(`${url}/x`, { method: 'POST', body: 'abc' })).text()
  t.match((await fetch(`${url}/x`)).headers.get('cache-status'), /fwd=stale/)
  t.equal(instance.cache.stats.hits, 0)
})

t.test('what was fetched before an unsafe request is not used after it', async (t) => {
  let answer: (() => void) | undefined
  const { app: instance } = await app(t, {}, (app) => {
    app.get('/x', async (_request, reply) => {
      await new Promise<void>((resolve) => { answer = resolve })
      return reply.header('cache-control', 'max-age=60').send('old')
    })
    app.post('/x', async () => 'changed')
  })
  const early = instance.inject('/x').then((response) => response)
  await eventually(() => answer !== undefined)
  await instance.inject({ method: 'POST', url: '/x' })
  answer!()
  t.equal((await early).body, 'old', 'who asked before gets it')
  t.equal(instance.cache.stats.entries, 0, 'and nobody else')
})

t.test('a POST that says what GET would give', async (t) => {
  let runs = 0
  const fields: Record<string, string> = { 'content-location': '/x', 'cache-control': 'max-age=60' }
  const { app: instance } = await app(t, {}, (app) => {
    const handler = (_request: FastifyRequest, reply: FastifyReply): unknown => reply.headers(fields).send(`run ${++runs}`)
    app.post('/x', handler)
    app.get('/x', handler)
  })
  t.equal((await instance.inject({ method: 'POST', url: '/x' })).body, 'run 1')
  const hit = await instance.inject('/x')
  t.equal(hit.body, 'run 1')
  t.match(hit.headers['cache-status'], /hit/)
  const others = [{ 'content-location': '/y', 'cache-control': 'max-age=60' }, { 'content-location': '/x', 'cache-control': 'no-store' }, { 'content-location': '/x' }]
  for (const other of others) {
    for (const name of Object.keys(fields)) delete fields[name]
    Object.assign(fields, other)
    await instance.inject({ method: 'POST', url: '/x' })
    t.match((await instance.inject('/x')).headers['cache-status'], /fwd=/, JSON.stringify(other))
  }
})

t.test('103 with the links of the stored response while it is validated', async (t) => {
  let [hinted, waiting]: [boolean, (() => void) | undefined] = [false, undefined]
  const link = '</app.css>; rel=preload; as=style, </about>; rel=next, <https://cdn.example>; rel="preconnect dns-prefetch", <https://fonts.example>; rel="preconnect"; crossorigin, <a,b.js>;rel=modulepreload'
  const { url: to } = await origin(t, (request, response) => {
    const answer = (): void => {
      response.setHeader('cache-control', 'no-cache')
      response.setHeader('etag', '"1"')
      response.setHeader('link', request.url === '/odd' ? '<x>; rel=preload; title="a b"' : request.url === '/none' ? '</about>; rel=next' : link)
      response.statusCode = request.headers['if-none-match'] === '"1"' ? 304 : 200
      response.end(response.statusCode === 304 ? '' : 'page')
    }
    if (request.headers['if-none-match'] !== undefined && request.headers['x-slow'] !== undefined && !hinted) waiting = answer
    else answer()
  })
  const make = async (http2: boolean, earlyHints: boolean): Promise<number> => {
    const app = Fastify({ forceCloseConnections: true, ...http2 && { http2: true } } as object)
    await app.register(cache, { earlyHints })
    await app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', retry: false }] })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    return (app.server.address() as AddressInfo).port
  }
  const early = ['</app.css>; rel=preload; as=style', '<https://fonts.example>; rel="preconnect"; crossorigin', '<a,b.js>;rel=modulepreload']

  const ports = [await make(true, true), await make(true, false)]
  const two = async (port: number, path: string, slow = false): Promise<string[]> => {
    const session = connect(`http://127.0.0.1:${port}`)
    const stream = session.request({ ':path': path, ...slow && { 'x-slow': '1' } })
    const hints: string[] = []
    stream.on('headers', (fields) => {
      hints.push(String(fields[':status']), ...String(fields['link']).split(/, (?=<)/))
      hinted = true
      waiting?.()
    })
    const [fields] = await once(stream, 'response') as [{ ':status': number }]
    t.equal(fields[':status'], 200)
    stream.resume()
    await once(stream, 'end')
    session.close()
    return hints
  }
  t.same(await two(ports[0]!, '/'), [], 'nothing is known of it yet')
  t.same(await two(ports[0]!, '/', true), ['103', ...early], 'they come while the origin has not answered')
  for (const path of ['/odd', '/none']) for (let i = 0; i < 2; i++) t.same(await two(ports[0]!, path), [], path)
  for (let i = 0; i < 2; i++) t.same(await two(ports[1]!, '/'), [], 'not without being asked for')

  const port = await make(false, true)
  const one = async (headers: Record<string, string>): Promise<string[]> => {
    const request = get({ port, host: '127.0.0.1', headers })
    const hints: string[] = []
    request.on('information', ({ statusCode, headers }) => { hints.push(String(statusCode), ...String(headers['link']).split(/, (?=<)/)) })
    const [response] = await once(request, 'response') as [IncomingMessage]
    response.resume()
    await once(response, 'end')
    return hints
  }
  t.same(await one({}), [])
  t.same(await one({}), [], 'a client of HTTP/1.1 may not know what to do with it')
  t.same(await one({ 'sec-fetch-mode': 'navigate' }), ['103', ...early])
})
