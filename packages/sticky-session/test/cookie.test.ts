import { Agent, get } from 'node:http'
import cookie from '@fastify/cookie'
import fc from 'fast-check'
import t from 'tap'
import type { StickyOptions } from '../src/index.ts'
import { cookiesOf, FakeClock, keys, members, origins, proxy, results, site } from './helpers.ts'

t.test('the first answer sets a signed cookie, later requests with it go to the same upstream and set none', async (t) => {
  const list = await origins(t, 'abc')
  const { url, app } = await site(t, list)
  const seen = results(t, () => app)
  const first = await fetch(url)
  const home = await first.text()
  const [cookie] = cookiesOf(first)
  const field = first.headers.getSetCookie()[0]!
  t.match(field, /^headgate-web=[\w-]{12}\.[\da-z]+\.[\da-z]+\.[A-Za-z\d+/]{43}; Path=\/; HttpOnly; SameSite=Lax$/)
  t.notMatch(field, /127|%/, 'no address in it, and nothing that needs decoding')
  for (let i = 0; i < 10; i++) {
    const response = await fetch(url, { headers: { cookie: `x=1; ${cookie}; y="2"` } })
    t.equal(await response.text(), home)
    t.same(response.headers.getSetCookie(), [])
  }
  t.same(seen, ['new', ...Array.from({ length: 10 }, () => 'hit')])
  const received = list.find(({ name }) => name === home)!.seen.slice(1).map(({ cookie }) => cookie)
  t.same(new Set(received), new Set(['x=1; y="2"']), 'the upstream sees the others as they were written')
})

t.test('each field that one connection brings is read anew where it differs from the one before', async (t) => {
  const list = await origins(t, 'ab')
  const { port, app } = await site(t, list)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  const sockets = new Set<unknown>()
  const ask = (cookie?: string): Promise<[string, string | undefined]> => new Promise((resolve, reject) => {
    const request = get({ port, agent, headers: cookie === undefined ? {} : { cookie } }, (response) => {
      let text = ''
      response.on('data', (data) => { text += String(data) })
      response.on('end', () => { resolve([text, response.headers['set-cookie']?.[0]?.split(';', 1)[0]]) })
    })
    request.on('socket', (socket) => { sockets.add(socket) }).on('error', reject)
  })
  const [a, ofA] = await ask()
  const [b, ofB] = await ask()
  t.not(a, b)
  const seen = results(t, () => app)
  const long = `long=${'x'.repeat(2000)}`
  const fields = [ofA!, ofB!, ofB!, `x=1; ${ofA!}`, `x=2; ${ofA!}`, `x=2; ${ofA!}`, `${long}; ${ofB!}`, `${long}; ${ofB!}`, `${ofA!}; ${ofB!}`, `${ofA!}; ${ofB!}`]
  const answers: string[] = []
  for (const field of fields) answers.push((await ask(field))[0])
  t.same(answers.slice(0, 8), [a, b, b, a, a, a, b, b])
  t.same(seen, [...Array.from({ length: 8 }, () => 'hit'), 'duplicated', 'new', 'duplicated', 'new'], 'what is not sound is told of each time')
  const received = (name: string): unknown[] => list.find((origin) => origin.name === name)!.seen.slice(1).map(({ cookie }) => cookie)
  t.same(received(a).slice(0, 4), [undefined, 'x=1', 'x=2', 'x=2'])
  t.same(received(b).slice(0, 4), [undefined, undefined, long, long])
  t.equal(sockets.size, 1)
})

t.test('idle and absolute times: sliding renewal, then the end', async (t) => {
  const clock = new FakeClock()
  const { url, app } = await site(t, await origins(t, 'ab'), { keys, clock, idleTimeout: 100_000, lifetime: 500_000 })
  const seen = results(t, () => app)
  const first = await fetch(url)
  const home = await first.text()
  t.match(first.headers.getSetCookie()[0], /; Max-Age=100;/)
  let [cookie] = cookiesOf(first)
  const ask = async (after: number): Promise<[string, string | undefined]> => {
    clock.advance(after)
    const response = await fetch(url, { headers: { cookie: cookie! } })
    cookie = cookiesOf(response)[0] ?? cookie
    return [await response.text(), response.headers.getSetCookie()[0]]
  }
  t.same(await ask(5000), [home, undefined], 'not before a tenth of the idle time has passed')
  t.match(await ask(6000), [home, /; Max-Age=100;/])
  for (let i = 0; i < 4; i++) t.match(await ask(90_000), [home, /Max-Age=/])
  t.match(await ask(90_000), [home, /; Max-Age=39;/], 'never beyond the absolute lifetime')
  seen.length = 0
  await ask(50_000)
  t.same(seen, ['expired', 'new'])
  seen.length = 0
  await ask(101_000)
  t.same(seen, ['expired', 'new'])
})

