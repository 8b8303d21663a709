import balancer from '@headgate/balancer'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import cache, { unkeyedFields } from '../src/index.ts'
import { app, origin, proxied, raw } from './helpers.ts'

const VICTIM = { host: 'a.example' }

/** Reflects every field, as careless applications do with some of them. */
function reflect (request: { headers: object }): string {
  return JSON.stringify(request.headers)
}

t.test('fields that are not in the key do not reach what is stored', async (t) => {
  const { app: instance } = await proxied(t, {}, (request, response) => { response.setHeader('cache-control', 'max-age=60').end(reflect(request)) })
  for (const name of unkeyedFields) {
    const url = `/${name}`
    const attack = await instance.inject({ url, headers: { ...VICTIM, [name]: 'evil.example' } })
    t.equal(attack.statusCode, 200)
    t.notMatch(attack.body, /evil/, name)
    const victim = await instance.inject({ url, headers: VICTIM })
    t.match(victim.headers['cache-status'], /hit/)
    t.notMatch(victim.body, /evil/, name)
  }
})

t.test('they reach the handler where they are part of the key, and where nothing is stored', async (t) => {
  const { app: instance } = await app(t, {}, (app) => {
    const handler = (request: FastifyRequest, reply: FastifyReply): unknown => reply.header('cache-control', 'max-age=60').send(reflect(request))
    app.get('/keyed', { config: { cache: { key: { headers: ['X-Forwarded-Host'] } } } }, handler)
    app.get('/off', { config: { cache: false } }, handler)
  })
  const get = (url: string, name: string) => instance.inject({ url, headers: { ...VICTIM, 'x-forwarded-host': name } })
  t.match((await get('/keyed', 'one')).json(), { 'x-forwarded-host': 'one' })
  t.match((await get('/keyed', 'two')).json(), { 'x-forwarded-host': 'two' })
  t.match((await get('/keyed', 'one')).headers['cache-status'], /hit/)
  t.match((await get('/off', 'one')).json(), { 'x-forwarded-host': 'one' })
})

t.test('a trusted proxy\'s forwarding fields choose the key, and are what the handler sees', async (t) => {
  const upstream = await origin(t, (request, response) => { response.setHeader('cache-control', 'max-age=60').end(String(request.headers['x-forwarded-host'])) })
  const instance = Fastify({ trustProxy: true })
  await instance.register(cache)
  await instance.register(balancer, { pools: { web: [upstream.url] }, routes: [{ prefix: '/', pool: 'web' }] })
  t.teardown(() => instance.close())
  const get = (host: string) => instance.inject({ url: '/', headers: { host: 'inner', 'x-forwarded-host': host, 'x-forwarded-for': '192.0.2.1' } })
  t.equal((await get('one.example')).body, 'one.example')
  t.equal((await get('two.example')).body, 'two.example')
  t.equal((await get('one.example')).body, 'one.example')
  t.equal(upstream.requests.length, 2)
})

t.test('a body on a GET is not part of the key, so it is not cached (fat GET)', async (t) => {
  const { app: instance } = await proxied(t, {}, (request, response) => {
    let body = ''
    request.on('data', (chunk) => { body += String(chunk) })
    request.on('end', () => { response.setHeader('cache-control', 'max-age=60').end(`got ${body}`) })
  })
  const attack = await instance.inject({ method: 'GET', url: '/x', headers: { ...VICTIM, 'content-type': 'text/plain' }, payload: 'evil' })
  t.match(attack.headers['cache-status'], /fwd=bypass; detail=body/)
  t.equal((await instance.inject({ url: '/x', headers: VICTIM })).body, 'got ')
})

