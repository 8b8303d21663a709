import t from 'tap'
import { cookiesOf, keys, origins, results, site } from './helpers.ts'

/** [request, upstream's status and fields, does a cookie come, Cache-Control for the client] */
type Case = [string, { method?: string; headers?: Record<string, string> }, number, Record<string, string>, boolean, string | null]

t.test('no answer that a shared cache may store carries a cookie', async (t) => {
  const later = new Date(Date.now() + 3_600_000).toUTCString()
  const earlier = new Date(Date.now() - 3_600_000).toUTCString()
  const cases: Case[] = [
    ['meant for caches', {}, 200, { 'cache-control': 'public' }, false, 'public'],
    ['max-age', {}, 200, { 'cache-control': 'max-age=60' }, false, 'max-age=60'],
    ['max-age, HEAD', { method: 'HEAD' }, 200, { 'cache-control': 'max-age=60' }, false, 'max-age=60'],
    ['s-maxage beats max-age', {}, 200, { 'cache-control': 'max-age=0, s-maxage=60' }, false, 'max-age=0, s-maxage=60'],
    ['s-maxage=0 beats max-age', {}, 200, { 'cache-control': 'max-age=60, s-maxage=0' }, true, 'max-age=60, s-maxage=0, private'],
    ['Expires', {}, 200, { expires: later }, false, null],
    ['Expires in the past', {}, 200, { expires: earlier }, true, 'private'],
    ['for a CDN', {}, 200, { 'cdn-cache-control': 'max-age=60' }, false, null],
    ['not for a CDN', {}, 200, { 'cdn-cache-control': 'no-store' }, true, 'private'],
    ['only Set-Cookie is private', {}, 200, { 'cache-control': 'private="set-cookie", max-age=60' }, false, 'private="set-cookie", max-age=60'],
    ['304, which is written over a stored answer', { headers: { 'if-none-match': '"x"' } }, 304, {}, false, null],
    ['a 404 that may be stored', {}, 404, { 'cache-control': 'max-age=60' }, false, 'max-age=60'],
    ['nothing said: a cache might of its own accord', {}, 200, {}, true, 'private'],
    ['must be asked about each time', {}, 200, { 'cache-control': 'no-cache' }, true, 'no-cache, private'],
    ['max-age=0', {}, 200, { 'cache-control': 'max-age=0, must-revalidate' }, true, 'max-age=0, must-revalidate, private'],
    ['private', {}, 200, { 'cache-control': 'private, max-age=60' }, true, 'private, max-age=60'],
    ['no-store', {}, 200, { 'cache-control': 'no-store' }, true, 'no-store'],
    ['a status that no cache stores unasked', {}, 302, { location: '/x' }, true, null],
    ['POST', { method: 'POST' }, 200, {}, true, null],
    ['POST with max-age', { method: 'POST' }, 200, { 'cache-control': 'max-age=60' }, false, 'max-age=60'],
    ['DELETE', { method: 'DELETE' }, 200, { 'cache-control': 'max-age=60' }, true, 'max-age=60'],
    ['for one who is logged in', { headers: { authorization: 'Bearer x' } }, 200, { 'cache-control': 'max-age=60' }, true, 'max-age=60'],
    ['public, though logged in', { headers: { authorization: 'Bearer x' } }, 200, { 'cache-control': 'public, max-age=60' }, false, 'public, max-age=60']
  ]
  let answer: [number, Record<string, string>] = [200, {}]
  const { url, app } = await site(t, await origins(t, 'a', (_name, _request, response) => { response.writeHead(...answer).end() }))
  const seen = results(t, () => app)
  for (const [name, request, status, fields, set, control] of cases) {
    answer = [status, fields]
    seen.length = 0
    const response = await fetch(url, { ...request, redirect: 'manual' })
    t.equal(response.status, status, name)
    t.equal(response.headers.getSetCookie().length, set ? 1 : 0, name)
    t.equal(response.headers.get('cache-control'), control, name)
    t.same(seen, [set ? 'new' : 'withheld'], name)
  }
})

t.test("what the app says of caches counts before the upstream's word, and a client that has its cookie changes nothing", async (t) => {
  let own: string | undefined = 'max-age=60'
  const { url } = await site(t, await origins(t, 'a', (_name, _request, response) => { response.setHeader('cache-control', 'no-store').end() }), { keys }, {}, {
    before: (app) => { app.addHook('onRequest', async (_request, reply) => { if (own !== undefined) reply.header('cache-control', own) }) }
  })
  const withheld = await fetch(url)
  t.same(cookiesOf(withheld), [])
  t.equal(withheld.headers.get('cache-control'), 'max-age=60')
  own = 'no-cache'
  const marked = await fetch(url)
  t.equal(marked.headers.get('cache-control'), 'no-cache, private')
  const known = await fetch(url, { headers: { cookie: cookiesOf(marked)[0]! } })
  t.equal(known.headers.get('cache-control'), 'no-cache')
  own = undefined
  t.equal((await fetch(url)).headers.get('cache-control'), 'no-store')
})
