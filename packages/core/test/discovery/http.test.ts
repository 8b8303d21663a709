import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { DiscoveryOptions } from '../../src/index.ts'
import { FakeClock } from '../clock.ts'
import { pool, type Test, until } from './helpers.ts'

async function listen (t: Test, handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler)
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('http: polling with ETag; wrong answers keep the members', async (t) => {
  let body: unknown = ['http://a:1']
  let status = 200
  let version = 1
  const asked: (string | undefined)[] = []
  const url = await listen(t, (request, response) => {
    asked.push(request.headers['if-none-match'])
    if (request.headers['authorization'] !== 'Bearer x' || request.url !== '/list?x=1') return response.writeHead(403).end('who are you')
    if (status === 200 && request.headers['if-none-match'] === `"${version}"`) return response.writeHead(304).end()
    response.writeHead(status, { 'content-type': 'application/json', etag: `"${version}"` }).end(typeof body === 'string' ? body : JSON.stringify(body))
  })
  const { pool: web, next, urls } = pool(t, { slowStart: 0, discovery: { type: 'http', url: `${url}/list?x=1`, interval: 10, headers: { authorization: 'Bearer x' } } })
  await web.discover()
  await next()
  t.same(urls(), ['http://a:1'])
  await until(() => asked.filter((etag) => etag === '"1"').length > 3)
  version = 2
  body = { upstreams: ['http://a:1', { url: 'http://b:1', weight: 2 }] }
  t.match(await next(), { result: 'changed', added: 1 })
  const before = web.at('http://b:1')
  for (const [answer, code, message] of [['<html>', 200, /JSON/], ['down', 500, /answered 500: down/], [['x:'], 200, /must be an origin/]] as const) {
    version++
    body = answer
    status = code
    t.match(await next(), { result: 'failed', error: message })
    t.same(urls(), ['http://a:1', 'http://b:1'])
  }
  version++
  body = [{ url: 'http://b:1', weight: 2 }]
  let message = await next()
  while (message.result === 'failed') message = await next()
  t.match(message, { removed: 1 })
  t.equal(web.at('http://b:1'), before)
})

t.test('http: server-sent events, in pieces, with a wrong one, a break and a return where it ended', async (t) => {
  const connections: { readonly response: ServerResponse; readonly last: string | undefined }[] = []
  const url = await listen(t, (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.write(': hello\nretry: 10\n\n')
    connections.push({ response, last: request.headers['last-event-id'] as string | undefined })
  })
  const { pool: web, next, urls } = pool(t, { slowStart: 0, discovery: { type: 'http', url } })
  const started = web.discover()
  await until(() => connections.length === 1)
  const { response } = connections[0]!
  response.write('id: 7\nda')
  response.write('ta: ["http://a:1",\ndata: "http://ü.example:1"]\n\n')
  await started
  await next()
  t.same(urls(), ['http://a:1', 'http://xn--tda.example:1'])
  response.write('event: ping\ndata: no list\n\ndata: no list\n\n')
  t.match(await next(), { result: 'failed', error: /JSON/ })
  response.write('id: 8\ndata: {"upstreams":["http://b:1"]}\n\n')
  t.match(await next(), { result: 'changed' })
  response.end()
  await until(() => connections.length === 2)
  t.equal(connections[1]!.last, '8')
  connections[1]!.response.destroy()
  t.match(await next(), { result: 'failed' })
  await until(() => connections.length === 3)
  connections[2]!.response.write('data: []\n\n')
  t.match(await next(), { result: 'changed', removed: 1, members: 0 })
  await web.close()
  await until(() => connections[2]!.response.closed)
})

