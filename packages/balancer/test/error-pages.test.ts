import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import cors from '@fastify/cors'
import rateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import t from 'tap'
import { request } from 'undici'
import balancer, { type BalancerOptions, type ErrorPages, sendProblem } from '../src/index.ts'
import { proxy, refusing, upstream } from './helpers.ts'

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'

interface Answer { readonly status: number; readonly type: string; readonly text: string; readonly headers: Record<string, unknown> }

async function ask (url: string, accept: string | undefined = BROWSER, method: 'GET' | 'HEAD' | 'POST' = 'GET', fields: Record<string, string> = {}): Promise<Answer> {
  const { statusCode, headers, body } = await request(url, { method, headers: { ...accept !== '' && { accept }, ...fields } })
  return { status: statusCode, type: String(headers['content-type'] ?? ''), text: await body.text(), headers }
}

t.test('pages for errors of the proxy itself, by status, class and what the client takes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-pages-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const file = join(folder, 'busy.html')
  writeFileSync(file, '<style>p{color:red}</style><p>{status} {title}: {detail} {{code}} {request.id}</p>')
  const gone = await refusing()
  const errorPages: ErrorPages = {
    503: { file },
    502: [{ body: '<p>broken</p>' }, { body: '{"error":"{code}","say":"{detail}"}', contentType: 'application/json' }],
    '4xx': { render: async ({ status, code }, { url }) => `<i>${status} ${code} ${url}</i>` },
    '5xx': { body: 'other', contentType: 'text/plain', status: 500 }
  }
  const { url, app } = await proxy(t, {
    pools: { gone: [gone], idle: ['http://127.0.0.1:9;weight=0'] },
    routes: [
      { prefix: '/', pool: 'gone', errorPages },
      { prefix: '/idle', pool: 'idle', errorPages },
      { prefix: '/rules', errorPages, rules: [{ match: { path: '/rules/own' }, pool: 'idle', errorPages: { '5xx': { body: 'own' } } }, { match: { path: '/rules/plain' }, pool: 'idle', errorPages: {} }] },
      { prefix: '/deny', pool: 'idle', errorPages, limits: { maxUrlLength: 10 } },
      { prefix: '/plain', pool: 'idle' }
    ]
  })
  app.balancer.pool('idle').upstreams[0]!.health.force('maintenance', 'test')
  const page = await ask(`${url}/idle`)
  t.match(page, { status: 503, type: 'text/html; charset=utf-8', headers: { 'retry-after': '1', 'proxy-status': /error=destination_unavailable/, vary: /accept/i } })
  t.match(page.text, /^<style>p\{color:red\}<\/style><p>503 Service Unavailable: No upstream is ready \{HG_POOL_NONE_READY\} req-/)
  for (const accept of ['', '*/*', 'application/json', 'application/problem+json', 'text/html;q=0.1, application/json', 'image/png']) {
    t.match(await ask(`${url}/idle`, accept), { status: 503, type: 'application/problem+json', text: /HG_POOL_NONE_READY/, headers: { 'retry-after': '1', vary: /accept/i } }, accept)
  }
  t.match(await ask(`${url}/idle`, 'text/*'), { type: /^text\/html/ })
  t.match(await ask(`${url}/idle`, BROWSER, 'HEAD'), { status: 503, type: /^text\/html/, text: '' })
  t.match(await ask(url), { status: 502, type: /^text\/html/, text: '<p>broken</p>' })
  for (const accept of ['', '*/*', 'application/json']) t.match(await ask(url, accept), { status: 502, type: 'application/json', text: '{"error":"HG_UPSTREAM_FAILED","say":"The upstream failed"}' }, "JSON of the user's own")
  t.match(await ask(`${url}/rules/x`), { status: 404, text: '<i>404 HG_BALANCER_NO_RULE /rules/x</i>' })
  t.match(await ask(`${url}/rules/own`), { status: 503, text: 'own' }, "a rule's pages")
  t.match(await ask(`${url}/rules/plain`), { status: 503, type: 'application/problem+json' }, 'a rule may have none')
  t.match(await ask(`${url}/deny/too-long`), { status: 414, text: '<i>414 HG_BALANCER_URL_TOO_LONG /deny/too-long</i>' })
  t.match(await ask(`${url}/plain`), { status: 503, type: 'application/problem+json', headers: { vary: undefined } })
})

