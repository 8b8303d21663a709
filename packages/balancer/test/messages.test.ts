import { createServer, request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http'
import { connect } from 'node:net'
import Fastify, { type FastifyError } from 'fastify'
import t from 'tap'
import balancer, { clientErrors, sendProblem } from '../src/index.ts'
import { bodyOf, proxy, raw, rawUpstream, refusing, until, upstream } from './helpers.ts'

const headsOf = (seen: IncomingMessage[]): RequestListener => (request, response) => {
  seen.push(request)
  response.end('ok')
}

t.test('Connection cannot strip what protects the upstream, and strips the rest', async (t) => {
  const seen: IncomingMessage[] = []
  const { url: to } = await upstream(t, headsOf(seen))
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eA==\r\nCookie: a=1\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\n' +
    'TE: trailers, deflate\r\nConnection: close, Authorization, cookie, host, X-Forwarded-For, x-forwarded-host, Forwarded, via, X-Private, te\r\n\r\n')
  const { headers } = seen[0]!
  t.match(headers, { authorization: 'Basic eA==', cookie: 'a=1', 'x-forwarded-for': '127.0.0.1', 'x-forwarded-host': 'h', te: 'trailers', via: /^1\.1 headgate-/ })
  t.match(headers.forwarded, /^for=127\.0\.0\.1;proto=http;host=h$/)
  for (const gone of ['x-private', 'keep-alive', 'proxy-authorization']) t.equal(headers[gone], undefined, gone)
  t.equal(headers.connection, 'keep-alive')
})

t.test('forwarding fields of a client are believed by trustProxy only; other spellings never pass', async (t) => {
  const seen: IncomingMessage[] = []
  const { url: to } = await upstream(t, headsOf(seen))
  const forged = 'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX_Forwarded-Host: evil\r\n'
  for (const trustProxy of [false, true]) {
    const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, { trustProxy })
    await raw(port, `GET / HTTP/1.1\r\nHost: h\r\n${forged}Connection: close\r\n\r\n`)
    const { headers } = seen.pop()!
    t.equal(headers['x-forwarded-for'], trustProxy ? '6.6.6.6, 127.0.0.1' : '127.0.0.1')
    t.equal(headers['x-forwarded-proto'], trustProxy ? 'https' : 'http')
    t.equal(headers['x-forwarded-host'], trustProxy ? 'evil' : 'h')
    t.equal(headers['x-forwarded-port'], String(port))
    t.equal(headers['x_forwarded_for'], undefined)
    t.equal(headers['x_forwarded-host'], undefined)
  }
})

for (const hook of [false, true]) {
  t.test(`trailers pass both ways, but those that frame, route or authorise${hook ? ', through onSend' : ''}`, async (t) => {
    let trailers: NodeJS.Dict<string> = {}
    const { url: to } = await upstream(t, async (request, response) => {
      await bodyOf(request)
      trailers = request.trailers
      response.writeHead(200, { trailer: 'X-Sum, X-Other' })
      response.write('body')
      response.addTrailers({ 'X-Sum': 'down', 'X-Other': '2' })
      response.end()
    })
    const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
    })
    const text = await raw(port, 'POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n' +
      '3\r\nabc\r\n0\r\nX-Sum: up\r\nAuthorization: no\r\nContent-Encoding: no\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n')
    t.same({ ...trailers }, { 'x-sum': 'up' })
    t.match(text, /trailer: ?x-sum/i)
    t.match(text, /\r\n0\r\nx-sum: down\r\nx-other: 2\r\n\r\n$/i)
  })
}

