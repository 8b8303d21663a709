import t from 'tap'
import { app, counting, eventually, proxied } from './helpers.ts'

const host = { host: 'a.example' }
const isHit = (response: { headers: Record<string, unknown> }): boolean => /; hit/.test(String(response.headers['cache-status']))

t.test('scheme, host without regard to case and default port, path and query', async (t) => {
  const { app: instance } = await app(t, {}, (app) => { app.get('/*', (_request, reply) => reply.header('cache-control', 'max-age=60').send('x')) })
  const hit = async (url: string, name: string): Promise<boolean> => isHit(await instance.inject({ url, headers: { host: name } }))
  t.notOk(await hit('/x', 'a.example'))
  t.ok(await hit('/x', 'A.Example'))
  t.ok(await hit('/x', 'a.example:80'))
  t.notOk(await hit('/x', 'a.example:8080'))
  t.notOk(await hit('/x', 'b.example'))
})

t.test('query: sorted, and without what is dropped', async (t) => {
  const { app: instance } = await app(t, { key: { sortQuery: true, dropQuery: true } }, (app) => {
    app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=60').send('x'))
  })
  const hit = async (url: string): Promise<boolean> => isHit(await instance.inject({ url, headers: host }))
  t.notOk(await hit('/?b=1&a=2'))
  t.ok(await hit('/?a=2&b=1'))
  t.ok(await hit('/?a=2&utm_campaign=x&b=1&gclid=y&fbclid=z'))
  t.notOk(await hit('/?a=2&b=1&c=3'))
  t.notOk(await hit('/?a=1&a=2'))
  t.notOk(await hit('/?a=2&a=1'), 'values of one parameter keep their order')
})

t.test('chosen fields and cookies, and the user\'s own part', async (t) => {
  const { app: instance } = await app(t, {
    key: { headers: ['X-Tenant'], cookies: ['plan'], custom: (request) => String(request.headers['user-agent']).includes('Mobile') ? 'mobile' : 'other' }
  }, (app) => { app.get('/', (_request, reply) => reply.header('cache-control', 'max-age=60').send('x')) })
  const hit = async (headers: Record<string, string>): Promise<boolean> => isHit(await instance.inject({ url: '/', headers: { ...host, ...headers } }))
  t.notOk(await hit({ 'x-tenant': 'a', cookie: 'x=1; plan=pro' }))
  t.ok(await hit({ 'x-tenant': 'a', cookie: 'plan=pro; y=2', 'user-agent': 'Some Browser' }))
  t.notOk(await hit({ 'x-tenant': 'b', cookie: 'plan=pro' }))
  t.notOk(await hit({ 'x-tenant': 'a', cookie: 'plan=free' }))
  t.notOk(await hit({ 'x-tenant': 'a', cookie: 'plan=pro', 'user-agent': 'A Mobile Browser' }))
  t.equal(await instance.cache.purge({ urls: ['http://a.example/'] }), 4, 'a purge by URL takes them all')
})

t.test('Vary: each variant, whatever the order of languages and codings', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, counting({ 'cache-control': 'max-age=60', vary: 'Accept-Language, Accept-Encoding' }))
  const get = (language: string, encoding: string) => instance.inject({ url: '/', headers: { ...host, 'accept-language': language, 'accept-encoding': encoding } })
  t.notOk(isHit(await get('de, en;q=0.5', 'gzip, br')))
  t.ok(isHit(await get('EN;q=0.5 , de', 'br,gzip')))
  t.notOk(isHit(await get('en, de;q=0.5', 'gzip, br')))
  t.notOk(isHit(await get('de, en;q=0.5', 'gzip')))
  t.equal(requests.length, 3)
})

t.test('Vary: * is never stored', async (t) => {
  const { app: instance } = await proxied(t, {}, counting({ 'cache-control': 'max-age=60', vary: 'accept, *' }))
  await instance.inject('/')
  t.equal((await instance.inject('/')).body, 'body 2')
})

t.test('No-Vary-Search: parameters that do not matter, by the response\'s own word', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, (request, response) => {
    response.setHeader('cache-control', 'max-age=60')
    if (request.url!.startsWith('/order')) response.setHeader('no-vary-search', 'key-order')
    else if (request.url!.startsWith('/some')) response.setHeader('no-vary-search', 'params=("ref" "campaign id")')
    else if (request.url!.startsWith('/all')) response.setHeader('no-vary-search', 'params, except=("id")')
    else response.setHeader('no-vary-search', 'params=(nonsense')
    response.end(request.url)
  })
  const hit = async (url: string): Promise<boolean> => isHit(await instance.inject({ url, headers: host }))
  for (const [first, same, other] of [
    ['/order?a=1&b=2', '/order?b=2&a=1', '/order?b=2'],
    ['/some?id=1&ref=x', '/some?ref=y&id=1&campaign+id=3', '/some?id=2'],
    ['/all?id=1&x=1', '/all?y=1&id=1', '/all?id=2']
  ] as const) {
    t.notOk(await hit(first))
    t.ok(await hit(first))
    t.ok(await hit(same), same)
    t.notOk(await hit(other), other)
  }
  t.notOk(await hit('/bad?a=1'))
  t.notOk(await hit('/bad?a=2'), 'an invalid field counts for nothing')
  t.equal(requests.length, 8)
  t.equal(await instance.cache.purge({ urls: ['http://a.example/some?id=1&ref=whatever'] }), 1)
})