t.test('http: who answers again has no error any more, although nothing has changed', async (t) => {
  let status = 200
  const url = await listen(t, (request, response) => {
    if (status === 200 && request.headers['if-none-match'] === '"1"') return response.writeHead(304).end()
    response.writeHead(status, { etag: '"1"' }).end('["http://a:1"]')
  })
  const { pool: web, next } = pool(t, { discovery: { type: 'http', url, interval: 10 } })
  await web.discover()
  await next()
  status = 503
  t.match(await next(), { result: 'failed' })
  t.match(web.discovery, { error: /503/ })
  status = 200
  await until(() => web.discovery!.error === '')
})

t.test('http: a stream that breaks again and again is asked for as it says, by the last id in whichever letters, and not at once', async (t) => {
  const lasts: (string | undefined)[] = []
  let present: ServerResponse
  const url = await listen(t, (request, response) => {
    const last = request.headers['last-event-id'] as string | undefined
    lasts.push(last && Buffer.from(last, 'latin1').toString())
    present = response
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`retry: 0\nid: →${lasts.length}\ndata: ["http://a:${lasts.length}"]\n\n`)
  })
  const clock = new FakeClock()
  const { pool: web, messages } = pool(t, { discovery: { type: 'http', url } }, clock)
  await web.discover()
  for (let n = 1; n < 8; n++) {
    await until(() => web.at(`http://a:${n}`) !== undefined)
    const { waiting } = clock
    present!.destroy()
    await until(() => messages.filter(({ result }) => result === 'failed').length === n && clock.waiting > waiting)
    clock.advance(99)
    t.equal(clock.waiting, waiting + 1, 'not at once')
    clock.advance(11)
    await until(() => lasts.length === n + 1)
  }
  t.same(lasts.slice(0, 3), [undefined, '→1', '→2'])
})

t.test('http: answers and events without end are given up, and the members stay', async (t) => {
  let stream = false
  const url = await listen(t, (_, response) => {
    response.writeHead(200, { 'content-type': stream ? 'text/event-stream' : 'application/json' })
    const text = Buffer.alloc(4_194_304, 'x')
    response.write(stream ? 'data: ["http://a:1"]\n\ndata: ' : '[')
    const more = (): void => { if (!response.destroyed) response.write(text, more) }
    more()
  })
  const { pool: web, next } = pool(t, { slowStart: 0, upstreams: ['http://fixed:1'], discovery: { type: 'http', url, interval: 10 } })
  await web.discover()
  t.match(await next(), { result: 'failed', error: /more than 67108864/ })
  stream = true
  let message = await next()
  while (message.result === 'failed') message = await next()
  t.match(message, { added: 1 })
  t.match(await next(), { result: 'failed', error: /more than 67108864/ })
  t.equal(web.upstreams.length, 2)
})

interface Consul { index: number; instances: object[] }

