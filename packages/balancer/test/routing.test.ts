import type { IncomingMessage } from 'node:http'
import { array, assert, constantFrom, double, property, string, uniqueArray } from 'fast-check'
import Fastify from 'fastify'
import t from 'tap'
import { request } from 'undici'
import balancer, { type BalancerOptions, type ForwardOptions, type Rule } from '../src/index.ts'
import { Split } from '../src/routing/split.ts'
import { proxy, raw, upstream } from './helpers.ts'

type Test = Parameters<typeof upstream>[0]

/** Upstreams that say who they are and what they got. */
async function echo (t: Test, name: string, answer: Record<string, string> = {}): Promise<{ url: string; got: IncomingMessage[] }> {
  const got: IncomingMessage[] = []
  const { url } = await upstream(t, (message, response) => {
    got.push(message)
    response.writeHead(200, { 'x-name': name, ...answer }).end(name)
  })
  return { url, got }
}

t.test('the first rule that matches is taken', async (t) => {
  const names = ['exact', 'prefix', 'pattern', 'method', 'host', 'below', 'header', 'absent', 'found', 'cookie', 'query', 'network', 'type', 'asked', 'rest'] as const
  const { url: to } = await upstream(t, (message, response) => { response.end(message.headers['x-rule']) })
  const mark = (name: string): ForwardOptions => ({ headers: { request: { set: { 'x-rule': name } } } })
  const matches: Record<(typeof names)[number], Rule['match']> = {
    exact: { path: '/exact' }, prefix: { path: '/pre fix/*' }, pattern: { path: ['/users/:id/photos', '/files/:name(^\\d+$).png'] }, method: { method: ['PUT', 'PATCH'] },
    host: { host: 'api.example' }, below: { host: ['*.example.org', 'x.test'] }, header: { header: { 'X-Release': 'next', 'x-other': { pattern: '^a', flags: 'i' } } },
    absent: { path: '/absent', header: { accept: false } }, found: { header: { 'x-any': true } }, cookie: { cookie: { beta: /^(yes|true)$/g } },
    query: { query: { v: '2' } }, network: { path: '/net', client: ['127.0.0.0/8', '::1'] }, type: { contentType: ['application/json', 'image/*'] },
    asked: { path: '/asked', when: ({ headers }) => headers['x-ask'] === '1' }, rest: undefined as never
  }
  const { port } = await proxy(t, {
    pools: { web: [to] },
    routes: [{ prefix: '/', rules: names.map((name) => ({ ...matches[name] !== undefined && { match: matches[name] }, pool: 'web', ...mark(name) })) }]
  })
  const cases: [taken: (typeof names)[number], path: string, fields?: Record<string, string>, method?: string][] = [
    ['exact', '/exact'], ['exact', '/exact?x=1'], ['exact', '/%65xact'], ['rest', '/exact/'], ['rest', '/Exact'],
    ['prefix', '/pre%20fix'], ['prefix', '/pre%20fix/a'], ['rest', '/pre%20fixed'], ['rest', '/pre'],
    ['pattern', '/users/7/photos'], ['pattern', '/users/a%2fb/photos'], ['rest', '/users/7'], ['pattern', '/files/12.png'], ['rest', '/files/x.png'],
    ['method', '/', {}, 'PUT'], ['rest', '/', {}, 'POST'],
    ['host', '/', { host: 'API.example:99' }], ['rest', '/', { host: 'b.api.example' }], ['below', '/', { host: 'a.b.example.org' }], ['rest', '/', { host: 'example.org' }],
    ['rest', '/', { host: 'evilexample.org' }], ['below', '/', { host: 'x.test.' }],
    ['header', '/', { 'x-release': 'next', 'x-other': 'Abc' }], ['rest', '/', { 'x-release': 'next' }], ['rest', '/', { 'x-release': 'nextt', 'x-other': 'a' }],
    ['absent', '/absent'], ['rest', '/absent', { accept: '*/*' }], ['found', '/', { 'x-any': '' }],
    ['cookie', '/', { cookie: 'a=b; beta=yes' }], ['cookie', '/', { cookie: 'beta=true' }], ['rest', '/', { cookie: 'beta=no' }],
    ['query', '/?v=2'], ['query', '/?a&v=%32'], ['rest', '/?v=1&v=2'], ['network', '/net'],
    ['type', '/', { 'content-type': 'Application/JSON; charset=utf-8' }, 'POST'], ['type', '/', { 'content-type': 'image/png' }, 'POST'], ['rest', '/', { 'content-type': 'imagex/png' }, 'POST'],
    ['asked', '/asked', { 'x-ask': '1' }], ['rest', '/asked']
  ]
  for (const [taken, path, fields = {}, method = 'GET'] of cases) {
    const text = await raw(port, `${method} ${path} HTTP/1.1\r\nHost: ${fields['host'] ?? 'a'}\r\nConnection: close\r\n${Object.entries(fields).filter(([name]) => name !== 'host').map(([name, value]) => `${name}: ${value}\r\n`).join('')}${method === 'GET' ? '' : 'Content-Length: 0\r\n'}\r\n`)
    t.equal(text.split('\r\n\r\n')[1], taken, `${method} ${path} ${JSON.stringify(fields)}`)
  }
})