t.test('No-Vary-Search: of no effect on responses of the path that do not have it, or have another', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, (request, response) => {
    const rule = new URL(request.url!, 'http://a.example').searchParams.get('rule')
    if (rule !== null) response.setHeader('no-vary-search', `params=("${rule}")`)
    response.writeHead(request.url!.includes('missing') ? 404 : 200, { 'cache-control': 'max-age=60' }).end(request.url)
  })
  const get = async (url: string): Promise<string> => {
    const response = await instance.inject({ url, headers: host })
    return `${response.body}${isHit(response) ? ' hit' : ''}`
  }
  await get('/x?id=1&rule=x&x=1')
  t.equal(await get('/x?id=1&rule=x&x=2'), '/x?id=1&rule=x&x=1 hit')
  t.equal(await get('/x?id=1&rule=y&x=3&y=1'), '/x?id=1&rule=y&x=3&y=1')
  t.equal(await get('/x?id=1&rule=y&x=3&y=2'), '/x?id=1&rule=y&x=3&y=1 hit', 'the rule of now')
  t.equal(await get('/x?id=1&rule=x&y=1'), '/x?id=1&rule=x&y=1', 'what was stored under the former one is not for this')

  await get('/y?rule=x&x=1')
  t.equal(await get('/y?missing&x=1'), '/y?missing&x=1')
  t.equal(await get('/y?missing&x=2'), '/y?missing&x=2', 'an error does not say that, and does not take it back')
  t.equal(await get('/y?rule=x&x=3'), '/y?rule=x&x=1 hit')
  await get('/y?id=1')
  t.equal(await get('/y?id=1&x=1'), '/y?id=1&x=1', 'withdrawn')
  t.equal(await get('/y?id=1'), '/y?id=1 hit')
  await get('/y?rule=x&x=4')
  t.equal(await get('/y?id=1&x=2'), '/y?id=1&x=2', 'given again, and not for what was stored without it')
  await get('/y?rule=x&x=5')
  t.equal(await get('/y?id=1'), '/y?id=1 hit')
  const before = requests.length
  t.equal(await instance.cache.purge({ urls: ['http://a.example/y?missing&x=2'] }), 1, 'a purge finds what an error has left beside the rule')
  await get('/y?missing&x=2')
  t.equal(requests.length, before + 1)
})

t.test('No-Vary-Search: who waited for a response that turns out to be without it asks for itself', async (t) => {
  const waiting: { url: string; answer: () => void }[] = []
  let rule = true
  const { app: instance } = await proxied(t, {}, (request, response) => {
    if (rule) response.setHeader('no-vary-search', 'params=("x")')
    response.setHeader('cache-control', 'max-age=60')
    if (rule) response.end(request.url)
    else waiting.push({ url: request.url!, answer: () => { response.end(request.url) } })
  })
  await instance.inject({ url: '/p?id=1&x=0', headers: host })
  rule = false
  const clients = ['/p?id=2&x=1', '/p?id=2&x=2', '/p?id=2&x=1'].map((url) => instance.inject({ url, headers: host }).then(({ body }) => body))
  await eventually(() => waiting.length === 1)
  waiting[0]!.answer()
  await eventually(() => waiting.length === 2)
  waiting[1]!.answer()
  t.same(await Promise.all(clients), ['/p?id=2&x=1', '/p?id=2&x=2', '/p?id=2&x=1'])
  t.equal(waiting.length, 2, 'the same URL has waited for it with success')
})

t.test('QUERY: the body is part of the key (RFC 10008)', async (t) => {
  const seen: string[] = []
  const { app: instance } = await proxied(t, {}, (request, response) => {
    let body = ''
    request.on('data', (chunk) => { body += String(chunk) })
    request.on('end', () => {
      seen.push(`${request.method} ${body}`)
      response.setHeader('cache-control', 'max-age=60').end(`answer to ${body}`)
    })
  })
  const query = (payload: string, type = 'application/x-www-form-urlencoded') =>
    instance.inject({ method: 'QUERY' as never, url: '/x', headers: { ...host, 'content-type': type }, payload })
  t.equal((await query('a=1')).body, 'answer to a=1')
  t.equal((await query('a=2')).body, 'answer to a=2', 'same URL, another query')
  t.ok(isHit(await query('a=1')))
  t.equal((await query('a=1')).body, 'answer to a=1')
  t.notOk(isHit(await query('a=1', 'text/plain')), 'the same bytes of another type are another query')
  t.notOk(isHit(await instance.inject({ url: '/x', headers: host })), 'a GET is something else')
  t.same(seen, ['QUERY a=1', 'QUERY a=2', 'QUERY a=1', 'GET '])
  t.match((await query('x'.repeat(70_000))).headers['cache-status'], /fwd=bypass; detail=body/, 'too long to be a key')
  t.equal(seen.at(-1)!.length, 'QUERY '.length + 70_000, 'and passed on whole')
  await instance.inject({ method: 'DELETE', url: '/x', headers: host })
  t.notOk(isHit(await query('a=1')), 'an unsafe request outdates them all')
})

