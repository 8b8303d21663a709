import { type Channel, channel } from 'node:diagnostics_channel'
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { PurgeMessage } from '../src/index.ts'
import { app, eventually, type Test, TestClock } from './helpers.ts'

const headers = { host: 'a.example' }

async function tagged (t: Test, clock = new TestClock()) {
  const guard = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    if (request.headers.authorization !== 'let me') return reply.code(401).send('no')
  }
  const { app: instance } = await app(t, { clock, purge: { guard } }, (app) => {
    app.get('/*', (request, reply) => reply.headers({
      'cache-control': 'max-age=60, stale-while-revalidate=600',
      'cache-tag': `all, path-${request.url.slice(1)}`,
      'surrogate-key': 'one two',
      'cache-groups': '"news"',
      vary: 'x-kind'
    }).send(request.url))
    app.post('/changes', (_request, reply) => reply.header('cache-group-invalidation', '"news", "other"').send('ok'))
  })
  const fill = async (): Promise<void> => {
    for (const url of ['/a', '/b', '/news/1', '/news/2']) await instance.inject({ url, headers })
    await instance.inject({ url: '/a', headers: { ...headers, 'x-kind': 'k' } })
  }
  await fill()
  const hits = async (...urls: string[]): Promise<boolean[]> => {
    const found: boolean[] = []
    for (const url of urls) {
      const { headers: fields } = await instance.inject({ url, headers: { ...headers, 'cache-control': 'only-if-cached' } })
      found.push(/; hit; ttl=\d/.test(String(fields['cache-status'])))
    }
    return found
  }
  return { instance, fill, hits, clock }
}

t.test('by URL, with all its variants', async (t) => {
  const { instance, hits } = await tagged(t)
  t.equal(await instance.cache.purge({ urls: ['HTTP://A.example:80/a'] }), 2)
  t.same(await hits('/a', '/b'), [false, true])
  await t.rejects(instance.cache.purge({ urls: ['/a'] }), { code: 'HG_CACHE_PURGE' })
})

t.test('by URL and by unsafe requests, whatever of a query the routes take into their keys', async (t) => {
  const say = (_request: FastifyRequest, reply: FastifyReply): unknown => reply.header('cache-control', 'max-age=60').send('x')
  const { app: instance } = await app(t, {}, (app) => {
    app.get('/plain', say)
    app.get('/sorted', { config: { cache: { key: { sortQuery: true } } } }, say)
    app.get('/dropped', { config: { cache: { key: { dropQuery: ['ref'] } } } }, say)
    for (const url of ['/plain', '/sorted', '/dropped']) app.post(url, async () => 'changed')
    app.post('/other', (request, reply) => reply.header('location', (request.query as { to: string }).to).send('changed'))
  })
  const stored = async (url: string): Promise<boolean> => {
    const { headers: fields } = await instance.inject({ url, headers: { ...headers, 'cache-control': 'only-if-cached' } })
    return String(fields['cache-status']).includes('; hit')
  }
  for (const [url, kept] of [['/plain?b=1&a=2', '/plain?b=3&a=2'], ['/sorted?b=1&a=2', '/sorted?b=3&a=2'], ['/dropped?ref=x&id=1', '/dropped?ref=x&id=2']] as const) {
    for (const [how, outdate] of [
      ['purge', async () => { t.equal(await instance.cache.purge({ urls: [`http://a.example${url}`] }), 1, url) }],
      ['unsafe', () => instance.inject({ method: 'POST', url, headers })],
      ['location', () => instance.inject({ method: 'POST', url: `/other?to=${encodeURIComponent(url)}`, headers })]
    ] as const) {
      for (const one of [url, kept]) await instance.inject({ url: one, headers })
      t.ok(await stored(url), url)
      await outdate()
      t.notOk(await stored(url), `${how} ${url}`)
      t.ok(await stored(kept), `${how} ${url} leaves ${kept}`)
    }
  }
})

t.test('by prefix, by tag, and all', async (t) => {
  const { instance, hits, fill } = await tagged(t)
  t.equal(await instance.cache.purge({ prefixes: ['http://a.example/news/'] }), 2)
  t.same(await hits('/a', '/news/1', '/news/2'), [true, false, false])
  t.equal(await instance.cache.purge({ tags: ['path-b', 'nothing'] }), 1)
  t.same(await hits('/a', '/b'), [true, false])
  await fill()
  t.equal(await instance.cache.purge({ tags: ['two'] }), 5)
  await fill()
  t.equal(await instance.cache.purge({ all: true }), 5)
  t.equal(instance.cache.stats.entries, 0)
})

