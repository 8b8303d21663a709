import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { channels, type DispatchMessage } from '@headgate/core'
import Fastify from 'fastify'
import t from 'tap'
import { Agent, WebSocket, errors, fetch as undiciFetch, interceptors, request } from 'undici'
import { bodyOf, proxy, rawUpstream, refusing, until, upstream } from '../helpers.ts'
import { nothingLeft, pools } from './helpers.ts'

t.test('Node\'s own fetch takes it', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.end('hello') })
  const app = await pools(t, { web: [url] })
  const answer = await fetch('http://web/', { dispatcher: app.balancer.dispatcher('web') } as unknown as RequestInit)
  t.equal(await answer.text(), 'hello')
  await nothingLeft(app)
})

t.test('an app in this process as an upstream', async (t) => {
  const inner = Fastify()
  inner.get('/', () => 'in process')
  t.teardown(() => inner.close())
  const app = await pools(t, { web: { upstreams: [{ app: inner, id: 'inner' }] } })
  t.equal(await (await request('http://web/', { dispatcher: app.balancer.dispatcher('web') })).body.text(), 'in process')
})

t.test('statuses are retried elsewhere, and the last one is passed on', async (t) => {
  let asked = 0
  const busy = await upstream(t, (_, response) => {
    asked++
    response.writeHead(503).end('busy')
  })
  const fine = await upstream(t, (_, response) => { response.end('fine') })
  const app = await pools(t, { both: { upstreams: [busy.url, fine.url], policy: 'first' }, busy: [busy.url] })
  t.equal(await (await request('http://x/', { dispatcher: app.balancer.dispatcher('both') })).body.text(), 'fine')
  t.equal(asked, 1)
  t.equal((await request('http://x/', { dispatcher: app.balancer.dispatcher('both'), method: 'POST' })).statusCode, 503, 'but no POST')
  asked = 0
  const last = await request('http://x/', { dispatcher: app.balancer.dispatcher('busy') })
  t.same([last.statusCode, await last.body.text(), asked], [503, 'busy', 3])
  asked = 0
  t.equal((await request('http://x/', { dispatcher: app.balancer.dispatcher('busy', { retry: false }) })).statusCode, 503)
  t.equal(asked, 1)
})

t.test('failures are the errors of proxied requests, with the cause', async (t) => {
  const hanging = await upstream(t, () => {})
  const app = await pools(t, {
    dead: [await refusing()],
    hanging: [hanging.url],
    full: { upstreams: [hanging.url], maxInFlight: 1, queue: { limit: 0 } },
    queueing: { upstreams: [hanging.url], maxInFlight: 1, queue: { limit: 1, timeout: 20 } }
  })
  const ask = (pool: string, options = {}, more = {}): Promise<unknown> => request('http://x/', { dispatcher: app.balancer.dispatcher(pool, options), ...more })
  await t.rejects(ask('dead'), { code: 'HG_UPSTREAM_FAILED', statusCode: 502, cause: { code: 'connect-refused' } })
  await t.rejects(ask('hanging', { headersTimeout: 20, retry: false }), { code: 'HG_UPSTREAM_TIMEOUT', statusCode: 504 })
  await t.rejects(ask('hanging', { retry: false }, { headersTimeout: 20 }), { code: 'HG_UPSTREAM_TIMEOUT' }, 'the time that undici is asked for')
  await t.rejects(ask('hanging', { tryTimeout: 20, retry: false }), { code: 'HG_UPSTREAM_TIMEOUT' })
  await t.rejects(ask('hanging', { timeout: 20 }), { code: 'HG_UPSTREAM_TIMEOUT' })
  for (const [pool, code] of [['full', 'HG_POOL_OVERLOADED'], ['queueing', 'HG_POOL_OVERLOADED']] as const) {
    const controller = new AbortController()
    const first = ask(pool, {}, { signal: controller.signal })
    await t.rejects(ask(pool), { code, statusCode: 503 })
    controller.abort()
    await t.rejects(first)
  }
  app.balancer.pool('dead').upstreams[0]!.health.force('drain', 'test')
  await t.rejects(ask('dead'), { code: 'HG_POOL_NONE_READY', statusCode: 503 })
  await t.rejects(undiciFetch('http://x/', { dispatcher: app.balancer.dispatcher('dead') }), { message: 'fetch failed', cause: { code: 'HG_POOL_NONE_READY' } })
  await nothingLeft(app)
})