t.test('a Host that holds more than an authority cannot take another resource\'s key', async (t) => {
  const { app: instance, port } = await app(t, {}, (app) => {
    app.get('/*', (request, reply) => reply.header('cache-control', 'max-age=60').send(`${request.headers.host} ${request.url}`))
  })
  for (const host of ['a.example/x', 'a.example/x?', 'evil@a.example', 'a.example#', 'a.example\\x']) {
    const answer = await raw(port, `GET /y HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    t.notMatch(answer, /; stored/, host)
  }
  t.equal((await instance.inject({ url: '/x/y', headers: VICTIM })).body, 'a.example /x/y')
  t.equal((await instance.inject({ url: '/y', headers: VICTIM })).body, 'a.example /y')
})

t.test('a HEAD and a POST with such fields teach nothing about what is stored', async (t) => {
  const { app: instance } = await app(t, {}, (app) => {
    const handler = (request: FastifyRequest, reply: FastifyReply): unknown => reply.headers({
      'cache-control': 'max-age=60', 'content-location': '/x', 'x-from': String(request.headers['x-forwarded-host'])
    }).send('same')
    app.route({ method: ['GET', 'HEAD', 'POST'], url: '/x', handler })
  })
  await instance.inject({ url: '/x', headers: VICTIM })
  await instance.inject({ method: 'HEAD', url: '/x', headers: { ...VICTIM, 'cache-control': 'no-cache', 'x-forwarded-host': 'evil' } })
  t.equal((await instance.inject({ url: '/x', headers: VICTIM })).headers['x-from'], 'undefined')
  await instance.inject({ method: 'POST', url: '/x', headers: { ...VICTIM, 'x-forwarded-host': 'evil' } })
  t.equal((await instance.inject({ url: '/x', headers: VICTIM })).headers['x-from'], 'undefined')
})

t.test('parameters that are dropped from the key do not reach the handler either, however they are cloaked', async (t) => {
  const { app: instance, requests } = await proxied(t, { key: { dropQuery: ['utm_*'] } }, (request, response) => {
    response.setHeader('cache-control', 'max-age=60').end(request.url)
  })
  t.equal((await instance.inject({ url: '/x?a=1&utm_source=1;a=evil&utm_x=%0d%0a', headers: VICTIM })).body, '/x?a=1')
  t.match((await instance.inject({ url: '/x?a=1', headers: VICTIM })).headers['cache-status'], /hit/)
  t.equal(requests.length, 1)
  const own = await app(t, { key: { dropQuery: ['utm_*'] } }, (app) => {
    app.get('/q', async (request, reply) => reply.header('cache-control', 'max-age=60').send(request.query))
  })
  t.same((await own.app.inject('/q?a=1&utm_source=evil')).json(), { a: '1' })
})

t.test('deception: a page under the name of a static file is not stored, unless its origin says that it is for all', async (t) => {
  const fields: Record<string, string> = {}
  const { app: instance } = await proxied(t, { ttl: 60_000 }, (_request, response) => {
    for (const name of Object.keys(fields)) response.setHeader(name, fields[name]!)
    response.end('account of the victim')
  })
  const stored = async (url: string, more: Record<string, string>): Promise<boolean> => {
    for (const name of Object.keys(fields)) delete fields[name]
    Object.assign(fields, more)
    await instance.inject({ url, headers: { ...VICTIM, cookie: 'session=victim' } })
    return /; hit/.test(String((await instance.inject({ url, headers: VICTIM })).headers['cache-status']))
  }
  const html = { 'content-type': 'text/html; charset=utf-8' }
  const paths = ['/account/x.css', '/account/x.js?a=b', '/account%2fx.png', '/account;x.ico', '/account%3bx.woff2', '/account%23x.css',
    '/account%3fx.css', '/account/..%2fx.css', '/account%00.svg', '/account%0ax.pdf']
  for (const path of paths) t.notOk(await stored(path, html), path)
  for (const [i, type] of ['application/json', 'application/vnd.api+json', 'application/xhtml+xml', 'text/xml', 'text/plain; charset=utf-8'].entries()) {
    t.notOk(await stored(`/account/${i}.css`, { 'content-type': type }), type)
  }
  t.notOk(await stored('/account/z.map', html))
  t.ok(await stored('/app.js.map', { 'content-type': 'application/json' }), 'this is what such a file is')
  t.ok(await stored('/logo.svg', { 'content-type': 'image/svg+xml' }))
  t.notOk(await stored('/account/max.css', { ...html, 'cache-control': 'max-age=60' }), 'a lifetime alone says nothing about for whom')
  t.ok(await stored('/style.css', { 'content-type': 'text/css' }))
  t.ok(await stored('/public.css', { ...html, 'cache-control': 'public, max-age=60' }))
  t.ok(await stored('/account', html), 'what names no file is judged by its fields')
})

t.test('keys keep apart what an origin may tell apart', async (t) => {
  const { port, requests } = await proxied(t, {}, (request, response) => { response.setHeader('cache-control', 'max-age=60').end(request.url) })
  const urls = ['/a', '/A', '/a?', '/a/', '/%61', '/a;x', '/a%3bx', '/a%2Fb', '/a/b', '/a?x', '/a?X', '/a?x=1&y=2', '/a?y=2&x=1', '/a?x=1;y=2', '//a']
  for (const url of urls) {
    t.match(await raw(port, `GET ${url} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n`), /headgate; fwd=uri-miss; stored/, url)
  }
  t.equal(requests.length, urls.length)
})