t.test('Cache-Groups: by API, and by an unsafe request (RFC 9875)', async (t) => {
  const { instance, hits, fill } = await tagged(t)
  t.equal(await instance.cache.purge({ groups: [{ origin: 'http://b.example', name: 'news' }] }), 0, 'groups belong to an origin')
  t.equal(await instance.cache.purge({ groups: [{ origin: 'http://a.example', name: 'news' }] }), 5)
  await fill()
  t.same(await hits('/a', '/news/1'), [true, true])
  await instance.inject({ method: 'POST', url: '/changes', headers: { host: 'b.example' } })
  t.same(await hits('/a', '/news/1'), [true, true])
  await instance.inject({ method: 'POST', url: '/changes', headers })
  t.same(await hits('/a', '/news/1'), [false, false])
})

t.test('soft: stale, and still of use where staleness is allowed', async (t) => {
  const { instance } = await tagged(t)
  t.equal(await instance.cache.purge({ urls: ['http://a.example/b'], soft: true }), 1)
  t.match((await instance.inject({ url: '/b', headers })).headers['cache-status'], /; hit; ttl=0/)
  await instance.cache.purge({ urls: ['http://a.example/b'] })
  t.match((await instance.inject({ url: '/b', headers })).headers['cache-status'], /fwd=uri-miss/)
})

t.test('over guarded routes', async (t) => {
  const { instance, hits, fill } = await tagged(t)
  const authorization = 'let me'
  const purge = (url: string, more: Record<string, string> = {}) => instance.inject({ method: 'PURGE' as never, url, headers: { ...headers, ...more } })
  t.equal((await purge('/a')).statusCode, 401)
  t.equal((await instance.inject({ method: 'POST', url: '/_cache/purge', headers, payload: { all: true } })).statusCode, 401)
  t.same(await hits('/a'), [true])
  t.same((await purge('/a', { authorization })).json(), { purged: 2 })
  t.same((await purge('/b', { authorization, 'x-purge': 'soft' })).json(), { purged: 1 })
  t.match((await instance.inject({ url: '/b', headers })).headers['cache-status'], /; hit;/)
  await fill()
  const post = (payload: object) => instance.inject({ method: 'POST', url: '/_cache/purge', headers: { ...headers, authorization }, payload })
  t.same((await post({ tags: ['path-b'], prefixes: ['http://a.example/news'] })).json(), { purged: 3 })
  t.equal((await post({})).statusCode, 400)
  t.equal((await post({ urls: 'x' })).statusCode, 400)
  t.equal((await post({ urls: ['not a url'] })).statusCode, 400)
})

t.test('without a guard there are no purge routes', async (t) => {
  await t.rejects(app(t, { purge: {} as never }, () => {}), { code: 'HG_CACHE_OPTION', message: /options\.purge\.guard: is required/ })
  const { app: instance } = await app(t, {}, () => {})
  t.equal((await instance.inject({ method: 'POST', url: '/_cache/purge', payload: { all: true } })).statusCode, 404)
})

t.test('what is being fetched while its tag is purged is not stored', async (t) => {
  let answer: (() => void) | undefined
  const { app: instance } = await app(t, {}, (app) => {
    app.get('/x', async (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'cache-control': 'max-age=60', 'cache-tag': 'news' })
      reply.raw.write('old')
      await new Promise<void>((resolve) => { answer = resolve })
      reply.raw.end()
    })
  })
  const early = instance.inject('/x').then((response) => response)
  await eventually(() => answer !== undefined)
  await instance.cache.purge({ tags: ['news'] })
  answer!()
  t.equal((await early).body, 'old')
  t.equal(instance.cache.stats.entries, 0)
})

t.test('purges are told', async (t) => {
  const { instance } = await tagged(t)
  const told: PurgeMessage[] = []
  const listen = (message: unknown): void => { told.push(message as PurgeMessage) }
  const purges: Channel = channel('headgate:cache:purge')
  purges.subscribe(listen)
  await instance.cache.purge({ tags: ['all'], soft: true })
  purges.unsubscribe(listen)
  t.same(told, [{ by: 'tag', value: 'all', soft: true, count: 5 }])
})