t.test('a request waits in the queue, and may leave it', async (t) => {
  const answers: (() => void)[] = []
  const { url } = await upstream(t, (_, response) => { answers.push(() => { response.end('done') }) })
  const app = await pools(t, { web: { upstreams: [url], maxInFlight: 1, queue: { limit: 2, timeout: 60_000 } } })
  const dispatcher = app.balancer.dispatcher('web')
  const controller = new AbortController()
  const first = request('http://web/', { dispatcher })
  const second = request('http://web/', { dispatcher, signal: controller.signal })
  const third = request('http://web/', { dispatcher })
  await until(() => answers.length === 1 && app.balancer.pool('web').queued === 2)
  controller.abort()
  await t.rejects(second, { name: 'AbortError' })
  t.equal(app.balancer.pool('web').queued, 1)
  answers[0]!()
  t.equal(await (await first).body.text(), 'done')
  await until(() => answers.length === 2)
  answers[1]!()
  t.equal(await (await third).body.text(), 'done')
  await nothingLeft(app)
})

t.test('a body that nobody reads, or sends, is not held for ever', async (t) => {
  const { url } = await upstream(t, (incoming, response) => {
    incoming.resume()
    if (incoming.method === 'GET') {
      response.write(Buffer.alloc(1 << 20))
      response.write(Buffer.alloc(1 << 20))
    }
  })
  const app = await pools(t, { web: [url] })
  const dispatcher = app.balancer.dispatcher('web', { idleTimeout: 50 })
  const { body } = await request('http://web/', { dispatcher })
  const failed = new Promise((resolve) => { body.on('error', resolve) })
  await nothingLeft(app)
  t.match(await failed, { message: 'the client is idle' })
  t.equal(app.balancer.pool('web').upstreams[0]!.load.failed, 0)
  await t.rejects(request('http://web/', { dispatcher, method: 'POST', body: new Readable({ read () {} }) }), { code: 'HG_BALANCER_SLOW_BODY' })
  await nothingLeft(app)
})

t.test('a broken response is gone on with, or breaks', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nETag: "a"\r\nAccept-Ranges: bytes\r\nContent-Length: 10\r\n\r\n01234'
  const broken = await rawUpstream(t, (socket) => { socket.end(head) })
  const range: (string | undefined)[] = []
  const rest = await upstream(t, (incoming, response) => {
    range.push(incoming.headers.range)
    response.writeHead(206, { etag: '"a"', 'content-range': 'bytes 5-9/10', 'content-length': '5' }).end('56789')
  })
  const app = await pools(t, { both: { upstreams: [broken, rest.url], policy: 'first' }, broken: [broken] })
  t.equal(await (await request('http://x/', { dispatcher: app.balancer.dispatcher('both') })).body.text(), '0123456789')
  t.same(range, ['bytes=5-9'])
  await t.rejects(async () => (await request('http://x/', { dispatcher: app.balancer.dispatcher('both', { resume: false }) })).body.text(), { code: 'truncated' })
  await nothingLeft(app)
})

t.test('Host is the upstream\'s, or what is asked for', async (t) => {
  const { url } = await upstream(t, (incoming, response) => { response.end(`${incoming.headers.host}|${incoming.rawHeaders.filter((name) => name.toLowerCase() === 'host').length}`) })
  const app = await pools(t, { web: [url] })
  const ask = async (options = {}, headers = {}): Promise<string> => (await request('http://name:81/', { dispatcher: app.balancer.dispatcher('web', options), headers })).body.text()
  const own = new URL(url).host
  t.equal(await ask(), `${own}|1`)
  t.equal(await ask({}, { host: 'other' }), `${own}|1`)
  t.equal(await ask({ preserveHost: true }), 'name:81|1')
  t.equal(await ask({ preserveHost: true }, { Host: 'other' }), 'other|1')
  t.equal(await ask({ host: 'fixed' }, { Host: 'other' }), 'fixed|1')
})

