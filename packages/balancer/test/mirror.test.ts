import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { type ComparisonMessage, type MirrorMessage, channels } from '@headgate/core'
import { assert, constantFrom, integer, jsonValue, property } from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { request } from 'undici'
import type { MirrorOptions } from '../src/index.ts'
import { Differences, compareJson } from '../src/mirror/differences.ts'
import { compileIgnored } from '../src/mirror/ignore.ts'
import { bodyOf, proxy, raw, refusing, until, upstream } from './helpers.ts'

type Test = Parameters<typeof upstream>[0]
interface Got { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers']; readonly body: string }

/** An upstream that keeps what it gets, and answers as told. */
async function origin (t: Test, answer: (message: IncomingMessage, response: ServerResponse) => void = (_, response) => { response.end('shadow') }): Promise<{ url: string; got: Got[] }> {
  const got: Got[] = []
  const { url } = await upstream(t, async (message, response) => {
    try {
      const body = (await bodyOf(message)).toString()
      got.push({ method: message.method!, url: message.url!, headers: message.headers, body })
      answer(message, response)
    } catch {
      // It was given up.
    }
  })
  return { url, got }
}

const web = (t: Test): ReturnType<typeof origin> => origin(t, (_, response) => { response.end('web') })

/** Results of the pool's copies as they come. */
function results (app: FastifyInstance, pool = 'shadow'): string[] {
  const list: string[] = []
  app.balancer.pool(pool).on('mirrored', ({ result, reason }: MirrorMessage) => { list.push(reason === '' ? result : `${result}: ${reason}`) })
  return list
}

t.test('copies go to the shadow with body and mark, and its answers to nobody', async (t) => {
  const [primary, shadow] = [await web(t), await origin(t, (_, response) => { response.writeHead(500).end('no') })]
  const mirror: MirrorOptions = { pool: 'shadow' }
  const { url, port, app } = await proxy(t, {
    pools: { web: [primary.url], shadow: [shadow.url] },
    routes: [
      { prefix: '/', pool: 'web', rewritePrefix: '/base', mirror, headers: { request: { set: { 'x-from': 'headgate' } } } },
      { prefix: '/r', mirror, rules: [{ match: { path: '/r/off' }, pool: 'web', mirror: false }, { match: { path: '/r/own' }, pool: 'web', mirror: { pool: 'shadow', mark: '', methods: ['PUT'] } }, { pool: 'web' }] }
    ]
  })
  const told: MirrorMessage[] = []
  const hear = (message: unknown): void => { told.push(message as MirrorMessage) }
  channels.mirror.subscribe(hear)
  t.teardown(() => { channels.mirror.unsubscribe(hear) })
  const list = results(app)
  const { statusCode, body } = await request(`${url}/a?b=c`, { headers: { 'x-mirrored': 'no', 'x-a': '1' } })
  t.equal(statusCode, 200)
  t.equal(await body.text(), 'web')
  await until(() => list.length === 1)
  t.same(shadow.got, [{ ...shadow.got[0], method: 'GET', url: '/base/a?b=c', body: '' }])
  t.match(shadow.got[0]!.headers, { 'x-mirrored': '1', 'x-a': '1', 'x-from': 'headgate', 'x-forwarded-for': '127.0.0.1', host: new URL(shadow.url).host })
  t.match(primary.got[0]!.headers, { 'x-mirrored': 'no' })
  t.match(told, [{ pool: 'shadow', upstream: String, url: shadow.url, result: 'answered', reason: '', status: 500, source: app.balancer.pool('shadow') }])

  t.equal(await (await request(url, { method: 'POST', body: 'known length' })).body.text(), 'web')
  const chunked = 'POST /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n'
  t.match(await raw(port, chunked), /\r\n\r\n[^]*web/)
  t.match(await raw(port, 'POST /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'), /\r\n\r\nweb/)
  t.match(await raw(port, 'PUT /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok'), /\r\n\r\nweb$/)
  await until(() => list.length === 5)
  t.same(shadow.got.slice(1).map(({ method, body, headers }) => [method, body, headers['content-length']]), [['POST', 'known length', '12'], ['POST', 'abcdef', '6'], ['POST', '', '0'], ['PUT', 'ok', '2']])
  t.same(primary.got.map(({ body }) => body), ['', 'known length', 'abcdef', '', 'ok'], 'the upstream got all of it too')

  for (const [path, method] of [['/r/off', 'GET'], ['/r/own', 'GET'], ['/r/own', 'PUT'], ['/r/x', 'GET']] as const) await (await request(url + path, { method })).body.dump()
  await until(() => list.length === 7)
  t.same(shadow.got.slice(5).map(({ method, url, headers }) => [method, url, headers['x-mirrored']]), [['PUT', '/r/own', undefined], ['GET', '/r/x', '1']])
  t.match(app.balancer.mirrors.map(({ counts }) => counts), [{ answered: 6, failed: 0, dropped: 0 }, { answered: 1 }], "a rule has its route's mirror, and not one more")
  t.equal(app.balancer.pool('web').inFlight + app.balancer.pool('shadow').inFlight, 0)
})

t.test('a share of the requests', async (t) => {
  const [primary, shadow] = [await web(t), await origin(t)]
  let draw = 0
  const { url, app } = await proxy(t, {
    pools: { web: [primary.url], shadow: [shadow.url] },
    routes: [{ prefix: '/', pool: 'web', mirror: { pool: 'shadow', share: 0.3 } }],
    random: () => draw
  })
  const list = results(app)
  for (const [index, next] of [0.1, 0.5, 0.29, 0.3, 0.9].entries()) {
    draw = next
    await (await request(`${url}/${index + 1}`)).body.dump()
  }
  await until(() => list.length === 2)
  t.same(shadow.got.map(({ url }) => url).sort(), ['/1', '/3'])
})

t.test('a shadow that hangs, breaks, or is not there costs the client nothing', async (t) => {
  const [primary, hanging] = [await web(t), await origin(t, (message, response) => { if (message.url === '/break') response.destroy() })]
  const { url, app } = await proxy(t, {
    pools: { web: [primary.url], shadow: [hanging.url], gone: [await refusing()] },
    routes: [
      { prefix: '/', pool: 'web', mirror: { pool: 'shadow', timeout: 50 } },
      { prefix: '/gone', pool: 'web', mirror: { pool: 'gone' } }
    ]
  })
  const [list, gone] = [results(app), results(app, 'gone')]
  for (const path of ['/hang', '/break', '/gone']) t.equal(await (await request(url + path)).body.text(), 'web')
  await until(() => list.length === 2 && gone.length === 1)
  t.same(list.sort(), ['failed: closed', 'timed-out: timeout'])
  t.same(gone, ['failed: connect-refused'])
  t.equal(app.balancer.pool('shadow').inFlight, 0)
  t.match(app.balancer.mirrors[0], { running: 0 })
  app.balancer.pool('gone').upstreams[0]!.health.force('maintenance', 'test')
  await (await request(`${url}/gone`)).body.dump()
  t.same(gone, ['failed: connect-refused', 'dropped: none-ready'])
})

t.test('no more is held than the bounds allow', async (t) => {
  const waiting: ServerResponse[] = []
  const [primary, shadow] = [await web(t), await origin(t, (message, response) => { if (message.url === '/wait') waiting.push(response); else response.end() })]
  const { url, port, app } = await proxy(t, {
    pools: { web: [primary.url], shadow: [shadow.url] },
    routes: [{ prefix: '/', pool: 'web', mirror: { pool: 'shadow', maxInFlight: 1, bodyLimit: 4, timeout: 600_000 } }]
  })
  const list = results(app)
  await (await request(`${url}/wait`)).body.dump()
  await until(() => waiting.length === 1)
  t.equal(await (await request(`${url}/busy`)).body.text(), 'web')
  t.same(list, ['dropped: busy'])
  waiting[0]!.end()
  await until(() => list.length === 2)
  await (await request(url, { method: 'POST', body: '12345' })).body.dump()
  t.match(await raw(port, 'POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'), /\r\n\r\n[^]*web/)
  t.same(list.slice(2), ['dropped: body-too-large', 'dropped: body-too-large'])
  t.same(primary.got.map(({ body }) => body), ['', '', '12345', 'abcde'])
  const leaving = connect(port, '127.0.0.1', () => { leaving.write('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab') })
  await until(() => app.balancer.mirrors[0]!.running === 1 && app.balancer.pool('web').inFlight === 1)
  leaving.destroy()
  await until(() => list.length === 5)
  t.equal(list[4], 'dropped: body-broken')
  t.equal(app.balancer.mirrors[0]!.running, 0)
  t.same(shadow.got.map(({ url }) => url), ['/wait'])
})

t.test('closing waits for no copy', async (t) => {
  const [primary, shadow] = [await web(t), await origin(t, () => {})]
  const { url, app } = await proxy(t, { pools: { web: [primary.url], shadow: [shadow.url] }, routes: [{ prefix: '/', pool: 'web', mirror: { pool: 'shadow', timeout: 600_000 } }] })
  const list = results(app)
  await (await request(url)).body.dump()
  await until(() => shadow.got.length === 1)
  await app.close()
  t.same(list, ['dropped: closing'])
})

t.test('answers are compared', async (t) => {
  const json = { 'content-type': 'application/json; charset=utf-8' }
  const send = (response: ServerResponse, value: unknown, headers: Record<string, string> = json, status = 200): void => {
    response.writeHead(status, headers).end(JSON.stringify(value))
  }
  const answers: Record<string, [web: (response: ServerResponse) => void, shadow: (response: ServerResponse) => void]> = {
    '/same': [(r) => { send(r, { a: 1, at: 'now', items: [{ id: 1, b: 2 }] }) }, (r) => { send(r, { at: 'later', items: [{ b: 2, id: 9 }], a: 1 }) }],
    '/other': [(r) => { send(r, { a: 1, gone: [1], 'x/y': { constructor: 1 } }) }, (r) => { send(r, { a: '1', new: null, 'x/y': {} }) }],
    '/status': [(r) => { send(r, {}, json) }, (r) => { send(r, {}, { 'content-type': 'text/plain', 'x-v': '2' }, 500) }],
    '/bytes': [(r) => { r.end('abc') }, (r) => { r.end('abd') }],
    '/long': [(r) => { r.end('a'.repeat(300)) }, (r) => { r.end('b'.repeat(300)) }],
    '/gzip': [(r) => { r.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync('{"a":[1]}')) }, (r) => { r.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync('{ "a": [1] }', { level: 0 })) }],
    '/bomb': [(r) => { r.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(100_000))) }, (r) => { r.end('x') }],
    '/odd': [(r) => { r.writeHead(200, { 'content-encoding': 'odd' }).end('1') }, (r) => { r.end('2') }],
    '/broken': [(r) => { r.end('x') }, (r) => { r.writeHead(200, { 'content-length': '9' }); r.write('x'); setImmediate(() => { r.destroy() }) }],
    '/no-json': [(r) => { r.writeHead(200, json).end('{') }, (r) => { r.writeHead(200, json).end('[') }],
    '/deep': [(r) => { r.writeHead(200, json).end(`${'['.repeat(100)}${']'.repeat(100)}`) }, (r) => { r.writeHead(200, json).end(`${'['.repeat(100)}1${']'.repeat(100)}`) }]
  }
  const primary = await upstream(t, (message, response) => { answers[message.url!]![0](response) })
  const shadow = await upstream(t, (message, response) => { answers[message.url!]![1](response) })
  const logged: Record<string, unknown>[] = []
  const { url, app } = await proxy(t, {
    pools: { web: [primary.url], shadow: [shadow.url] },
    routes: [{ prefix: '/', pool: 'web', mirror: { pool: 'shadow', compare: { headers: ['Content-Type', 'x-v'], ignore: ['/at', '/items/*/id'], bodyLimit: 256, values: true } } }]
  }, undefined, { logger: { level: 'warn', stream: { write (line: string) { logged.push(JSON.parse(line) as Record<string, unknown>) } } } })
  const heard: ComparisonMessage[] = []
  const hear = (message: unknown): void => { heard.push(message as ComparisonMessage) }
  channels.comparison.subscribe(hear)
  t.teardown(() => { channels.comparison.unsubscribe(hear) })
  const compared: Record<string, ComparisonMessage> = {}
  app.balancer.pool('shadow').on('compared', (message: ComparisonMessage) => { compared[message.path] = message })
  for (const path of Object.keys(answers)) {
    const { body } = await request(url + path)
    await body.dump()
    await until(() => compared[path] !== undefined)
  }
  t.match(compared['/same'], { pool: 'shadow', route: '/*', method: 'GET', path: '/same', result: 'same', reason: '', differences: [], count: 0, primaryStatus: 200, shadowStatus: 200, source: app.balancer.pool('shadow') })
  t.ok(compared['/same']!.primaryLatency >= 0 && compared['/same']!.shadowLatency >= 0)
  t.same(compared['/other']!.differences, [
    { part: 'body', at: '/a', change: 'changed', expected: '1', actual: '1' }, { part: 'body', at: '/gone', change: 'missing', expected: '[1]', actual: '' },
    { part: 'body', at: '/x~1y/constructor', change: 'missing', expected: '1', actual: '' }, { part: 'body', at: '/new', change: 'added', expected: '', actual: 'null' }
  ])
  t.same(compared['/status']!.differences, [
    { part: 'status', at: '', change: 'changed', expected: '200', actual: '500' },
    { part: 'header', at: 'content-type', change: 'changed', expected: json['content-type'], actual: 'text/plain' }, { part: 'header', at: 'x-v', change: 'added', expected: '', actual: '2' }
  ])
  t.match(compared['/bytes'], { result: 'different', differences: [{ part: 'body', at: '', change: 'changed', expected: 'abc', actual: 'abd' }] })
  t.match(compared['/long'], { result: 'skipped', reason: 'too-large' })
  t.match(compared['/gzip'], { result: 'same' })
  t.match(compared['/bomb'], { result: 'skipped', reason: 'too-large' })
  t.match(compared['/odd'], { result: 'skipped', reason: 'not-decoded' })
  t.match(compared['/broken'], { result: 'skipped', reason: 'shadow-incomplete' })
  t.match(compared['/no-json'], { result: 'different', differences: [{ part: 'body', at: '' }] })
  t.match(compared['/deep'], { result: 'different', count: 1 })
  t.equal(heard.length, Object.keys(answers).length)
  t.match(app.balancer.mirrors[0]!.counts, { same: 2, different: 5, skipped: 4 })
  t.equal(logged.filter(({ msg }) => msg === 'the shadow answered otherwise').length, 5)
  t.equal(app.balancer.mirrors[0]!.running, 0)
})