t.test('a value in a page is text, whatever it looks like', async (t) => {
  const { url } = await proxy(t, {
    pools: { web: ['http://127.0.0.1:9'] },
    routes: [{ prefix: '/', pool: 'web', errorPages: { '4xx': [{ body: '<p>{request.id} {detail}</p>' }, { body: '{"id":"{request.id}"}', contentType: 'application/json' }, { body: '{request.id}', contentType: 'text/plain' }] } }]
  }, undefined, { genReqId: () => '<b>"&\'{status}' })
  const path = `${url}/..;/x`
  t.equal((await ask(path)).text, '<p>&lt;b&gt;&quot;&amp;&#39;{status} The request target is not acceptable</p>')
  t.same(JSON.parse((await ask(path, 'application/json')).text), { id: '<b>"&\'{status}' })
  t.equal((await ask(path, 'text/plain')).text, '<b>"&\'{status}')
})

t.test("a page that fails is the problem document, and pages go before an app's error handler", async (t) => {
  const { url } = await proxy(t, {
    pools: { web: [await refusing()] },
    routes: [{ prefix: '/', pool: 'web', errorPages: { 502: { render () { throw new Error('no') } } } }, { prefix: '/page', pool: 'web', errorPages: { 502: { body: 'page' } } }]
  }, (app) => { app.setErrorHandler((error, _request, reply) => { void reply.code(599).send((error as Error).message) }) })
  t.match(await ask(url), { status: 502, type: 'application/problem+json', text: /HG_UPSTREAM_FAILED/ })
  t.match(await ask(`${url}/page`), { status: 502, text: 'page' })
  t.match(await ask(`${url}/page`, '*/*'), { status: 599, text: 'The upstream failed' })
})

t.test("other plugins' errors and fields", async (t) => {
  const { url: to } = await upstream(t, (_, response) => { response.end('ok') })
  const { url } = await proxy(t, {
    pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', config: { rateLimit: { max: 1, timeWindow: 60_000 } } as never, errorPages: { 429: { body: 'slowly: {detail}' } } }]
  }, async (app) => {
    await app.register(cors, { origin: 'https://a.example' })
    await app.register(rateLimit, { global: false })
  })
  t.match(await ask(url), { status: 200, text: 'ok' })
  t.match(await ask(url), { status: 429, text: /^slowly: Rate limit exceeded/, type: /^text\/html/, headers: { 'retry-after': /^\d+$/, 'x-ratelimit-limit': '1', 'access-control-allow-origin': 'https://a.example' } })
  t.match(await ask(url, 'application/json'), { status: 429, type: /^application\/json/, text: /Rate limit exceeded/ })
})

t.test('what upstreams answer may be replaced, too, for those who take the page', async (t) => {
  const { url: to } = await upstream(t, (message, response) => {
    const status = Number(/\d+/.exec(message.url!)?.[0] ?? 200)
    response.writeHead(status, { 'retry-after': '7', 'www-authenticate': 'Basic', 'x-secret': '1', 'content-type': 'application/json' }).end('{"stack":"trace"}')
  })
  const errorPages: ErrorPages = { '5xx': { body: 'sorry {status} {code}' }, 401: { body: 'log in' }, 404: { body: 'nothing', status: 200 } }
  const { url, app } = await proxy(t, {
    pools: { web: [to] },
    routes: [
      { prefix: '/', pool: 'web', retry: false, errorPages },
      { prefix: '/all', pool: 'web', retry: false, errorPages, interceptErrors: true },
      { prefix: '/some', pool: 'web', retry: false, errorPages, interceptErrors: [401, 404, 418] }
    ]
  })
  const outcomes: string[] = []
  app.balancer.pool('web').on('outcome', (_upstream, outcome, { status }) => { outcomes.push(`${outcome} ${status}`) })
  t.match(await ask(`${url}/500`), { status: 500, text: '{"stack":"trace"}' }, 'not unasked')
  t.match(await ask(`${url}/all/500`), { status: 500, type: /^text\/html/, text: 'sorry 500 HG_UPSTREAM_STATUS', headers: { 'retry-after': '7', 'x-secret': undefined, 'proxy-status': /; received-status=500$/, connection: 'keep-alive' } })
  t.match(await ask(`${url}/all/503`, 'application/json'), { status: 503, type: 'application/json', text: '{"stack":"trace"}', headers: { 'x-secret': '1', vary: /accept/i } }, 'who wants no page gets what the upstream said')
  t.match(await ask(`${url}/all/404`), { status: 404, text: '{"stack":"trace"}' })
  t.match(await ask(`${url}/some/401`), { status: 401, text: 'log in', headers: { 'www-authenticate': 'Basic' } })
  t.match(await ask(`${url}/some/404`), { status: 200, text: 'nothing' })
  t.match(await ask(`${url}/some/418`), { status: 418, text: '{"stack":"trace"}' }, 'without a page for it')
  t.match(await ask(`${url}/some/500`), { status: 500, text: '{"stack":"trace"}' })
  t.same(outcomes, ['ok 500', 'ok 500', 'ok 503', 'ok 404', 'ok 401', 'ok 404', 'ok 418', 'ok 500'], 'the pool hears what the upstream did')
})