t.test('hash policies go by the request, or by the key', async (t) => {
  const servers = await Promise.all(['a', 'b', 'c', 'd'].map((name) => upstream(t, (_, response) => { response.end(name) })))
  const upstreams = servers.map(({ url }) => url)
  const app = await pools(t, {
    path: { upstreams, policy: 'hash', hashOn: 'path' },
    query: { upstreams, policy: 'hash', hashOn: 'query:id' },
    header: { upstreams, policy: 'hash', hashOn: 'header:X-Id' },
    cookie: { upstreams, policy: 'hash', hashOn: 'cookie:id' },
    function: { upstreams, policy: 'hash', hashOn: () => 'a client' },
    address: { upstreams, policy: 'ip-hash' }
  })
  const asked = async (pool: string, many: (i: number) => object, options = {}): Promise<number> => {
    const dispatcher = app.balancer.dispatcher(pool, options)
    const names = new Set<string>()
    for (let i = 0; i < 32; i++) names.add(await (await request('http://x/', { dispatcher, ...many(i) })).body.text())
    return names.size
  }
  t.equal(await asked('path', (i) => ({ path: `/same?${i}` })), 1)
  t.equal(await asked('path', (i) => ({ path: `/${i}` })), 4)
  t.equal(await asked('query', (i) => ({ path: `/${i}`, query: { id: 1 } })), 1)
  t.equal(await asked('header', () => ({ headers: { 'x-id': '1' } })), 1)
  t.equal(await asked('cookie', () => ({ headers: { cookie: 'a=b; id=1' } })), 1)
  for (const pool of ['function', 'address', 'query']) {
    t.equal(await asked(pool, () => ({})), 4, `${pool}: nobody is known, so they spread`)
    t.equal(await asked(pool, () => ({}), { key: () => 'me' }), 1, `${pool}: by the key`)
  }
})

t.test('what does not fit in a request is refused', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.end() })
  const app = await pools(t, { web: [url] })
  const dispatcher = app.balancer.dispatcher('web')
  const refused = async (wrong: object): Promise<unknown> => {
    try {
      await request('http://web/', { dispatcher, ...wrong })
    } catch (error) {
      return error
    }
    return undefined
  }
  for (const path of ['/a/../b', '/a/%2e%2e/b', '/a#b', '/a b', '/\x7f']) {
    const told = new Promise((resolve) => { dispatcher.dispatch({ path, method: 'GET' }, { onConnect () {}, onError: resolve, onHeaders: () => true }) })
    t.match(await told, { code: 'HG_BALANCER_BAD_TARGET', statusCode: 400 }, path)
  }
  t.match(await refused({ headers: { 'a b': 'c' } }), { code: 'ERR_INVALID_HTTP_TOKEN' })
  t.match(await refused({ headers: { a: 'b\r\nc: d' } }), { code: 'ERR_INVALID_CHAR' })
  t.match(await refused({ headers: ['a'] }), { message: 'an array of headers must have a value for each name' })
  t.match(await refused({ headers: { a: {} } }), { message: 'the value of a is an object' })
  t.match(await refused({ headers: { 'content-length': '1, 2' } }), { message: /Content-Length is not one number/ })
  t.match(await refused({ method: 'POST', body: 'abc', headers: { 'content-length': '2' } }), { message: 'Content-Length says 2, the body has 3 bytes' })
  t.match(await refused({ method: 'POST', body: 1 }), { message: /a body must be/ })
  t.match(await refused({ method: 'A B' }), { message: /the method must be a token/ })
  t.match(await refused({ headersTimeout: -1 }), { message: /headersTimeout must be/ })
  const destroyed = new Readable({ read () {} })
  destroyed.destroy()
  t.match(await refused({ method: 'POST', body: destroyed }), { message: /was destroyed/ })
  await t.rejects(dispatcher.connect({ origin: 'http://web', path: '/' }), errors.NotSupportedError)
  t.equal(app.balancer.pool('web').upstreams[0]!.load.picked, 0)
})

t.test('options are checked', async (t) => {
  const app = await pools(t, { web: ['http://127.0.0.1:1'] })
  const open = (options: object) => () => app.balancer.dispatcher('web', options)
  t.throws(() => app.balancer.dispatcher('wbe'), { code: 'HG_POOL_UNKNOWN' })
  t.throws(open({ headersTimeout: 0 }), { code: 'HG_POOL_INVALID_OPTION', message: /dispatcher options\.headersTimeout: must be >= 1; got 0/ })
  t.throws(open({ rewritePrefix: '/a' }), { message: /dispatcher options\.rewritePrefix: unknown option; known are preserveHost, host/ })
  t.throws(open({ key: 'a' }), { message: /dispatcher options\.key: must be a function/ })
  t.throws(open({ host: 'a', preserveHost: true }), { message: /dispatcher options\.host: must not be given beside 'preserveHost'/ })
})