t.test('POST keyed by its body where a route says so', async (t) => {
  let runs = 0
  const { app: instance } = await app(t, {}, (app) => {
    app.post('/search', { config: { cache: { methods: ['GET', 'POST'] } } }, async (request, reply) => {
      runs++
      return reply.header('cache-control', 'max-age=60').send({ asked: request.body })
    })
    app.post('/plain', async (_request, reply) => reply.header('cache-control', 'max-age=60').send({ runs: ++runs }))
  })
  const post = (url: string, payload: object) => instance.inject({ method: 'POST', url, headers: host, payload })
  t.same((await post('/search', { a: 1 })).json(), { asked: { a: 1 } })
  t.same((await post('/search', { a: 2 })).json(), { asked: { a: 2 } })
  t.ok(isHit(await post('/search', { a: 1 })))
  t.equal(runs, 2)
  await post('/plain', {})
  t.notOk(isHit(await post('/plain', {})))
})

t.test('routes: bypass, private cookies, statuses, minUses, ttl by status', async (t) => {
  const { app: instance } = await app(t, { memory: { maxBytes: 1024 * 1024 }, name: 'headgate' }, (app) => {
    app.get('/bypass', { config: { cache: { ttl: 60_000, bypass: (request) => request.headers['x-preview'] === 'yes' } } }, async () => ({}))
    app.get('/private', { config: { cache: { ttl: 60_000, privateCookies: ['session'] } } }, async () => ({}))
    app.get('/status/:code', { config: { cache: { ttl: { 200: 60_000, '4xx': 60_000, 403: 0 }, statuses: [200, 404, 403] } } }, (request, reply) => {
      reply.code(Number((request.params as { code: string }).code)).send({})
    })
    app.get('/thrice', { config: { cache: { ttl: 60_000, minUses: 3 } } }, async () => ({}))
    app.get('/override', { config: { cache: { ttl: 60_000, ttlOverrides: true } } }, (request, reply) => {
      reply.header('cache-control', (request.query as { say: string }).say).send({})
    })
  })
  const status = async (url: string, headers: Record<string, string> = {}): Promise<string> =>
    String((await instance.inject({ url, headers: { ...host, ...headers } })).headers['cache-status'])
  await status('/bypass')
  t.match(await status('/bypass'), /hit/)
  t.match(await status('/bypass', { 'x-preview': 'yes' }), /fwd=bypass; detail=bypass/)
  await status('/private')
  t.match(await status('/private', { cookie: 'theme=dark' }), /hit/)
  t.match(await status('/private', { cookie: 'session=abc' }), /fwd=bypass; detail=cookie/)
  for (const [code, kept] of [[200, true], [404, true], [403, false], [410, false], [500, false]] as const) {
    await status(`/status/${code}`)
    t.equal(/; hit/.test(await status(`/status/${code}`)), kept, String(code))
  }
  t.match(await status('/thrice'), /detail=min-uses/)
  t.match(await status('/thrice'), /detail=min-uses/)
  t.match(await status('/thrice'), /stored/)
  t.match(await status('/thrice'), /hit/)
  for (const [say, kept] of [['max-age=0', true], ['no-store', false], ['private', false], ['no-cache', false]] as const) {
    const url = `/override?say=${say}`
    await status(url)
    t.equal(/; hit/.test(await status(url)), kept, say)
  }
})

t.test('options are checked, with the path of what is wrong', async (t) => {
  for (const [options, message] of [
    [{ ttl: -1 }, /options\.ttl/], [{ name: 'not a token' }, /options\.name/], [{ nonsense: 1 }, /options\.nonsense: unknown option/],
    [{ key: { sort: true } }, /options\.key\.sort: unknown option; known are sortQuery/], [{ setCookie: 'yes' }, /options\.setCookie: must be one of 'explicit'/],
    [{ store: {} }, /options\.store\.get: must be a function/], [{ collapse: 0 }, /options\.collapse/], [{ ttl: { 99: 1 } }, /options\.ttl/]
  ] as const) await t.rejects(app(t, options as never, () => {}), { code: 'HG_CACHE_OPTION', message }, JSON.stringify(options))
  const wrong = app(t, {}, (app) => { app.get('/x', { config: { cache: { minUses: 0 } } }, async () => '') })
  await t.rejects(wrong, { code: 'HG_CACHE_OPTION', message: /config\.cache of \/x\.minUses/ })
})
