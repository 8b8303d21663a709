import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type IncomingMessage, createServer } from 'node:http'
import { type AddressInfo, type Socket, connect, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectSecure } from 'node:tls'
import t from 'tap'
import { Agent, request } from 'undici'
import { skipWithout } from '../../../tools/system.mjs'
import { Authority } from '../../tls/test/certificates.ts'
import { diffConfig } from '../src/diff.ts'
import { type ServeOptions, serve } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

interface Held { release (): void; readonly arrived: Promise<unknown> }

/** An upstream that says its name; `/slow` ends when it is released, and upgrades are echoed. */
async function upstream (t: Test, name: string): Promise<{ url: string; held: Held }> {
  let release: () => void = () => {}
  let arrived: (value: unknown) => void = () => {}
  const held = { arrived: new Promise((resolve) => { arrived = resolve }), release: () => { release() } }
  const server = createServer((message, response) => {
    if (message.url !== '/slow') return void response.end(name)
    response.write(`${name} begins, `)
    release = () => { response.end(`${name} ends`) }
    arrived(undefined)
  })
  server.on('upgrade', (_: IncomingMessage, socket: Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.pipe(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, held }
}

const base = { listen: '127.0.0.1:0', logLevel: 'silent', health: false } as const
const one = (url: string, more: object = {}): ServeOptions => ({ ...base, pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }], ...more })

t.test('a configuration takes over while requests, bodies and tunnels go on', async (t) => {
  const [a, b] = await Promise.all([upstream(t, 'a'), upstream(t, 'b')])
  const proxy = await serve(one(a.url))
  t.teardown(() => proxy.close())
  const [url = ''] = proxy.addresses
  const agent = new Agent({ connections: 4 })
  t.teardown(() => agent.close())
  const get = async (): Promise<string> => (await request(url, { dispatcher: agent })).body.text()
  const body = (await request(`${url}/slow`, { dispatcher: agent })).body.text()
  await a.held.arrived
  const tunnel = connect(Number(new URL(url).port), '127.0.0.1')
  t.teardown(() => tunnel.destroy())
  tunnel.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  await once(tunnel, 'data')

  let going = true
  let failures = 0
  let answered = 0
  const load = Array.from({ length: 3 }, async () => {
    while (going) {
      const text = await get().catch(() => 'failed')
      if (text === 'failed') failures++
      else answered++
    }
  })
  const before = proxy.app
  for (const next of [b, a, b]) await proxy.reload(one(next.url, { closeTimeout: next === b ? 1000 : 2000 }))
  const changes = await proxy.reload(one(b.url, { viaName: 'other', closeTimeout: 1000 }))
  t.match(changes, [{ path: 'viaName', kind: 'added', after: 'other', effect: 'rebuild' }])
  t.equal(await get(), 'b', 'new requests see the new one at once')
  while (answered < 100) await new Promise((resolve) => { setTimeout(resolve, 5) })
  going = false
  await Promise.all(load)
  t.equal(failures, 0)
  t.not(proxy.app, before)
  tunnel.write('still there')
  const [echoed] = await once(tunnel, 'data') as [Buffer]
  t.equal(echoed.toString(), 'still there')
  a.held.release()
  t.equal(await body, 'a begins, a ends')
  t.same(proxy.addresses, [url], 'it never stopped to listen')
})