t.test('interim responses reach clients that can take them', async (t) => {
  const to = await rawUpstream(t, (socket) => {
    socket.write('HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\nX-Hint: 1\r\nConstructor: x\r\nConnection: x\r\n\r\n' +
      'HTTP/1.1 103 Early Hints\r\nLink: nonsense\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const text = await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
  t.match(text, /^HTTP\/1\.1 102 Processing\r\n\r\nHTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload; as=style\r\nx-hint: 1\r\nconstructor: x\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  t.match(await raw(port, 'GET / HTTP/1.0\r\nHost: h\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n/, 'not to HTTP/1.0')
})

t.test('an upstream in this process gets a field as it is, whatever its name', async (t) => {
  const inner = Fastify()
  inner.get('/', async ({ raw }) => raw.rawHeaders)
  const { port } = await proxy(t, { pools: { web: [{ id: 'inner', app: inner }] }, routes: [{ prefix: '/', pool: 'web' }] })
  const text = await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nConstructor: x\r\nConnection: close\r\n\r\n')
  t.equal(text.split('"constructor"').length, 2)
  t.match(text, '"constructor","x"')
})

t.test('Max-Forwards counts down on TRACE and OPTIONS, and ends here at 0', async (t) => {
  const seen: IncomingMessage[] = []
  const { url: to } = await upstream(t, headsOf(seen))
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const ask = (method: string, hops: string): Promise<string> => raw(port, `${method} /x HTTP/1.1\r\nHost: h\r\nMax-Forwards: ${hops}\r\nCookie: secret\r\nConnection: close\r\n\r\n`)
  await ask('OPTIONS', '5')
  await ask('TRACE', '1')
  await ask('GET', '3')
  t.same(seen.splice(0).map(({ headers }) => headers['max-forwards']), ['4', '0', '3'])
  t.match(await ask('OPTIONS', '0'), /^HTTP\/1\.1 204 [^]*allow: (?=[A-Z, -]*\bGET\b)(?=[A-Z, -]*\bPOST\b)/)
  const trace = await ask('TRACE', '0')
  t.match(trace, /^HTTP\/1\.1 200 [^]*content-type: message\/http[^]*\r\n\r\nTRACE \/x HTTP\/1\.1\r\nHost: h\r\nMax-Forwards: 0\r\n/)
  t.notMatch(trace, /secret/)
  t.equal(seen.length, 0)
})

t.test('an upgrade to h2c is never forwarded: the request is served as it is', async (t) => {
  const seen: IncomingMessage[] = []
  const { url: to, server } = await upstream(t, headsOf(seen))
  let upgrades = 0
  server.on('upgrade', (request, socket) => {
    upgrades++
    t.equal(request.headers.upgrade, 'echo')
    socket.end('HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n')
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  t.match(await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n'), /^HTTP\/1\.1 200 [^]*ok/)
  t.equal(seen[0]!.headers['http2-settings'], undefined)
  t.equal(seen[0]!.headers.upgrade, undefined)
  t.equal(upgrades, 0)
  await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: H2C, echo\r\n\r\n')
  t.equal(upgrades, 1)
})

t.test('a request that comes back is 508', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const address = server.address() as { port: number }
  const { app } = await proxy(t, { pools: { web: [`http://127.0.0.1:${address.port}`] }, routes: [{ prefix: '/', pool: 'web' }] })
  server.on('request', (request, response) => { app.routing(request, response) })
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const response = await fetch(`http://127.0.0.1:${address.port}/`)
  t.equal(response.status, 508)
  t.match(response.headers.get('proxy-status'), /error=proxy_loop_detected/)
})

t.test('errors are problem documents with Proxy-Status; upstreams are named only where the route says so', async (t) => {
  const dead = await refusing()
  const { url } = await proxy(t, {
    viaName: 'edge', pools: { web: [dead] }, random: () => 0,
    routes: [{ prefix: '/quiet', pool: 'web' }, { prefix: '/open', pool: 'web', exposeErrors: true }]
  })
  const quiet = await fetch(`${url}/quiet`)
  t.equal(quiet.headers.get('content-type'), 'application/problem+json')
  t.equal(quiet.headers.get('proxy-status'), 'edge; error=connection_refused')
  const host = new URL(dead).host
  const text = await quiet.text()
  t.same(JSON.parse(text), { type: 'about:blank', title: 'Bad Gateway', status: 502, detail: 'The upstream failed', code: 'HG_UPSTREAM_FAILED' })
  const open = await fetch(`${url}/open`)
  t.match(open.headers.get('proxy-status'), `edge; error=connection_refused; next-hop="${host}"; details="`)
  t.match(await open.json(), { code: 'HG_UPSTREAM_FAILED', reason: 'connect-refused', attempts: 3, upstream: host, cause: /ECONNREFUSED/ })
})

t.test("the app's error handler, set before or after, has the last word; so have onError hooks the first", async (t) => {
  const errors: string[] = []
  const dead = await refusing()
  for (const order of ['before', 'after'] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    const handle = (): void => { app.setErrorHandler((error: FastifyError, _request, reply) => { void reply.code(599).send({ mine: error.code }) }) }
    app.addHook('onError', async (_request, _reply, error) => { errors.push(error.code) })
    if (order === 'before') handle()
    await app.register(balancer, { pools: { web: [dead] }, routes: [{ prefix: '/', pool: 'web' }], random: () => 0 })
    if (order === 'after') handle()
    const response = await app.inject('/')
    t.equal(response.statusCode, 599)
    t.same(response.json(), { mine: 'HG_UPSTREAM_FAILED' })
  }
  t.same(errors, ['HG_UPSTREAM_FAILED', 'HG_UPSTREAM_FAILED'])
})

t.test('sendProblem and clientErrors are there for the rest of the app', async (t) => {
  const dead = await refusing()
  const { url } = await proxy(t, { pools: { web: [dead] }, random: () => 0 }, (app) => {
    app.setErrorHandler(sendProblem)
    app.get('/own', (_request, reply) => reply.forward('web'))
    app.get('/other', async () => { throw new Error('other') })
  }, { clientErrorHandler: clientErrors } as never)
  const own = await fetch(`${url}/own`)
  t.equal(own.headers.get('content-type'), 'application/problem+json')
  t.match(await own.json(), { status: 502, code: 'HG_UPSTREAM_FAILED' })
  t.match(await (await fetch(`${url}/other`)).json(), { statusCode: 500, message: 'other' })
})

t.test('a tunnel: silence ends it, traffic keeps it, half-close passes, the head is retried before the 101', async (t) => {
  const { url: to, server } = await upstream(t, () => {})
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: late\r\n\r\n')
    let text = ''
    socket.on('data', (data: Buffer) => { text += data.toString() })
    // Answers after the client's FIN only: needs a half-open connection on every leg.
    socket.on('end', () => { socket.end(`got ${text}`) })
    socket.on('error', () => {})
  })
  const { port, app } = await proxy(t, {
    pools: { web: { upstreams: [await refusing(), to], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }, { prefix: '/short', pool: 'web', tunnelTimeout: 40 }]
  })
  const pool = app.balancer.pool('web')
  const half = await new Promise<string>((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => { socket.write('GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: late\r\n\r\n') })
    let text = ''
    socket.on('data', (data: Buffer) => {
      text += data.toString()
      if (text.endsWith('\r\n\r\n')) socket.end('hello')
    })
    socket.on('end', () => { resolve(text) })
  })
  t.match(half, /^HTTP\/1\.1 101 [^]*got hello$/)
  await until(() => pool.inFlight === 0)
  const silent = await raw(port, 'GET /short HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: late\r\n\r\n')
  t.match(silent, /^HTTP\/1\.1 101 /)
  await until(() => pool.inFlight === 0)
})

t.test('closing: what runs may finish until the deadline, tunnels too; then it is cut off', async (t) => {
  const { url: to, server } = await upstream(t, () => {})
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
    socket.on('error', () => {}).on('end', () => { socket.end() }).resume()
  })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }], closeTimeout: 50 }, undefined, { forceCloseConnections: 'idle' } as never)
  const hanging = httpRequest({ port, host: '127.0.0.1' }).end()
  let answered = false
  hanging.on('error', () => {}).on('response', () => { answered = true })
  const tunnel = raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
  const pool = app.balancer.pool('web')
  await until(() => pool.inFlight === 2)
  await app.close()
  await tunnel
  await until(() => pool.inFlight === 0)
  t.equal(answered, false)
})
