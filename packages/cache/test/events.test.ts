import { channel } from 'node:diagnostics_channel'
import type { ServerResponse } from 'node:http'
import { Writable } from 'node:stream'
import balancer from '@headgate/balancer'
import Fastify from 'fastify'
import t from 'tap'
import cache from '../src/index.ts'
import { eventually, origin, proxied, TestClock } from './helpers.ts'

t.test('every lookup, stored response, body sent and eviction is told, and counted', async (t) => {
  const clock = new TestClock()
  const told: Record<string, unknown[]> = { lookup: [], store: [], serve: [], evict: [] }
  for (const name of Object.keys(told)) {
    const listen = (message: unknown): void => { told[name]!.push(message) }
    channel(`headgate:cache:${name}`).subscribe(listen)
    t.teardown(() => { channel(`headgate:cache:${name}`).unsubscribe(listen) })
  }
  let held: ServerResponse | undefined
  const { app } = await proxied(t, { clock, memory: { maxBytes: 65_536, maxEntries: 3 } }, (request, response) => {
    const { url, headers } = request
    if (url === '/held') held = response
    else if (url === '/private') response.setHeader('cache-control', 'private').end('own')
    else if (headers['if-none-match'] !== undefined) response.writeHead(304, { etag: '"a"', 'cache-control': 'max-age=10' }).end()
    else response.writeHead(200, { etag: '"a"', 'cache-control': 'max-age=10, stale-while-revalidate=5' }).end('body')
  })
  const get = (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers: { host: 'a.example', ...headers } }).then((r) => r)
  const took = (name: string): unknown[] => told[name]!.splice(0)
  const key = (path: string): string => `http://a.example${path}`

  await get('/x')
  t.same(took('lookup'), [{ key: key('/x'), result: 'miss', reason: 'uri-miss' }])
  t.same(took('store'), [{ key: key('/x'), stored: true, reason: '', size: 4 }])
  await get('/x')
  t.same(took('lookup'), [{ key: key('/x'), result: 'hit', reason: '' }])
  await get('/x', { range: 'bytes=0-1' })
  t.same(took('serve'), [{ key: key('/x'), size: 4 }, { key: key('/x'), size: 2 }])
  took('lookup')
  clock.advance(20_000)
  await get('/x')
  t.same(took('lookup'), [{ key: key('/x'), result: 'revalidated', reason: 'revalidated' }])
  clock.advance(11_000)
  await get('/x', { 'cache-control': 'max-stale' })
  t.same(took('lookup'), [{ key: key('/x'), result: 'stale', reason: 'max-stale' }])
  await get('/x', { 'cache-control': 'no-store' })
  t.same(took('lookup'), [{ key: '/x', result: 'bypass', reason: 'no-store' }])
  await get('/none', { 'cache-control': 'only-if-cached' })
  t.same(took('lookup'), [{ key: key('/none'), result: 'only-if-cached', reason: 'uri-miss' }])
  await get('/private')
  took('lookup')
  t.same(took('store'), [{ key: key('/private'), stored: false, reason: 'private', size: -1 }])

  const both = [get('/held'), get('/held')]
  await eventually(() => held !== undefined)
  held!.writeHead(200, { 'cache-control': 'max-age=60' }).end('shared')
  await Promise.all(both)
  t.same(took('lookup').map((message) => (message as { result: string }).result), ['miss', 'collapsed'])
  t.match(app.cache.stats, { hits: 2, misses: 3, revalidated: 1, stale: 1, collapsed: 1, bypassed: 1, stored: 2, entries: 2 })
  t.ok(app.cache.stats.bytes > 10)
  for (const url of ['/1', '/2', '/3']) await get(url)
  t.equal(took('evict').length, 2)
  t.match(app.cache.stats, { evicted: 2, entries: 3 })
})

t.test('that only-if-cached found nothing is no fault of the server, and is logged as such', async (t) => {
  const upstream = await origin(t, (_request, response) => { response.end() })
  const lines: { level: number; msg: string; err?: { code: string } }[] = []
  const stream = new Writable({
    write (line: Buffer, _encoding, done) {
      lines.push(JSON.parse(String(line)) as typeof lines[0])
      done()
    }
  })
  const app = Fastify({ logger: { stream } })
  t.teardown(() => app.close())
  await app.register(cache)
  await app.register(balancer, { pools: { web: [upstream.url] }, routes: [{ prefix: '/web', pool: 'web' }] })
  app.get('/own', async () => 'own')
  app.addHook('onResponse', async (request) => { request.log.error({ err: new Error('of a hook') }, 'other') })
  for (const url of ['/own', '/web']) {
    lines.length = 0
    const { statusCode, headers, body } = await app.inject({ url, headers: { 'cache-control': 'only-if-cached' } })
    t.equal(statusCode, 504)
    t.equal(headers['content-type'], url === '/web' ? 'application/problem+json' : 'application/json; charset=utf-8', 'as other errors there')
    t.match(body, 'HG_CACHE_ONLY_IF_CACHED')
    await eventually(() => lines.some(({ msg }) => msg === 'request completed'))
    t.same(lines.filter(({ err }) => err?.code === 'HG_CACHE_ONLY_IF_CACHED').map(({ level }) => level), [30])
    t.same(lines.filter(({ level }) => level > 30).map(({ msg }) => msg), ['other'], 'what a hook has to complain about is an error as ever')
  }
  t.equal(upstream.requests.length, 0)
})