t.test('members and shares change in place, and those that stay keep what is known of them', async (t) => {
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => upstream(t, name)))
  const options = (upstreams: string[], pool: object): ServeOptions => ({
    ...base, pools: { web: { upstreams }, other: [c!.url] }, routes: [{ prefix: '/', rules: [{ name: 'share', pool: pool as never, splitOn: 'random' }] }]
  })
  const proxy = await serve(options([a!.url, b!.url], { web: 1, other: 1 }))
  t.teardown(() => proxy.close())
  const { app } = proxy
  const [, kept] = app.balancer.pool('web').upstreams
  kept!.health.force('maintenance', 'new disk')
  t.match(await proxy.reload(options([b!.url, `${c!.url};weight=2`], { web: 1, other: 0 })), [
    { path: 'pools.web.upstreams[0]', effect: 'in-place', before: a!.url }, { path: 'pools.web.upstreams[1]', effect: 'in-place' },
    { path: 'routes[0].rules[0].pool.other', kind: 'changed', before: 1, after: 0, effect: 'in-place' }
  ])
  t.equal(proxy.app, app)
  t.equal(app.balancer.pool('web').get(kept!.id), kept)
  t.equal(kept!.health.forced, 'maintenance')
  t.same(app.balancer.split('share').weights, { web: 1, other: 0 })
  t.same(await proxy.reload(options([b!.url, `${c!.url};weight=2`], { web: 1, other: 0 })), [], 'the same again changes nothing')
})