t.test("what is compared is the upstream's answer, in a sample, and where the client's takes too long not at all", async (t) => {
  const held: ServerResponse[] = []
  const primary = await upstream(t, (message, response) => {
    if (message.url === '/slow') held.push(response)
    else response.writeHead(200, { 'x-v': '1' }).end('answer')
  })
  const shadow = await upstream(t, (_, response) => { response.writeHead(200, { 'x-v': '1' }).end('other') })
  let draw = 0
  const { url, app } = await proxy(t, {
    pools: { web: [primary.url], shadow: [shadow.url] },
    routes: [
      { prefix: '/slow', pool: 'web', mirror: { pool: 'shadow', timeout: 50, compare: true } },
      { prefix: '/', pool: 'web', mirror: { pool: 'shadow', timeout: 60_000, compare: true }, headers: { response: { set: { 'x-v': '2' } } } },
      { prefix: '/half', pool: 'web', mirror: { pool: 'shadow', compare: { share: 0.5, body: false, headers: ['x-v'] } }, headers: { response: { set: { 'x-v': '2' } } } }
    ],
    random: () => draw
  })
  const compared: ComparisonMessage[] = []
  app.balancer.pool('shadow').on('compared', (message: ComparisonMessage) => { compared.push(message) })
  const slow = request(`${url}/slow`)
  await until(() => compared.length === 1)
  t.match(compared[0], { path: '/slow', result: 'skipped', reason: 'primary-incomplete' })
  held[0]!.end('late')
  t.equal(await (await slow).body.text(), 'late')
  await (await request(url)).body.dump()
  await until(() => compared.length === 2)
  t.match(compared[1], { result: 'different', differences: [{ part: 'body', at: '', change: 'changed' }] })
  t.notMatch(compared[1]!.differences[0], { expected: String }, 'values are not told unasked')
  const list = results(app)
  for (let i = 0; i < 4; i++) {
    draw = i / 4
    await (await request(`${url}/half`)).body.dump()
    await until(() => list.length === i + 1)
  }
  await until(() => compared.length === 4)
  t.match(compared.slice(2), [{ result: 'same' }, { result: 'same' }], 'the body does not count, nor what the route changes')
})