t.test('a cookie that came before is good for itself alone, no longer than it lasts, and no longer than its upstream is there', async (t) => {
  const clock = new FakeClock()
  const { url, app } = await site(t, await origins(t, 'ab'), { keys, clock, idleTimeout: 100_000 })
  const seen = results(t, () => app)
  const ask = async (cookie: string): Promise<string> => await (await fetch(url, { headers: { cookie } })).text()
  const first = await fetch(url)
  const home = await first.text()
  const [cookie] = cookiesOf(first)
  t.equal(await ask(cookie!), home)
  t.equal(await ask(cookie!), home)
  await ask(cookie!.replace(/.$/, (last) => last === 'A' ? 'B' : 'A'))
  await ask(cookie!.replace(/\.[\da-z]+\./, '.zzzzzz.'))
  t.equal(await ask(cookie!), home)
  t.same(seen, ['new', 'hit', 'hit', 'forged', 'new', 'forged', 'new', 'hit'])
  seen.length = 0
  clock.advance(101_000)
  await ask(cookie!)
  t.same(seen, ['expired', 'new'])
  const again = await fetch(url)
  const name = await again.text()
  const [newer] = cookiesOf(again)
  t.equal(await ask(newer!), name)
  seen.length = 0
  await app.balancer.pool('web').remove(name)
  t.not(await ask(newer!), name)
  t.same(seen, ['unknown', 'new'])
})

t.test('a cookie signed with an older secret is accepted and signed anew; with a forgotten one it is not', async (t) => {
  const [old, current] = [keys[0]!, 'another secret of more than thirty-two bytes']
  const list = await origins(t, 'abc')
  const before = await site(t, list, { keys: [old] })
  const first = await fetch(before.url)
  const home = await first.text()
  const [cookie] = cookiesOf(first)
  const rotated = await site(t, list, { keys: [current, old] })
  const response = await fetch(rotated.url, { headers: { cookie: cookie! } })
  t.equal(await response.text(), home, 'known by another process too')
  const [renewed] = cookiesOf(response)
  t.not(renewed, cookie)
  const after = await site(t, list, { keys: [current] })
  const seen = results(t, () => after.app)
  const last = await fetch(after.url, { headers: { cookie: renewed! } })
  t.equal(await last.text(), home)
  t.same(cookiesOf(last), [])
  await fetch(after.url, { headers: { cookie: cookie! } })
  t.same(seen, ['hit', 'forged', 'new'])
})

t.test('what is forged, truncated, doubled or too long is ignored, replaced and counted', async (t) => {
  const list = await origins(t, 'ab')
  const { url, app } = await site(t, list)
  const seen = results(t, () => app)
  const [good] = cookiesOf(await fetch(url))
  const [name, value] = good!.split(/=(.*)/s) as [string, string]
  const parts = value.split('.')
  const elsewhere = await site(t, list, { keys: ['the secret of somebody else entirely, long enough'] })
  const [foreign] = cookiesOf(await fetch(elsewhere.url))
  const otherPool = await site(t, list, { keys }, {}, {
    balancer: { pools: { other: members(list) }, routes: [{ prefix: '/', pool: 'other' }] }
  })
  const [ofOther] = cookiesOf(await fetch(otherPool.url))
  const cases: [string, string, string][] = [
    ['signature changed', `${name}=${value.slice(0, -1)}${value.endsWith('A') ? 'B' : 'A'}`, 'forged'],
    ['upstream changed', `${name}=AAAAAAAAAAAA.${parts.slice(1).join('.')}`, 'forged'],
    ['times changed', `${name}=${parts[0]}.1.${parts[2]}.${parts[3]}`, 'forged'],
    ['another secret', foreign!, 'forged'],
    ['of another pool', `${name}=${ofOther!.split(/=(.*)/s)[1]!}`, 'forged'],
    ['truncated', good!.slice(0, -7), 'malformed'],
    ['empty', `${name}=`, 'malformed'],
    ['an address', `${name}=http://127.0.0.1:1`, 'malformed'],
    ['a path', `${name}=../../etc/passwd`, 'malformed'],
    ['prototype', `${name}=__proto__`, 'malformed'],
    ['signature alone', `${name}=.${parts[3]}`, 'malformed'],
    ['doubled', `${good!}; a=1; ${good!}`, 'duplicated'],
    ['doubled by another', `${name}=x; ${good!}`, 'duplicated'],
    ['too long', `${name}=${'x'.repeat(4097)}`, 'oversized'],
    ['signed, and too long', `${good!}${'x'.repeat(4096)}`, 'oversized']
  ]
  for (const [what, cookie, result] of cases) {
    seen.length = 0
    const response = await fetch(url, { headers: { cookie } })
    t.equal(response.status, 200, what)
    t.same(seen, [result, 'new'], what)
    const [replaced] = cookiesOf(response)
    const home = await response.text()
    t.equal(await (await fetch(url, { headers: { cookie: replaced! } })).text(), home, `${what}: the new one counts`)
  }
  t.ok(list.every(({ seen }) => seen.every(({ cookie = '' }) => !cookie.includes(name))), 'no upstream saw any of them')
})