t.test('reply.forward, with sendProblem', async (t) => {
  const app = Fastify()
  await app.register(balancer, { pools: { web: [await refusing()] } })
  app.setErrorHandler(sendProblem)
  app.get('/', { config: { forward: { errorPages: { 502: { body: 'page' } } } } }, (_, reply) => reply.forward('web'))
  t.teardown(() => app.close())
  t.match(await app.inject({ url: '/', headers: { accept: 'text/html' } }), { statusCode: 502, body: 'page' })
  t.match(await app.inject('/'), { statusCode: 502, body: /HG_UPSTREAM_FAILED/ })
})

t.test('maintenance: closed and opened while it runs, but for some', async (t) => {
  const { url: to } = await upstream(t, (_, response) => { response.end('ok') })
  const { url, app } = await proxy(t, {
    pools: { web: [to] },
    maintenance: { page: { body: 'closed: {detail}' }, retryAfter: 600, except: [{ path: '/health' }, { header: { 'x-staff': 'yes' } }] },
    routes: [
      { prefix: '/', pool: 'web', limits: { deny: ['10.0.0.0/8'] } },
      { prefix: '/shop', pool: 'web', errorPages: { 503: { body: 'shop' } }, maintenance: { active: true } },
      { prefix: '/open', pool: 'web', maintenance: { except: {} } }
    ]
  })
  const { maintenance } = app.balancer
  t.same(maintenance.routes, { '/': false, '/shop': true, '/open': false })
  t.equal(maintenance.active, true)
  t.match(await ask(url), { status: 200 })
  t.match(await ask(`${url}/shop/x`), { status: 503, text: 'shop', headers: { 'retry-after': undefined } }, "the route's own options, and its error page")
  maintenance.begin()
  t.match(await ask(url), { status: 503, type: /^text\/html/, text: 'closed: Closed for maintenance', headers: { 'retry-after': '600' } })
  t.match(await ask(url, '*/*', 'POST'), { status: 503, type: 'application/problem+json', text: /HG_BALANCER_MAINTENANCE/, headers: { 'retry-after': '600' } })
  t.match(await ask(`${url}/health`), { status: 200 })
  t.match(await ask(url, BROWSER, 'GET', { 'x-staff': 'yes' }), { status: 200 })
  t.match(await ask(`${url}/open`), { status: 200 })
  maintenance.end('/shop')
  t.match(await ask(`${url}/shop`), { status: 200 })
  t.same(maintenance.routes, { '/': true, '/shop': false, '/open': true })
  t.throws(() => { maintenance.end('/', '/none') }, { code: 'HG_BALANCER_UNKNOWN_ROUTE', message: /'\/none'; there are: \/, \/shop, \/open/ })
  t.equal(maintenance.routes['/'], true)
  maintenance.end()
  t.match(await ask(url), { status: 200 })
  t.equal(maintenance.active, false)
})

t.test('wrong options are named', async (t) => {
  const wrong: [Partial<BalancerOptions['routes'] extends readonly (infer R)[] | undefined ? R : never>, RegExp][] = [
    [{ errorPages: { 200: { body: '' } } }, /options\.routes\[0\]\.errorPages\.200: must be a status such as '503', or a class/],
    [{ errorPages: { 503: {} } }, /errorPages\.503: needs one of 'file', 'body' and 'render'/],
    [{ errorPages: { 503: [{ body: '' }, { body: '', file: 'x' }] } }, /errorPages\.503\[1\]: needs one of/],
    [{ errorPages: { 503: { file: '/nowhere/at/all.html' } } }, /errorPages\.503\.file: must be a file that can be read \(ENOENT[^]*got '\/nowhere\/at\/all\.html'/],
    [{ errorPages: { 503: { body: '', contentType: 'html' } } }, /errorPages\[503\]\.contentType/],
    [{ interceptErrors: [200] }, /interceptErrors\[0\]/],
    [{ maintenance: { retryAfter: -1 } }, /maintenance\.retryAfter/], [{ maintenance: { except: { client: 'x' } } }, /maintenance\.except\.client\[0\]/],
    [{ maintenance: { page: {} } }, /routes\[0\]\.maintenance\.page: needs one of/]
  ]
  for (const [route, message] of wrong) {
    await t.rejects(async () => { await Fastify().register(balancer, { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web', ...route }] }) }, { message })
  }
  await t.rejects(async () => { await Fastify().register(balancer, { pools: { web: ['http://127.0.0.1:1'] }, maintenance: { page: { file: '/nowhere' } }, routes: [{ prefix: '/', pool: 'web' }] }) }, { message: /options\.maintenance\.page\.file/ })
})