t.test('a bad configuration never replaces a running one', async (t) => {
  const { url: a } = await upstream(t, 'a')
  const proxy = await serve(one(a))
  t.teardown(() => proxy.close())
  const { app } = proxy
  const taken = createTcpServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`
  const bad: [ServeOptions, RegExp][] = [
    [one(a, { routes: [{ prefix: '/', pool: 'none' }] }), /^options\.routes\[0\]\.pool: must be one of the pools web/],
    [one(a, { compress: { threshold: -1 } }), /^options\.compress\.threshold/],
    [one(a, { pools: { web: [a, a] } }), /is already in the pool/],
    [one(a, { listen: ['127.0.0.1:0', 'nowhere'] }), /must be 'host:port'/],
    [one(a, { viaName: 'x', listen: ['127.0.0.1:0', 'localhost:0', address] }), /EADDRINUSE/]
  ]
  for (const [options, error] of bad) {
    await t.rejects(proxy.reload(options), { message: error })
    t.equal(proxy.app, app)
    t.equal(proxy.addresses.length, 1)
    t.equal(await (await request(proxy.addresses[0]!)).body.text(), 'a')
  }
})

t.test('several listeners, which come and go', async (t) => {
  const { url: a } = await upstream(t, 'a')
  const proxy = await serve(one(a, { listen: ['127.0.0.1:0', 'localhost:0'] }))
  t.teardown(() => proxy.close())
  const [first = '', second = ''] = proxy.addresses
  for (const url of [first, second]) t.equal(await (await request(url)).body.text(), 'a', url)
  await proxy.reload(one(a, { listen: ['localhost:0'] }))
  t.same(proxy.addresses, [second])
  const agent = new Agent()
  t.teardown(() => agent.close())
  await t.rejects(request(first, { dispatcher: agent }), { code: 'ECONNREFUSED' })
  t.equal(await (await request(second, { dispatcher: agent })).body.text(), 'a')
})

t.test('layer 4 alone, and beside HTTP', async (t) => {
  const servers = await Promise.all(['a', 'b'].map(async (name) => {
    const server = createTcpServer((socket) => {
      // Checks of a connection end it as soon as it stands.
      socket.on('error', () => {})
      socket.end(name)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
  }))
  const options = (upstreams: string[]): ServeOptions => ({
    logLevel: 'silent', stream: { pools: { db: { upstreams } }, listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: 'db' }] }, health: { check: { interval: 60_000 } }
  })
  const proxy = await serve(options([servers[0]!]))
  t.teardown(() => proxy.close())
  t.same(proxy.addresses, [], 'nothing listens for HTTP')
  const port = Number(/\d+$/.exec(proxy.app.stream.listener('db').address!)![0])
  const ask = async (): Promise<string> => {
    let text = ''
    for await (const chunk of connect(port, '127.0.0.1')) text += String(chunk)
    return text
  }
  t.equal(await ask(), 'a')
  t.match(await proxy.reload(options([servers[1]!])), [{ path: 'stream.pools.db.upstreams[0]', effect: 'in-place' }])
  t.equal(await ask(), 'b')
  const { url } = await upstream(t, 'http')
  const changes = await proxy.reload({ ...options([servers[1]!]), ...one(url) })
  t.same(changes.map(({ path }) => path).toSorted(), ['health', 'listen', 'pools', 'routes'])
  t.equal(await (await request(proxy.addresses[0]!)).body.text(), 'http')
  t.equal(await ask(), 'b', 'the listener stayed')
  t.ok(proxy.app.balancer.pools.has('db'), 'the admin API sees its pool')
})

t.test('listeners of layer 4 come, change and go while connections go on', async (t) => {
  const servers = await Promise.all(['a', 'b', 'c'].map(async (name) => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.write(name)
      socket.pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
  }))
  const open = async (port: number) => {
    const socket = connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    const [first] = await once(socket, 'data') as [Buffer]
    const echo = async (text: string): Promise<string> => {
      socket.write(text)
      return String((await once(socket, 'data'))[0])
    }
    return { name: String(first), echo, socket }
  }
  const { url } = await upstream(t, 'http')
  const options = (listeners: object[] | undefined, pools = {}): ServeOptions => one(url, listeners && { stream: { pools, listeners } as ServeOptions['stream'] })
  const proxy = await serve(options(undefined))
  t.teardown(() => proxy.close())
  const port = (name: string): number => Number(/\d+$/.exec(proxy.app.stream.listener(name).address!)![0])

  const stays = { name: 'stays', listen: '127.0.0.1:0', pool: 'one' }
  t.match(await proxy.reload(options([stays], { one: [servers[0]] })), [{ path: 'stream', effect: 'rebuild' }])
  const first = await open(port('stays'))
  t.equal(first.name, 'a', 'it came')
  t.ok(proxy.app.balancer.pools.has('one'), 'the admin API sees its pool')

  const before = port('stays')
  await proxy.reload(options([stays, { name: 'other', listen: '127.0.0.1:0', pool: [servers[1]] }], { one: [servers[0]] }))
  t.equal(port('stays'), before)
  const second = await open(port('other'))
  t.equal(second.name, 'b')
  t.ok(proxy.app.balancer.pools.has('other'))

  // Another pool and other settings for the same address: not one connection is refused meanwhile, and none breaks.
  const other = port('other')
  let going = true
  const names: string[] = []
  const load = (async () => { while (going) { const { name, socket } = await open(other); names.push(name); socket.destroy() } })()
  await proxy.reload(options([stays, { name: 'renamed', listen: '127.0.0.1:0', pool: [servers[2]], idleTimeout: 5000 }], { one: [servers[0]] }))
  t.equal(port('renamed'), other)
  t.equal((await open(other)).name, 'c')
  going = false
  await load
  t.ok(names.length > 0 && names.every((name) => name === 'b' || name === 'c'))
  t.equal(await second.echo('still there'), 'still there', 'what was open before goes on')
  t.equal(await first.echo('here too'), 'here too')
  t.notOk(proxy.app.balancer.pools.has('other'))

  for (const [bad, message] of [
    [[stays, { listen: '127.0.0.1:0', pool: 'nobody' }], /options\.stream\.listeners\[1\]\.pool: must be one of one/],
    [[{ ...stays, retries: 99 }], /options\.stream\.listeners\[0\]\.retries/],
    [[stays, { listen: `127.0.0.1:${other}`, pool: 'one' }], /cannot listen on/]
  ] as const) await t.rejects(proxy.reload(options([...bad], { one: [servers[0]] })), { message }, String(message))
  t.equal((await open(other)).name, 'c', 'a bad one changed nothing')
  t.same([...proxy.app.stream.listeners.keys()], ['stays', 'renamed'])

  await proxy.reload(options([stays], { one: [servers[0]] }))
  t.match(await new Promise((resolve) => { connect(other, '127.0.0.1').on('error', resolve) }), { code: 'ECONNREFUSED' }, 'it has gone')
  t.equal(await second.echo('still'), 'still', 'but not for whom it had')
  await proxy.reload(options(undefined))
  t.equal(await first.echo('and this'), 'and this')
  t.notOk(proxy.app.hasDecorator('stream'))
  await proxy.reload(options([stays], { one: [servers[1]] }))
  t.equal((await open(port('stays'))).name, 'b', 'and back again')
  first.socket.destroy()
  second.socket.destroy()
  for (const { socket } of [first, second]) if (!socket.closed) await once(socket, 'close')
})

t.test('differences', async (t) => {
  const before: ServeOptions = { pools: { a: ['http://a'], b: { upstreams: ['http://b'] } }, admin: { token: 'secret-1' }, routes: [{ prefix: '/', pool: 'a', timeout: 1 }] }
  const after: ServeOptions = {
    pools: { a: { upstreams: ['http://a'] }, c: ['http://c'] }, admin: { token: 'secret-2' }, routes: [{ prefix: '/', pool: 'a', timeout: 2 }], logLevel: 'warn',
    stream: { listeners: [] }
  }
  t.same(diffConfig(before, after), [
    { path: 'pools.b', kind: 'removed', before: { upstreams: ['http://b'] }, effect: 'rebuild' },
    { path: 'pools.c', kind: 'added', after: { upstreams: ['http://c'] }, effect: 'rebuild' },
    { path: 'admin.token', kind: 'changed', before: '(hidden)', after: '(hidden)', effect: 'rebuild' },
    { path: 'routes[0].timeout', kind: 'changed', before: 1, after: 2, effect: 'rebuild' },
    { path: 'logLevel', kind: 'added', after: 'warn', effect: 'in-place' },
    { path: 'stream', kind: 'added', after: { listeners: [] }, effect: 'rebuild' }
  ])
  t.same(diffConfig(before, before), [])
})

t.test('options of TLS change while requests go on, and bad ones change nothing', { skip: skipWithout('openssl') }, async (t) => {
  const authority = new Authority(t)
  const [a, b] = [authority.issue(['a.example'], { subject: '/CN=a' }), authority.issue(['b.example'], { subject: '/CN=b' })]
  const { url: up, held } = await upstream(t, 'up')
  const options = (tls: object): ServeOptions => one(up, { tls })
  const proxy = await serve(options({ certificates: [{ name: 'a', ...a }], redirect: { listen: '127.0.0.1:0', port: 1 } }))
  t.teardown(() => proxy.close())
  const { port } = new URL(proxy.addresses[0]!)
  const tls = (): { redirectAddress: string | undefined } => proxy.app.tls
  const plain = tls().redirectAddress!
  const agents = ['a.example', 'b.example'].map((servername) => new Agent({ connect: { ca: authority.ca, servername, checkServerIdentity: () => undefined } }))
  t.teardown(() => Promise.all(agents.map((agent) => agent.close())))
  const shown = (servername: string): Promise<string> => new Promise((resolve, reject) => {
    const socket = connectSecure({ port: Number(port), servername, ca: authority.ca, checkServerIdentity: () => undefined }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.on('error', reject)
  })
  const running = (await request(`${proxy.addresses[0]!}/slow`, { dispatcher: agents[0]! })).body.text()
  await held.arrived
  let going = true
  let failures = 0
  let answered = 0
  const load = [true, false].map(async (fresh) => {
    while (going) {
      const dispatcher = fresh ? new Agent({ connect: { ca: authority.ca, servername: 'a.example' } }) : agents[0]!
      await request(proxy.addresses[0]!, { dispatcher }).then(async ({ body }) => { await body.text(); answered++ }, () => { failures++ })
      if (fresh) await dispatcher.destroy()
    }
  })
  t.equal(await shown('b.example'), 'a')
  const changes = await proxy.reload(options({
    certificates: [{ name: 'a', ...a }, { name: 'b', ...b }], hsts: true, http2: false, redirect: { listen: '127.0.0.1:0', port: 2 }
  }))
  t.same(changes.map(({ path, effect }) => ({ path, effect })), [
    { path: 'tls.certificates', effect: 'rebuild' }, { path: 'tls.redirect.port', effect: 'rebuild' }, { path: 'tls.hsts', effect: 'rebuild' }, { path: 'tls.http2', effect: 'restart' }
  ])
  t.equal(await shown('b.example'), 'b')
  t.equal((await request(proxy.addresses[0]!, { dispatcher: agents[1]! })).headers['strict-transport-security'], 'max-age=63072000')
  t.equal(tls().redirectAddress, plain, 'the redirect listens on')
  t.match((await request(plain, { headers: { host: 'a.example' } })).headers.location, 'https://a.example:2/')
  for (const [bad, message] of [
    [{ certificates: [{ name: 'a', cert: a.cert, key: b.key }] }, /certificate 'a' cannot be used/],
    [{ certificates: [{ name: 'b', ...b }], profile: 'old' }, /^options\.tls\.profile/]
  ] as const) await t.rejects(proxy.reload(options(bad)), { message })
  t.equal(await shown('b.example'), 'b')
  await proxy.reload(options({ certificates: [{ name: 'b', ...b }, { name: 'a', ...a }], profile: 'modern' }))
  t.equal(await shown('c.example'), 'b', 'the default, too')
  await t.rejects(request(plain), { code: 'ECONNREFUSED' }, 'the redirect has gone')
  while (answered < 60) await new Promise((resolve) => { setTimeout(resolve, 5) })
  going = false
  await Promise.all(load)
  t.equal(failures, 0)
  held.release()
  t.equal(await running, 'up begins, up ends')
})

t.test('the cache on the disk and the table of sessions go on; a configuration that fails takes nothing from them', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-kept-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  let asked = 0
  const [a, b] = await Promise.all(['a', 'b'].map(async (name) => {
    const server = createServer((_, response) => {
      asked++
      response.setHeader('cache-control', 'max-age=60').setHeader('cache-tag', 'all').end(name)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }))
  const options = (viaName: string, more: object = {}, disk: object = {}): ServeOptions => ({
    ...base, viaName, pools: { web: { upstreams: [a!, b!], policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }],
    cache: { disk: { path: join(folder, 'cache'), ...disk } }, sticky: { by: 'header', name: 'x-user' }, ...more
  })
  const proxy = await serve(options('one'))
  t.teardown(() => proxy.close())
  const get = async (path: string, headers: Record<string, string> = {}): Promise<{ text: string; status: string }> => {
    const response = await fetch(`${proxy.addresses[0]}${path}`, { headers })
    return { text: await response.text(), status: response.headers.get('cache-status')!.replace('headgate; ', '') }
  }
  const private_ = { 'cache-control': 'no-store' }
  const homes = new Map<string, string>()
  for (const user of ['ada', 'bob', 'eve']) homes.set(user, (await get('/', { 'x-user': user, ...private_ })).text)
  const { text } = await get('/kept')
  while (proxy.app.cache.stats.stored === 0) await new Promise((resolve) => { setTimeout(resolve, 5) })
  const before = asked
  const changes = await proxy.reload(options('two', {}, { maxBytes: 2 ** 30 }))
  t.match(changes, [{ path: 'viaName', effect: 'rebuild' }, { path: 'cache.disk.maxBytes', effect: 'restart' }])
  t.match(await get('/kept'), { text, status: /^hit/ })
  await t.rejects(proxy.reload(options('three', { health: { check: { path: 'wrong' } } })), /path/)
  t.match(await get('/kept'), { text, status: /^hit/ })
  t.equal(asked, before)
  for (const [user, home] of homes) t.equal((await get('/', { 'x-user': user, ...private_ })).text, home, `${user} stays`)
  t.equal(await proxy.app.cache.purge({ tags: ['all'] }), 1)
  t.match(await get('/kept'), { status: /^fwd=uri-miss/ })
})