t.test('routes of the app itself, bodies that it has parsed, upstreams in the process', async (t) => {
  const got: unknown[] = []
  const inner = Fastify()
  inner.post('/*', async (message) => { got.push([message.url, message.body]); return { ok: true } })
  const primary = await web(t)
  const app = Fastify()
  const { default: balancer } = await import('../src/index.ts')
  await app.register(balancer, { pools: { web: [primary.url], shadow: [{ id: 'inner', app: inner }] } })
  app.post('/fresh', (_, reply) => reply.forward('web', { mirror: { pool: 'shadow', methods: ['PUT'] } }))
  app.post('/p', { config: { forward: { mirror: { pool: 'shadow' } } } }, (_, reply) => reply.forward('web'))
  t.teardown(() => app.close())
  const list = results(app)
  t.match(await app.inject({ method: 'POST', url: '/p', payload: { a: [1] } }), { statusCode: 200, body: 'web' })
  await until(() => list.length === 1)
  t.same(list, ['answered'])
  t.same(got, [['/p', { a: [1] }]])
  for (let i = 0; i < 3; i++) await app.inject({ method: 'POST', url: '/fresh', payload: {} })
  t.equal(app.balancer.mirrors.length, 2, 'equal options are one mirror')
})

t.test('wrong options are named', async (t) => {
  const wrong: [MirrorOptions, RegExp][] = [
    [{} as never, /options\.routes\[0\]\.mirror\.pool: is required/],
    [{ pool: 'x' }, /options\.routes\[0\]\.mirror\.pool: must be one of the pools web, shadow; got 'x'/],
    [{ pool: 'shadow', share: 2 }, /options\.routes\[0\]\.mirror\.share: must be <= 1; got 2/],
    [{ pool: 'shadow', timeout: 0 }, /mirror\.timeout/], [{ pool: 'shadow', maxInFlight: 0 }, /mirror\.maxInFlight/], [{ pool: 'shadow', bodyLimit: -1 }, /mirror\.bodyLimit/],
    [{ pool: 'shadow', methods: ['get'] }, /mirror\.methods\[0\]/], [{ pool: 'shadow', mark: 'a b' }, /mirror\.mark/],
    [{ pool: 'shadow', compare: { ignore: ['a'] } }, /mirror\.compare\.ignore\[0\]/], [{ pool: 'shadow', compare: { body: 'text' as never } }, /mirror\.compare\.body/]
  ]
  const { default: balancer } = await import('../src/index.ts')
  for (const [mirror, message] of wrong) {
    await t.rejects(async () => { await Fastify().register(balancer, { pools: { web: ['http://127.0.0.1:1'], shadow: ['http://127.0.0.1:2'] }, routes: [{ prefix: '/', pool: 'web', mirror }] }) }, { message })
  }
})