t.test('arbitrary Cookie fields never cause an error, and never choose', async (t) => {
  const list = await origins(t, 'ab')
  const { url, app } = await site(t, list)
  const seen = results(t, () => app)
  const piece = fc.oneof(fc.constantFrom('headgate-web', '=', ';', ' ', '.', '; headgate-web=', 'AAAAAAAAAAAA', '%', '"'), fc.string({ maxLength: 8 }))
  await fc.assert(fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (pieces) => {
    // What a client may send in a field's value at all.
    const cookie = pieces.join('').replace(/[^\x20-\x7e]/g, '').trim()
    const response = await fetch(url, { headers: { cookie } })
    if (response.status !== 200 || !response.headers.getSetCookie()[0]?.startsWith('headgate-web=')) throw new Error(`${response.status} for ${cookie}`)
  }), { numRuns: 100 })
  t.notOk(seen.includes('hit'))
})

t.test('attributes: TLS, sites, partitions, domain, path, name', async (t) => {
  const list = await origins(t, 'a')
  const field = async (options: StickyOptions, protocol = 'http'): Promise<string> => {
    const { url } = await site(t, list, { keys, ...options } as StickyOptions, {}, { server: { trustProxy: true } })
    return (await fetch(`${url}/x`, { headers: { 'x-forwarded-proto': protocol } })).headers.getSetCookie()[0]!.replace(/=[^;]*/, '')
  }
  t.equal(await field({}), 'headgate-web; Path=/; HttpOnly; SameSite=Lax')
  t.equal(await field({}, 'https'), 'headgate-web; Path=/; HttpOnly; Secure; SameSite=Lax')
  t.equal(await field({ secure: true }), 'headgate-web; Path=/; HttpOnly; Secure; SameSite=Lax')
  t.equal(await field({ secure: false }, 'https'), 'headgate-web; Path=/; HttpOnly; SameSite=Lax')
  t.equal(await field({ sameSite: 'none', partitioned: true }, 'https'), 'headgate-web; Path=/; HttpOnly; Secure; Partitioned; SameSite=None')
  t.equal(await field({ sameSite: 'none', partitioned: true }), 'headgate-web; Path=/; HttpOnly; SameSite=Lax', 'not over a plain connection, where browsers refuse it')
  t.equal(await field({ sameSite: 'strict', domain: 'example.test', path: '/app', name: 'stay' }), 'stay; Domain=example.test; Path=/app; HttpOnly; SameSite=Strict')
  t.equal(await field({ name: '__Host-stay', secure: true, path: '/' }), '__Host-stay; Path=/; HttpOnly; Secure; SameSite=Lax')
})

t.test('forward: true lets the upstream see the cookie', async (t) => {
  const list = await origins(t, 'a')
  const { url } = await site(t, list, { keys, forward: true })
  const [cookie] = cookiesOf(await fetch(url))
  await fetch(url, { headers: { cookie: cookie! } })
  t.equal(list[0]!.seen[1]!.cookie, cookie)
})

t.test("Path is the route's prefix as the client sees it", async (t) => {
  const list = await origins(t, 'a')
  const { url } = await proxy(t, {
    balancer: { pools: { web: members(list) }, routes: [{ prefix: '/', pool: 'web' }, { prefix: '/api', pool: 'web', rewritePrefix: '/v1' }] },
    after: (app) => {
      app.get('/own/*', (_request, reply) => reply.forward('web'))
      app.get('/tenants/:tenant/*', (_request, reply) => reply.forward('web'))
      app.get('/page', (_request, reply) => reply.forward('web'))
    }
  })
  const pathOf = async (path: string): Promise<string> => /Path=([^;]*)/.exec((await fetch(url + path)).headers.getSetCookie()[0]!)![1]!
  t.equal(await pathOf('/'), '/')
  t.equal(await pathOf('/x/y'), '/')
  t.equal(await pathOf('/api'), '/api')
  t.equal(await pathOf('/api/x?y'), '/api')
  t.equal(await pathOf('/own/x/y'), '/own')
  t.equal(await pathOf('/tenants/7/x'), '/tenants')
  t.equal(await pathOf('/page'), '/')
})

t.test('the fast path is kept: a cookie does not need onSend hooks, and sits beside those of app and upstream', async (t) => {
  const list = await origins(t, 'a', (_name, _request, response) => { response.setHeader('set-cookie', ['up=1', 'up2=1']).end('x') })
  for (const registered of [false, true]) {
    const { url, app } = await site(t, list, { keys }, {}, {
      before: async (app) => {
        if (registered) await app.register(cookie)
        app.addHook('onRequest', async (_request, reply) => { if (registered) reply.setCookie('own', '1') })
      }
    })
    t.equal(app.hasDecorator('serializeCookie'), registered, 'the app gets no decorators that it did not ask for')
    const response = await fetch(url)
    t.equal(await response.text(), 'x')
    t.same(new Set(cookiesOf(response).map((pair) => pair.split('=')[0])), new Set(['up', 'up2', 'headgate-web', ...registered ? ['own'] : []]))
  }
})