t.test('close waits for what runs, destroy ends it; the pool goes on', async (t) => {
  const answers: (() => void)[] = []
  const { url } = await upstream(t, (_, response) => { answers.push(() => { response.end('done') }) })
  const app = await pools(t, { web: [url] })
  const closing = app.balancer.dispatcher('web')
  const running = request('http://web/', { dispatcher: closing })
  await until(() => answers.length === 1)
  let closed = false
  const ending = closing.close().then(() => { closed = true })
  await t.rejects(request('http://web/', { dispatcher: closing }), errors.ClientClosedError)
  t.notOk(closed)
  answers[0]!()
  t.equal(await (await running).body.text(), 'done')
  await ending
  const destroying = app.balancer.dispatcher('web')
  const broken = request('http://web/', { dispatcher: destroying })
  await until(() => answers.length === 2)
  const failed = t.rejects(broken, errors.ClientDestroyedError)
  await new Promise<void>((resolve) => { destroying.destroy(null, resolve) })
  await failed
  await t.rejects(request('http://web/', { dispatcher: destroying }), errors.ClientDestroyedError)
  t.match(destroying, { destroyed: true, closed: true })
  const other = request('http://web/', { dispatcher: app.balancer.dispatcher('web') })
  await until(() => answers.length === 3)
  answers[2]!()
  t.equal(await (await other).body.text(), 'done')
  await nothingLeft(app)
})

t.test('the app closes though a request of its own goes on for ever, and asks no more', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.write('endless') })
  const app = await pools(t, { web: [url] }, { closeTimeout: 50 })
  const dispatcher = app.balancer.dispatcher('web')
  const { body } = await request('http://web/', { dispatcher })
  const read = t.rejects(body.text(), { code: 'destroyed' })
  await app.close()
  await read
  await t.rejects(request('http://web/', { dispatcher }), { code: 'HG_UPSTREAM_FAILED', cause: { code: 'destroyed' } })
  t.equal(app.balancer.pool('web').inFlight, 0)
})

t.test('a handler that throws ends its request, and nothing else', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.end('hello') })
  const app = await pools(t, { web: [url] })
  const dispatcher = app.balancer.dispatcher('web')
  for (const name of ['onRequestStart', 'onResponseStart', 'onResponseData', 'onResponseEnd'] as const) {
    const error = await new Promise<Error>((resolve) => {
      dispatcher.dispatch({ path: '/', method: 'GET' }, {
        onRequestStart () {}, onResponseStart () {}, onResponseData () {}, onResponseEnd () {}, onResponseError: (_, failure) => { resolve(failure) },
        [name]: () => { throw new Error(name) }
      })
    })
    t.equal(error.message, name)
  }
  await nothingLeft(app)
})

t.test('a controller pauses from the head on, and goes on where it was', async (t) => {
  const { url } = await upstream(t, (incoming, response) => {
    if (incoming.url === '/empty') response.writeHead(204).end()
    else response.end('hello')
  })
  const app = await pools(t, { web: [url] })
  for (const [path, wanted] of [['/body', ['200', 'hello', 'end']], ['/empty', ['204', 'end']]] as const) {
    const events: string[] = []
    await new Promise<void>((resolve, reject) => {
      app.balancer.dispatcher('web').dispatch({ path, method: 'GET' }, {
        onRequestStart () {},
        onResponseStart (controller, status) {
          events.push(String(status))
          controller.pause()
          void sleep(30).then(() => {
            t.same(events, [String(status)], 'nothing comes while it pauses')
            controller.resume()
          })
        },
        onResponseData (_, chunk) { events.push(chunk.toString()) },
        onResponseEnd () { events.push('end'); resolve() },
        onResponseError (_, error) { reject(error) }
      })
    })
    t.same(events, wanted)
  }
  await nothingLeft(app)
})

t.test('interim responses and trailers come through', async (t) => {
  const url = await rawUpstream(t, (socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n')
  })
  const app = await pools(t, { web: [url] })
  const infos: unknown[] = []
  const answer = await request('http://web/', { dispatcher: app.balancer.dispatcher('web'), onInfo: (info) => { infos.push(info) } } as Parameters<typeof request>[1])
  t.equal(await answer.body.text(), 'hi')
  t.match(answer.trailers, { 'x-sum': '1' })
  t.match(infos, [{ statusCode: 103, headers: { link: '</a>' } }])
})