t.test('answers of the proxy itself', async (t) => {
  const web = await echo(t, 'web')
  const { port, app } = await proxy(t, {
    pools: { web: [web.url] },
    routes: [{
      prefix: '/',
      rules: [
        { match: { path: '/health' }, respond: { body: '{"ok":true}', contentType: 'application/json', headers: { 'x-id': '{method} {header.x-a}' } } },
        { match: { path: '/gone' }, respond: { status: 410 } },
        { match: { path: '/none' }, respond: { status: 204 } },
        { match: { path: '/old/*' }, redirect: { to: '/new/{param.*}?{query}' } },
        { match: { path: '/u/:id' }, redirect: { to: 'https://{hostname}/users?id={param.id}', status: 302 } },
        { match: { path: '/to/:where' }, redirect: { to: '{path}/', status: 301 } },
        { match: { host: 'plain.example' }, redirect: { to: 'https://{hostname}{url}' } },
        { match: { path: '/web/*' }, pool: 'web' }
      ]
    }]
  })
  const ask = async (target: string, fields = ''): Promise<{ status: number; location: string; text: string }> => {
    const text = await raw(port, `GET ${target} HTTP/1.1\r\nHost: ${fields.includes('Host:') ? '' : 'a.example'}`.replace(/Host: $/, '') + `${fields.includes('Host:') ? fields : `\r\n${fields}`}Connection: close\r\n\r\n`)
    return { status: Number(text.slice(9, 12)), location: /^location: (.*)$/im.exec(text)?.[1]?.trim() ?? '', text }
  }
  t.match((await ask('/health', 'X-A: b\r\n')).text, /^HTTP\/1\.1 200[^]*x-id: GET b\r\n[^]*content-type: application\/json\r\n[^]*\r\n\r\n\{"ok":true\}$/i)
  t.match((await ask('/gone')).text, /^HTTP\/1\.1 410 Gone\r\n/)
  t.match((await ask('/none')).text, /^HTTP\/1\.1 204 No Content\r\n/)
  t.match(await ask('/old/a/b%20c?d=e'), { status: 308, location: '/new/a/b%20c?d=e' })
  t.match(await ask('/old//evil.example'), { location: '/new//evil.example?' })
  t.match(await ask('/u/a%26b%3Fc'), { status: 302, location: 'https://a.example/users?id=a%26b%3Fc' })
  t.match(await ask('/u/x%0d%0aSet-Cookie:%20a'), { location: 'https://a.example/users?id=x%0D%0ASet-Cookie%3A%20a' }, 'nobody writes a field of their own')
  t.match(await ask('/to/x'), { status: 301, location: '/to/x/' })
  t.match(await ask('/y?z', 'Host: plain.example\r\n'), { location: 'https://plain.example/y?z' })
  t.match(await ask('/web/..;/x', ''), { status: 400 }, 'what may not be forwarded is not redirected either')
  t.match((await ask('/nothing')).text, /^HTTP\/1\.1 404[^]*HG_BALANCER_NO_RULE/)
  t.match(app.balancer.explain({ method: 'GET', url: '/gone' }), { route: '/', pools: [] })
  t.equal(web.got.length, 0)
})