t.test('consul: blocking queries, weights, zones, an index that goes back, an agent that is gone for a while', async (t) => {
  const state: Consul = { index: 10, instances: [] }
  const waiting = new Set<() => void>()
  const asked: URLSearchParams[] = []
  let broken = false
  const url = await listen(t, (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://x')
    asked.push(searchParams)
    if (broken || request.headers['x-consul-token'] !== 'secret' || pathname !== '/v1/health/service/web%20shop') return response.writeHead(500).end('rpc error')
    const answer = (): void => { response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': String(state.index) }).end(JSON.stringify(state.instances)) }
    if (Number(searchParams.get('index') ?? 0) < state.index) return answer()
    waiting.add(answer)
    response.on('close', () => waiting.delete(answer))
  })
  const change = (index: number, ...instances: object[]): void => {
    state.index = index
    state.instances = instances
    for (const answer of waiting) answer()
    waiting.clear()
  }
  const instance = (address: string, more: object = {}, node: object = {}, status = 'passing'): object =>
    ({ Node: { Address: '10.9.9.9', ...node }, Service: { Address: address, Port: 80, Weights: { Passing: 3, Warning: 1 }, ...more }, Checks: [{ Status: 'passing' }, { Status: status }] })
  change(10, instance('10.0.0.1', { Meta: { rack: 'r1' } }), instance('', {}, { Meta: { rack: 'r2' } }), instance('10.0.0.1'), instance('10.0.0.3', { Port: 0 }), instance('10.0.0.4', {}, {}, 'critical'))
  const discovery = { type: 'consul', url, service: 'web shop', token: 'secret', zoneMeta: 'rack', tags: ['v2', 'eu'], datacenter: 'dc1', warning: true } as DiscoveryOptions
  const { pool: web, next, urls, messages } = pool(t, { slowStart: 0, discovery })
  await web.discover()
  t.match(await next(), { added: 2 })
  t.same(web.upstreams.map(({ url, zone, weight }) => [url, zone, weight]), [['http://10.0.0.1', 'r1', 3], ['http://10.9.9.9', 'r2', 3]])
  t.same([asked[0]!.getAll('tag'), asked[0]!.get('dc'), asked[0]!.get('passing'), asked[0]!.get('index')], [['v2', 'eu'], 'dc1', null, null])
  await until(() => waiting.size === 1)
  t.same([asked.at(-1)!.get('index'), asked.at(-1)!.get('wait')], ['10', '300000ms'])
  change(11, instance('10.0.0.1', { Meta: { rack: 'r1' } }, {}, 'warning'))
  t.match(await next(), { removed: 1, changed: 1 })
  t.equal(web.upstreams[0]!.weight, 1)
  await until(() => waiting.size === 1)
  // Nothing new within the wait.
  const questions = asked.length
  for (const answer of waiting) answer()
  await until(() => asked.length > questions && waiting.size === 1)
  t.equal(messages.length, 2)
  const before = asked.length
  change(3, instance('10.0.0.5'))
  t.match(await next(), { added: 1, removed: 1 })
  await until(() => waiting.size === 1)
  t.same(asked.slice(before).map((query) => query.get('index')), [null, '3'], 'begins anew')
  broken = true
  change(4)
  // The held question is answered with an empty list, which says nothing by default; the next one fails.
  t.match([await next(), await next()], [{ result: 'kept' }, { result: 'failed', error: /answered 500: rpc error/ }])
  t.same(urls(), ['http://10.0.0.5'])
  broken = false
  change(5, instance('10.0.0.6'))
  let message = await next()
  while (message.result === 'failed') message = await next()
  t.same(urls(), ['http://10.0.0.6'])
})

t.test('consul: an index that is no number is not waited with, and what cannot be read is read again', async (t) => {
  const asked: (string | null)[] = []
  let [index, body]: [string | undefined, string] = ['0', JSON.stringify([{ Service: { Address: '10.0.0.1', Port: 80 } }])]
  const url = await listen(t, (request, response) => {
    asked.push(new URL(request.url!, 'http://x').searchParams.get('index'))
    response.writeHead(200, index === undefined ? {} : { 'x-consul-index': index }).end(body)
  })
  const { pool: web, next, urls } = pool(t, { slowStart: 0, discovery: { type: 'consul', url, service: 'web' } })
  await web.discover()
  await next()
  await until(() => asked.length > 2)
  t.same(asked.splice(0, 3), [null, '1', '1'], '1 blocks where there is nothing yet, 0 never does')
  for (const [name, address] of [['0', '10.0.0.2'], [undefined, '10.0.0.3']] as const) {
    index = name
    body = JSON.stringify([{ Service: { Address: address, Port: 80 } }])
    t.match(await next(), { added: 1, removed: 1 }, 'and is heard')
    t.same(urls(), [`http://${address}`])
  }
  index = '7'
  body = '[{}]'
  t.match(await next(), { result: 'failed' })
  body = JSON.stringify([{ Service: { Address: '10.0.0.4', Port: 80 } }])
  let message = await next()
  while (message.result === 'failed') message = await next()
  t.same(urls(), ['http://10.0.0.4'], 'with the same index')
})