t.test('a WebSocket, and other upgrades', async (t) => {
  const server = createServer()
  server.on('upgrade', (incoming, socket) => {
    const key = createHash('sha1').update(`${incoming.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    const accept = incoming.headers.upgrade === 'websocket' ? `Sec-WebSocket-Accept: ${key}\r\n` : ''
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${incoming.headers.upgrade}\r\n${accept}\r\n`)
    // A text frame that comes together with the head.
    socket.write(incoming.headers.upgrade === 'websocket' ? Buffer.from([0x81, 2, 104, 105]) : 'hi')
    socket.on('error', () => {})
    socket.on('data', () => { socket.end() })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => new Promise((resolve) => { server.close(resolve) }))
  const app = await pools(t, { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] })
  const dispatcher = app.balancer.dispatcher('web')
  const { socket, headers } = await dispatcher.upgrade({ path: '/', protocol: 'mine' } as never)
  t.equal(headers.upgrade, 'mine')
  t.equal(app.balancer.pool('web').inFlight, 1, 'it counts as long as it stands')
  t.equal(await new Promise((resolve) => { socket.once('data', (data: Buffer) => { resolve(data.toString()) }) }), 'hi')
  socket.end('bye')
  await nothingLeft(app)
  const webSocket = new WebSocket('ws://web/', { dispatcher })
  t.equal(await new Promise((resolve, reject) => {
    webSocket.addEventListener('message', ({ data }) => { resolve(data) })
    webSocket.addEventListener('error', ({ error }) => { reject(error as Error) })
  }), 'hi')
  webSocket.close()
  await nothingLeft(app)
})

t.test('undici\'s interceptors work on it: redirects', async (t) => {
  const { url } = await upstream(t, (incoming, response) => {
    if (incoming.url === '/old') response.writeHead(302, { location: '/new' }).end()
    else response.end(incoming.url)
  })
  const app = await pools(t, { web: [url] })
  const dispatcher = app.balancer.dispatcher('web').compose(interceptors.redirect({ maxRedirections: 1 }))
  t.equal(await (await request('http://web/old', { dispatcher })).body.text(), '/new')
  t.equal(await (await undiciFetch('http://web/old', { dispatcher: app.balancer.dispatcher('web') })).text(), '/new')
})

t.test('an agent may use it for some origins only', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.end('balanced') })
  const other = await upstream(t, (_, response) => { response.end('direct') })
  const app = await pools(t, { web: [url] })
  const web = app.balancer.dispatcher('web')
  const agent = new Agent().compose((dispatch) => (options, handler) => String(options.origin) === 'http://web' ? web.dispatch(options, handler) : dispatch(options, handler))
  t.equal(await (await request('http://web/', { dispatcher: agent })).body.text(), 'balanced')
  t.equal(await (await request(other.url, { dispatcher: agent })).body.text(), 'direct')
  await agent.close()
})

t.test('whoever listens hears of its attempts, and may add fields', async (t) => {
  const { url } = await upstream(t, (incoming, response) => { response.end(incoming.headers['x-trace']) })
  const app = await pools(t, { web: [url] })
  const listen = (message: unknown): void => { (message as DispatchMessage).headers.push('x-trace', 'yes') }
  channels.dispatch.subscribe(listen)
  t.teardown(() => { channels.dispatch.unsubscribe(listen) })
  t.equal(await (await request('http://web/', { dispatcher: app.balancer.dispatcher('web') })).body.text(), 'yes')
})

t.test('a proxied request and a dispatched one share the pool', async (t) => {
  const { url } = await upstream(t, async (incoming, response) => { response.end(await bodyOf(incoming)) })
  const { app, url: front } = await proxy(t, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] })
  t.equal(await (await fetch(front, { method: 'POST', body: 'a' })).text(), 'a')
  t.equal(await (await request('http://web/', { dispatcher: app.balancer.dispatcher('web'), method: 'POST', body: 'b' })).body.text(), 'b')
  t.equal(app.balancer.pool('web').upstreams[0]!.load.succeeded, 2)
})

t.test('undici is loaded when a dispatcher is asked for, and not before', async (t) => {
  const script = `
    import { createRequire } from 'node:module'
    import Fastify from 'fastify'
    import balancer from '@headgate/balancer'
    const loaded = () => Object.keys(createRequire(import.meta.url).cache).some((file) => /node_modules.undici.index\\.js$/.test(file))
    const app = Fastify()
    await app.register(balancer, { pools: { web: ['http://127.0.0.1:1'] } })
    const before = loaded()
    app.balancer.dispatcher('web')
    console.log(before, loaded())`
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--import', new URL('../../../../tools/strip-types.mjs', import.meta.url).href, '--conditions=@headgate/source', '--input-type=module', '-e', script
  ], { cwd: new URL('../../../../examples', import.meta.url) })
  t.equal(stdout.trim(), 'false true')
})