t.test('a redirect to the path leads to this host, whatever the path looks like', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.end() })
  const { port } = await proxy(t, { pools: { web: [url] }, routes: [{ prefix: '/', rules: [{ redirect: { to: '{path}/' } }] }] })
  for (const path of ['//evil.example', '///evil.example', '/\\evil.example', '/\\/evil.example']) {
    t.match(await raw(port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`), /^location: \/evil\.example\/\r$/im, path)
  }
})

t.test('paths, hosts and fields on their way', async (t) => {
  const web = await echo(t, 'web', { server: 'secret/1', 'x-debug-a': '1', 'x-debug-b': '2', 'cache-control': 'no-store' })
  const { url, app } = await proxy(t, {
    pools: { web: [web.url] },
    routes: [
      { prefix: '/strip', pool: 'web', rewritePrefix: '/' },
      { prefix: '/add', pool: 'web', rewritePrefix: '/base/add', preserveHost: true },
      { prefix: '/pattern', pool: 'web', rewritePath: { pattern: '^/pattern/(\\d+)/(.*)$', to: '/$2/id-$1' }, host: 'inner.example:81' },
      { prefix: '/dots', pool: 'web', rewritePath: { pattern: /^\/dots\/(.)(.)\//, to: '/$1$2/' } },
      {
        prefix: '/rules',
        headers: { request: { set: { 'x-from': 'route' } } },
        rules: [
          { match: { path: '/rules/v1/*' }, pool: 'web', rewritePrefix: '/' },
          { match: { path: '/rules/:id/x' }, pool: 'web', headers: { request: { set: { 'x-id': '{param.id}' } } } },
          { pool: 'web', rewritePrefix: '/r' }
        ]
      },
      {
        prefix: '/fields',
        pool: 'web',
        headers: {
          request: { remove: ['x-internal-*', 'cookie'], set: { 'x-client': '{client.ip} {scheme}://{host}{url} {{x', 'X-Old': 'new' }, append: { 'x-old': '{header.x-old}' } },
          response: { remove: ['server', 'x-debug-*'], set: { 'cache-control': 'max-age=60' }, append: { 'x-by': '{upstream}' } }
        }
      }
    ]
  })
  const get = async (path: string, headers: Record<string, string> = {}): Promise<{ sent: IncomingMessage; fields: object; status: number }> => {
    const before = web.got.length
    const { headers: fields, statusCode, body } = await request(url + path, { headers })
    await body.dump()
    return { sent: web.got[before]!, fields, status: statusCode }
  }
  const target = async (path: string): Promise<string | undefined> => (await get(path)).sent.url
  t.equal(await target('/strip/a?b=/strip'), '/a?b=/strip')
  t.equal(await target('/add/a'), '/base/add/a')
  t.equal((await get('/add/a')).sent.headers.host, new URL(url).host)
  const patterned = await get('/pattern/12/x/y?z=/pattern/1/')
  t.match(patterned.sent, { url: '/x/y/id-12?z=/pattern/1/', headers: { host: 'inner.example:81' } })
  t.equal(await target('/pattern/other'), '/pattern/other', 'what the pattern does not find stays')
  t.equal((await get('/dots/ab/c')).sent.url, '/ab/c')
  t.equal((await get('/dots/.x/c')).status, 200)
  t.equal((await get('/dots/a//c')).status, 200)
  t.equal((await get('/dots/...x')).status, 200)
  t.equal((await get('/dots//a/c')).status, 400, 'two slashes in front would name a host')
  t.equal((await get('/rules/v1/a')).sent.url, '/a', "the rule's own prefix is replaced")
  t.equal((await get('/rules/b')).sent.url, '/r/b')
  t.match((await get('/rules/b')).sent.headers, { 'x-from': 'route' })
  t.match((await get('/rules/a%20%C3%BC/x')).sent.headers, { 'x-id': /^a \u00fc$/, 'x-from': undefined }, "a rule's options replace the route's")
  const { sent, fields } = await get('/fields/a?b', { 'x-internal-user': 'root', 'X-Internal-': '1', cookie: 'a=b', 'x-old': 'was' })
  t.same(Object.keys(sent.headers).filter((name) => name.startsWith('x-internal') || name === 'cookie'), [])
  t.match(sent.headers, { 'x-client': `127.0.0.1 http://${new URL(url).host}/fields/a?b {x`, 'x-old': 'new, was' })
  t.match(fields, { server: undefined, 'x-debug-a': undefined, 'x-debug-b': undefined, 'cache-control': 'max-age=60', 'x-by': web.url, 'x-name': 'web' })
  t.match(app.balancer.explain({ method: 'GET', url: '/pattern/5/q' }), { target: '/q/id-5' })
})

t.test('what a pattern makes of a path is checked again', async (t) => {
  const web = await echo(t, 'web')
  const { port } = await proxy(t, { pools: { web: [web.url] }, routes: [{ prefix: '/', pool: 'web', rewritePath: { pattern: '^/a/(.*)-(.*)$', to: '/$1$2' } }] })
  for (const path of ['/a/.-./x', '/a/.-', '/a//-x', '/a/%2e-%2E/x', '/a/-\\x']) {
    t.match(await raw(port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`), /^HTTP\/1\.1 400 /, path)
  }
  t.equal(web.got.length, 0)
})

t.test('a split keeps clients where they are, and its weights change at run time', async (t) => {
  const [a, b] = await Promise.all([echo(t, 'a'), echo(t, 'b')])
  const { url, app } = await proxy(t, {
    pools: { a: [a.url], b: [b.url] },
    routes: [
      { prefix: '/', rules: [{ name: 'release', pool: { a: 1, b: 1 }, splitOn: 'header:x-user' }] },
      { prefix: '/ip', rules: [{ pool: { a: 1, b: 1 } }] },
      { prefix: '/any', rules: [{ pool: { a: 1, b: 1 }, splitOn: 'random' }] }
    ],
    random: (() => { let turn = 0; return () => turn++ % 2 === 0 ? 0.1 : 0.9 })()
  })
  const go = async (user: number, path = '/'): Promise<string> => (await request(url + path, { headers: { 'x-user': `u${user}` } })).body.text()
  const users = Array.from({ length: 40 }, (_, i) => i)
  const where = await Promise.all(users.map((user) => go(user)))
  t.same(await Promise.all(users.map((user) => go(user))), where)
  t.ok(where.includes('a') && where.includes('b'))
  t.equal(new Set(await Promise.all(users.map((user) => go(user, '/ip')))).size, 1, 'one client, one pool')
  t.same(new Set([await go(1, '/any'), await go(1, '/any')]), new Set(['a', 'b']))
  const split = app.balancer.split('release')
  split.setWeights({ b: 3 })
  t.same(split.weights, { a: 1, b: 3 })
  for (const [user, before] of where.entries()) if (before === 'b') t.equal(await go(user), 'b', 'who was in the part that grew stays there')
  split.setWeights({ a: 0 })
  t.same(new Set(await Promise.all(users.map((user) => go(user)))), new Set(['b']))
  for (const wrong of [{ b: 0 }, { b: -1 }, { c: 1 }, { b: Number.NaN }, { b: '1' as never }]) t.throws(() => { split.setWeights(wrong) }, { code: 'HG_BALANCER_INVALID_SPLIT' })
  t.same(split.weights, { a: 0, b: 3 }, 'a wrong change changes nothing')
  t.throws(() => app.balancer.split('/'), { code: 'HG_BALANCER_UNKNOWN_SPLIT', message: /splits are: release, \/ip#0, \/any#0/ })
})

t.test('splits follow their weights, and move nobody who need not move', async () => {
  const keys = Array.from({ length: 4000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)
  const someNames = uniqueArray(string({ minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 5 })
  const someWeights = array(constantFrom<number>(1, 2, 5, 10), { minLength: 5, maxLength: 5 })
  assert(property(someNames, someWeights, double({ min: 1.5, max: 20, noNaN: true }), (names, weights, factor) => {
    const split = new Split('s', names.map((name, i) => [name, weights[i]!, name]), () => '', Math.random)
    const before = keys.map((key) => split.choiceFor(key))
    const total = weights.slice(0, names.length).reduce((sum, weight) => sum + weight)
    for (const [i, name] of names.entries()) {
      const share = before.filter((one) => one === name).length / keys.length
      // Five standard deviations of a binomial share, so that no seed is unlucky.
      const expected = weights[i]! / total
      if (Math.abs(share - expected) > 5 * Math.sqrt(expected * (1 - expected) / keys.length)) return false
    }
    split.setWeights({ [names[0]!]: weights[0]! * factor })
    return keys.every((key, i) => {
      const now = split.choiceFor(key)
      return now === before[i] || now === names[0]
    })
  }), { numRuns: 20, seed: 5 })
})

t.test('a chain of pools: the next when nobody is ready, the queue is full, or the wait was in vain', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => { release = resolve })
  let arrived = 0
  const { url: slow } = await upstream(t, (_, response) => { arrived++; void held.then(() => { response.end('slow') }) })
  const spare = await echo(t, 'spare')
  const { url, app } = await proxy(t, {
    pools: {
      full: { upstreams: [slow], maxInFlight: 1, queue: { limit: 1, timeout: 600_000 } },
      late: { upstreams: [slow], maxInFlight: 1, queue: { timeout: 1 } },
      spare: [spare.url]
    },
    routes: [{ prefix: '/full', rules: [{ pool: 'full', fallback: ['spare'] }] }, { prefix: '/late', rules: [{ pool: 'late', fallback: ['spare'] }] }]
  })
  const full = app.balancer.pool('full')
  const get = async (path: string): Promise<string> => (await request(url + path)).body.text()
  const first = get('/full')
  while (arrived < 1) await new Promise((resolve) => { setTimeout(resolve, 2) })
  const waiting = get('/full')
  while (full.queued < 1) await new Promise((resolve) => { setTimeout(resolve, 2) })
  t.equal(await get('/full'), 'spare', 'the queue is full')
  const busy = get('/late')
  while (arrived < 2) await new Promise((resolve) => { setTimeout(resolve, 2) })
  t.equal(await get('/late'), 'spare', 'the wait was too long')
  release()
  t.same(await Promise.all([first, waiting, busy]), ['slow', 'slow', 'slow'], 'who waits is served by the first')
  full.upstreams[0]!.health.force('maintenance', 'test')
  t.equal(await get('/full'), 'spare', 'nobody is ready')
})

const rule = (given: object, route: object = {}): unknown => ({ pools: { web: ['http://127.0.0.1:1'], api: ['http://127.0.0.1:2'] }, routes: [{ prefix: '/', rules: [given], ...route }] })
const wrong: [name: string, options: unknown, message: RegExp][] = [
  ['path without a slash', rule({ match: { path: 'x' }, pool: 'web' }), /rules\[0\]\.match\.path: .*got 'x'/],
  ['encoded path', rule({ match: { path: '/%61' }, pool: 'web' }), /rules\[0\]\.match\.path: must be a path .*not encoded/],
  ['dots in a path', rule({ match: { path: ['/a', '/a/../b'] }, pool: 'web' }), /rules\[0\]\.match\.path\[1\]: must be a path/],
  ['pattern that the router refuses', rule({ match: { path: '/a/:b(' }, pool: 'web' }), /rules\[0\]\.match\.path: must be a pattern of Fastify's router \(.*\); got '\/a\/:b\('/],
  ['host with a port', rule({ match: { host: 'a:80' }, pool: 'web' }), /rules\[0\]\.match\.host\[0\]: must be a name .*got 'a:80'/],
  ['star inside a host', rule({ match: { host: ['a', 'a.*.b'] }, pool: 'web' }), /match\.host\[1\]/],
  ['network too long', rule({ match: { client: '10.0.0.0/33' }, pool: 'web' }), /match\.client\[0\]: must be an IP address or a network .*got '10\.0\.0\.0\/33'/],
  ['content type', rule({ match: { contentType: 'json' }, pool: 'web' }), /match\.contentType: .*got 'json'/],
  ['broken expression', rule({ match: { header: { 'x-a': { pattern: '(' } } }, pool: 'web' }), /match\.header\.x-a: Invalid regular expression.*got '\/\(\/'/],
  ['unknown key of a pattern', rule({ match: { cookie: { a: { regex: '(' } } }, pool: 'web' }), /match\.cookie\.a: must be \{ pattern, flags \}/],
  ['two targets', rule({ pool: 'web', respond: {} }), /rules\[0\]: needs one of 'pool', 'respond' and 'redirect'/],
  ['no target', rule({}), /rules\[0\]: needs one of/],
  ['fallback of an answer', rule({ respond: {}, fallback: ['web'] }), /rules\[0\]\.fallback: has no place without 'pool'/],
  ['body with status 204', rule({ respond: { status: 204, body: 'x' } }), /rules\[0\]\.respond\.body: must not be there with status 204/],
  ['status', rule({ respond: { status: 99 } }), /rules\[0\]\.respond\.status: must be >= 200; got 99/],
  ['redirect to nowhere', rule({ redirect: { to: 'x' } }), /rules\[0\]\.redirect\.to/],
  ['redirect to what a client says', rule({ redirect: { to: '{header.x-to}' } }), /rules\[0\]\.redirect\.to: must begin with/],
  ['redirect status', rule({ redirect: { to: '/', status: 200 } }), /redirect\.status: must be one of 301, 302, 303, 307, 308; got 200/],
  ['splitOn without shares', rule({ pool: 'web', splitOn: 'path' }), /rules\[0\]\.splitOn: has no place without shares/],
  ['unknown splitOn', rule({ pool: { web: 1 }, splitOn: 'colour' }), /rules\[0\]\.splitOn: .*got 'colour'/],
  ['same name twice', { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', rules: [{ name: 'x', pool: { web: 1 } }, { name: 'x', pool: { web: 1 } }] }] }, /rules\[1\]\.name: is already there; .*got 'x'/],
  ['variable that is none', rule({ pool: 'web', headers: { request: { set: { 'x-a': '{clientip}' } } } }), /headers\.request\.set\.x-a: may name \{client\.ip\}, .*got '\{clientip\}'/],
  ['parameter that the path has not', rule({ match: { path: '/:a' }, pool: 'web', headers: { request: { set: { 'x-a': '{param.b}' } } } }), /got '\{param\.b\}'/],
  ['field that frames', rule({ pool: 'web', headers: { request: { set: { 'Content-Length': '1' } } } }), /set\.Content-Length: must not be a field that frames/],
  ['Host as a field', rule({ pool: 'web', headers: { request: { set: { Host: 'a' } } } }), /set\.Host: must not be Host: use the route's 'host'/],
  ['field that is no name', rule({ pool: 'web', headers: { response: { append: { 'a b': 'c' } } } }), /headers\.response\.append\.a b: must be the name/],
  ['field with a line break', rule({ pool: 'web', headers: { response: { set: { a: 'b\r\nc: d' } } } }), /headers\.response\.set\.a: must hold no control characters/],
  ['host and preserveHost', rule({ pool: 'web', host: 'a', preserveHost: true }), /rules\[0\]\.host: must not be given beside 'preserveHost'/],
  ['host that is none', rule({ pool: 'web', host: 'a/b' }), /rules\[0\]\.host: .*got 'a\/b'/],
  ['network of a limit', { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web', limits: { deny: ['x'] } }] }, /routes\[0\]\.limits\.deny\[0\]: must be an IP/],
  ['limit of nothing', { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web', limits: { maxPerClient: 0 } }] }, /routes\[0\]\.limits\.maxPerClient: must be >= 1/],
  ['rewriting the query', rule({ pool: 'web', rewritePath: { pattern: 'a', to: '/b?c' } }), /rules\[0\]\.rewritePath\.to: must be a path alone/],
  ['broken pattern of a path', rule({ pool: 'web', rewritePath: { pattern: '(', to: '/' } }), /rules\[0\]\.rewritePath\.pattern: Invalid regular expression/]
]
t.test('mistakes in rules are named', async (t) => {
  for (const [name, options, message] of wrong) {
    const app = Fastify()
    await t.rejects(async () => { await app.register(balancer, options as BalancerOptions) }, { message }, name)
    await app.close()
  }
})

t.test('limits of a route', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => { release = resolve })
  let arrived = 0
  const { url: to } = await upstream(t, (message, response) => {
    arrived++
    if (message.url === '/busy/slow') void held.then(() => { response.end('slow') })
    else response.end('ok')
  })
  const limited = (prefix: string, limits: object): NonNullable<BalancerOptions['routes']>[number] => ({ prefix, pool: 'web', limits })
  const { url } = await proxy(t, {
    pools: { web: [to] },
    routes: [
      limited('/url', { maxUrlLength: 20 }), limited('/head', { maxHeaderSize: 200 }), limited('/busy', { maxPerClient: 1 }),
      limited('/allowed', { allow: ['127.0.0.0/8'] }), limited('/others', { allow: ['10.0.0.0/8'] }), limited('/denied', { allow: ['127.0.0.1'], deny: ['127.0.0.0/8'] })
    ]
  })
  const get = async (path: string, headers: Record<string, string> = {}): Promise<[number, string]> => {
    const { statusCode, body } = await request(url + path, { headers })
    const text = await body.text()
    return [statusCode, text.startsWith('{') ? (JSON.parse(text) as { code: string }).code : text]
  }
  t.same(await get('/url/'.padEnd(20, 'x')), [200, 'ok'])
  t.same(await get('/url/'.padEnd(21, 'x')), [414, 'HG_BALANCER_URL_TOO_LONG'])
  t.same(await get('/head', { 'x-a': 'x'.repeat(50) }), [200, 'ok'])
  t.same(await get('/head', { 'x-a': 'x'.repeat(200) }), [431, 'HG_BALANCER_HEAD_TOO_LARGE'])
  t.same(await get('/allowed'), [200, 'ok'])
  t.same(await get('/others'), [403, 'HG_BALANCER_FORBIDDEN'])
  t.same(await get('/denied'), [403, 'HG_BALANCER_FORBIDDEN'])
  const before = arrived
  const slow = get('/busy/slow')
  while (arrived === before) await new Promise((resolve) => { setTimeout(resolve, 2) })
  t.same(await get('/busy'), [429, 'HG_BALANCER_TOO_MANY'])
  t.equal(arrived, before + 1, 'what is refused reaches nobody')
  release()
  t.same(await slow, [200, 'slow'])
  t.same(await get('/busy'), [200, 'ok'])
})