t.test('a change anywhere in JSON is found, unless its place is ignored', async (t) => {
  const wrapped = integer({ min: 0, max: 2 }).chain((kind) => jsonValue({ maxDepth: 3 }).map((value) => kind === 0 ? [value] : kind === 1 ? { 'a/b~': value } : { a: [{ b: value }] }))
  const differences = (expected: unknown, actual: unknown, ignore: readonly string[] = []): string[] => {
    const found = new Differences(false)
    compareJson(expected, actual, compileIgnored(ignore), found)
    return found.list.map(({ at }) => at)
  }
  t.same(differences(JSON.parse('[-0]'), JSON.parse('[0]')), [], 'one number, written in two ways')
  assert(property(wrapped, (value) => differences(value, JSON.parse(JSON.stringify(value))).length === 0))
  assert(property(wrapped, constantFrom('{}', '[]', '1', '"x"', 'null'), (value, other) => {
    const text = JSON.stringify(value)
    return text === other || differences(value, JSON.parse(other)).length > 0
  }))
  assert(property(wrapped, jsonValue({ maxDepth: 1 }), (value, stranger) => {
    const changed = { stranger, value }
    const list = differences({ value }, changed)
    return list.length === 1 && list[0] === '/stranger' && differences({ value }, changed, ['/stranger']).length === 0 && differences({ value }, changed, ['/**/stranger']).length === 0
  }))
})
