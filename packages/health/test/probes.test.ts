import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer as createSecureServer } from 'node:https'
import { createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Server as GrpcServer, ServerCredentials, status as grpcStatus } from '@grpc/grpc-js'
import { Deadlines, Pool, createTransport, systemClock, type PoolOptions, type UpstreamSpec, type Upstream } from '@headgate/core'
import fastify from 'fastify'
import { HealthImplementation } from 'grpc-health-check'
import t, { type Test } from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { checkCheck, type CheckOptions, checkSettings } from '../src/check-options.ts'
import type { ProbeResult, ProbeTarget } from '../src/probes/contract.ts'
import { readStatus, requestFrame } from '../src/probes/grpc.ts'
import { probes } from '../src/probes/index.ts'
import { ca, cert, key } from './certificate.ts'
import { listen, until, upstream } from './helpers.ts'

/** What a check is given, for the only upstream of a pool. */
function target (options: CheckOptions, pool: Pool, path = 'options.check'): { probe: ReturnType<typeof checkSettings>['probe']; target: ProbeTarget } {
  checkCheck(options, path)
  const settings = checkSettings(options, path, pool.settings.connection.tls ?? {})
  const [only] = pool.upstreams as [Upstream]
  const where = settings.addressOf(only)
  const transport = where.address.protocol === 'app:' ? only.transport : createTransport(undefined, where.address, { tls: settings.tls, keepAliveTimeout: 0 }, systemClock)
  return {
    probe: settings.probe,
    target: { pool, upstream: only, ...where, tls: settings.tls, timeout: settings.timeout, clock: systemClock, transport }
  }
}

function poolOf (t: Test, spec: UpstreamSpec, options: Partial<PoolOptions> = {}): Pool {
  const pool = new Pool('p', { upstreams: [spec], ...options }, 'pool', { clock: systemClock, random: Math.random }, new Deadlines(systemClock))
  t.teardown(() => pool.close())
  return pool
}

/** Runs one check against one upstream, with a time limit as the schedule has. */
async function check (t: Test, spec: UpstreamSpec, options: CheckOptions, poolOptions: Partial<PoolOptions> = {}): Promise<ProbeResult> {
  const { probe, target: what } = target(options, poolOf(t, spec, poolOptions))
  const controller = new AbortController()
  const timer = setTimeout(() => { controller.abort() }, options.timeout ?? 10_000)
  try {
    return await probe.check(what, controller.signal)
  } finally {
    clearTimeout(timer)
    if (what.transport !== what.upstream.transport) what.transport.destroy()
  }
}

t.test('http: statuses, what is sent, and that redirects are not followed', async (t) => {
  const seen: string[] = []
  const { url, port } = await upstream(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host} ${String(request.headers['x-check'] ?? '')} ${request.headers['user-agent']}`)
    response.writeHead(Number(/\d{3}/.exec(request.url!)?.[0] ?? 200), { location: '/200' })
    response.end('body')
  })
  t.same(await check(t, url, { path: '/' }), { ok: true, reason: 'status 200' })
  t.same(await check(t, url, { path: '/302' }), { ok: true, reason: 'status 302' })
  t.same(await check(t, url, { path: '/503' }), { ok: false, reason: 'status 503' })
  t.same(await check(t, url, { path: '/204', statuses: [200, '301-302'] }), { ok: false, reason: 'status 204' })
  t.same(await check(t, url, { path: '/301', statuses: [200, '301-302'] }), { ok: true, reason: 'status 301' })
  t.same(await check(t, url, { path: '/x', method: 'HEAD', host: 'health.example', headers: { 'X-Check': 'yes' } }), { ok: true, reason: 'status 200' })
  t.equal(seen.length, 6, 'no redirect was followed')
  t.equal(seen[0], `GET / 127.0.0.1:${port}  headgate-health`)
  t.equal(seen[5], 'HEAD /x health.example yes headgate-health')
})

t.test('http: what the body has to hold', async (t) => {
  const { url } = await upstream(t, (request, response) => {
    response.end(request.url === '/json' ? '{"status":"up","checks":{"db":true}}' : request.url === '/long' ? 'x'.repeat(100) + 'found' : 'all is well')
  })
  const ok = async (options: CheckOptions): Promise<boolean> => (await check(t, url, options)).ok
  t.equal(await ok({ path: '/', body: 'is well' }), true)
  t.equal(await ok({ path: '/', body: 'is ill' }), false)
  const pattern = /^ALL/gi
  for (let i = 0; i < 3; i++) t.equal(await ok({ path: '/', body: pattern }), true, 'a pattern with g is the same each time')
  t.equal(await ok({ path: '/json', body: (json) => (json as { status: string }).status === 'up' }), true)
  t.equal(await ok({ path: '/json', body: (json) => (json as { status: string }).status === 'down' }), false)
  t.same(await check(t, url, { path: '/', body: () => true }), { ok: false, reason: 'the body is not JSON' })
  t.match(await check(t, url, { path: '/json', body: () => { throw new Error('oops') } }), { ok: false, reason: /threw: oops/ })
  t.equal(await ok({ path: '/long', body: 'found' }), true)
  t.equal(await ok({ path: '/long', body: 'found', bodyLimit: 102 }), false, 'only the first bytes count')
  t.match(await check(t, url, { path: '/json', bodyLimit: 8, body: () => true }), { ok: false, reason: /longer than bodyLimit/ })
})

t.test('http: another port, another url, a Unix socket, an app of this process', async (t) => {
  const { port } = await upstream(t, (request, response) => response.writeHead(request.url === '/own?id=x1' ? 201 : 404).end())
  const dead = { url: 'http://127.0.0.1:1', id: 'x1' }
  t.same(await check(t, dead, { path: '/own?id=x1', port }), { ok: true, reason: 'status 201' })
  t.same(await check(t, dead, { path: '/', url: `http://{host}:${port}/own?id={id}` }), { ok: true, reason: 'status 201' })
  t.same(await check(t, dead, { type: 'http', url: ({ id }) => `http://127.0.0.1:${port}/own?id=${id}` }), { ok: true, reason: 'status 201' })
  const { server } = await upstream(t, (_, response) => response.end())
  // A socket's path may have 107 bytes, which a test's own folder exceeds.
  const socketPath = join(tmpdir(), `headgate-health-${process.pid}.sock`)
  const unix = createServer((socket) => { server.emit('connection', socket) })
  await new Promise<void>((resolve) => { unix.listen(socketPath, resolve) })
  t.teardown(() => unix.close())
  t.same(await check(t, `unix:${socketPath}`, { path: '/' }), { ok: true, reason: 'status 200' })
  t.same(await check(t, `unix:${socketPath}`, { type: 'tcp' }), { ok: true, reason: 'connected' })
  const app = fastify()
  app.get('/well', () => 'yes')
  t.same(await check(t, { app, id: 'app' }, { path: '/well', body: 'yes' }), { ok: true, reason: 'status 200' })
  t.same(await check(t, { app, id: 'app' }, { path: '/ill' }), { ok: false, reason: 'status 404' })
  for (const type of ['tcp', 'grpc'] as const) {
    const { probe, target: { upstream } } = target({ type }, poolOf(t, { app, id: 'app' }))
    t.equal(probe.applies(upstream), false, `${type} cannot reach it, so it is not checked`)
  }
})

t.test('https: verified by default, with the TLS settings of the pool and of the check', async (t) => {
  const server = createSecureServer({ key, cert }, (_, response) => response.end('well'))
  const { port } = await listen(server)
  t.teardown(() => server.close())
  const url = `https://localhost:${port}`
  t.match(await check(t, url, { path: '/' }), { ok: false, reason: /^tls: .*self.signed/i })
  t.match(await check(t, url, { type: 'tcp' }), { ok: false, reason: /self.signed/i })
  t.same(await check(t, url, { path: '/' }, { connection: { tls: { ca } } }), { ok: true, reason: 'status 200' })
  t.same(await check(t, url, { type: 'tcp' }, { connection: { tls: { ca } } }), { ok: true, reason: 'connected' })
  t.same(await check(t, url, { path: '/', tls: { ca } }), { ok: true, reason: 'status 200' })
  t.match(await check(t, url, { path: '/', tls: { servername: 'other.example' } }, { connection: { tls: { ca } } }), { ok: false, reason: /^tls: / })
})

t.test('tcp: a connection, what is answered, and what is not', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.setEncoding('latin1').on('data', (text: string) => {
      if (text.startsWith('PING')) {
        socket.write('+PO')
        setImmediate(() => socket.write('NG\r\n'))
      }
      if (text.startsWith('QUIT')) socket.end('bye')
      if (text.startsWith('FLOOD')) for (let i = 0; i < 64; i++) socket.write('z'.repeat(1024))
    })
  })
  const { port } = await listen(server)
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${port}`
  t.same(await check(t, url, {}), { ok: true, reason: 'connected' })
  t.same(await check(t, url, { send: 'PING\r\n', expect: '+PONG' }), { ok: true, reason: 'the expected answer came' })
  t.same(await check(t, url, { send: 'PING\r\n', expect: /^\+PONG\r/ }), { ok: true, reason: 'the expected answer came' })
  t.match(await check(t, url, { send: 'QUIT\r\n', expect: '+PONG' }), { ok: false, reason: 'closed after "bye"' })
  t.match(await check(t, url, { send: 'FLOOD\r\n', expect: '+PONG' }), { ok: false, reason: /first 16384 bytes/ })
  t.match(await check(t, url, { send: 'nothing', expect: '+PONG', timeout: 50 }), { ok: false, reason: /closed without/ })
  t.match(await check(t, 'http://127.0.0.1:1', {}), { ok: false, reason: /ECONNREFUSED/ })
})

t.test('grpc: a real server, for the whole and for services', async (t) => {
  const health = new HealthImplementation({ '': 'SERVING', good: 'SERVING', bad: 'NOT_SERVING' })
  const server = new GrpcServer()
  health.addToServer(server)
  const bind = (credentials: ServerCredentials): Promise<number> => new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, port) => {
      if (error === null) resolve(port)
      else reject(error)
    })
  })
  const port = await bind(ServerCredentials.createInsecure())
  const secure = await bind(ServerCredentials.createSsl(null, [{ private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }]))
  t.teardown(() => { server.forceShutdown() })
  const url = `http://127.0.0.1:${port}`
  t.same(await check(t, url, { type: 'grpc' }), { ok: true, reason: 'SERVING' })
  t.same(await check(t, url, { type: 'grpc', service: 'good' }), { ok: true, reason: 'SERVING' })
  t.same(await check(t, url, { type: 'grpc', service: 'bad' }), { ok: false, reason: 'NOT_SERVING' })
  t.match(await check(t, url, { type: 'grpc', service: 'none' }), { ok: false, reason: new RegExp(`gRPC status ${grpcStatus.NOT_FOUND}`) })
  health.setStatus('', 'NOT_SERVING')
  t.same(await check(t, url, { type: 'grpc' }), { ok: false, reason: 'NOT_SERVING' })
  t.same(await check(t, `https://localhost:${secure}`, { type: 'grpc', service: 'good' }, { connection: { tls: { ca } } }), { ok: true, reason: 'SERVING' })
  t.match(await check(t, `https://localhost:${secure}`, { type: 'grpc', service: 'good' }), { ok: false, reason: /self.signed/i })
  t.match(await check(t, 'http://127.0.0.1:1', { type: 'grpc' }), { ok: false, reason: /ECONNREFUSED/ })
  const { url: plain } = await upstream(t, (_, response) => response.end('not gRPC'))
  t.match(await check(t, plain, { type: 'grpc' }), { ok: false })
})

t.test('grpc: frames', async (t) => {
  t.equal(requestFrame('').toString('hex'), '0000000000')
  t.equal(requestFrame('ab').toString('hex'), '00000000040a026162')
  const read = (hex: string): number | undefined => readStatus(Buffer.from(hex, 'hex'))
  t.equal(read('00000000020801'), 1)
  t.equal(read('0000000000'), 0, 'UNKNOWN is left out')
  t.equal(read('000000000512020000'), undefined, 'a length that is wrong')
  t.equal(read('00000000060801120201ff'), 1, 'fields that are not known')
  for (const bad of ['', '00', '01000000020801', '0000000002080', '0000000003080180', '00000000021205']) t.equal(read(bad), undefined, bad)
})

t.test('exec: exit status, environment, and an end for all that it started', async (t) => {
  const dir = t.testdir({
    'check.sh': '#!/bin/sh\necho "$HEADGATE_POOL $HEADGATE_UPSTREAM $HEADGATE_URL $HEADGATE_HOST $HEADGATE_PORT $OWN $SECRET $1" > "$OUT"\n',
    'sick.sh': '#!/bin/sh\necho "disk is full" >&2\nexit 3\n',
    'slow.sh': '#!/bin/sh\nsleep 600 &\necho $! > "$OUT"\nwait\n',
    'loud.sh': '#!/bin/sh\nhead -c 20000000 /dev/zero\n'
  })
  for (const name of ['check.sh', 'sick.sh', 'slow.sh', 'loud.sh']) chmodSync(join(dir, name), 0o755)
  const out = join(dir, 'out')
  process.env['SECRET'] = 'of this process'
  t.teardown(() => { delete process.env['SECRET'] })
  const spec = { url: 'http://10.0.0.1:81', id: 'x' }
  t.same(await check(t, spec, { type: 'exec', command: join(dir, 'check.sh'), args: ['a b'], env: { OUT: out, OWN: 'own' } }), { ok: true, reason: 'exit status 0' })
  t.equal(readFileSync(out, 'utf8').trim(), 'p x http://10.0.0.1:81 10.0.0.1 81 own  a b', 'and nothing of the environment of this process')
  t.same(await check(t, spec, { type: 'exec', command: join(dir, 'sick.sh') }), { ok: false, reason: 'exit status 3: disk is full' })
  t.same(await check(t, spec, { type: 'exec', command: join(dir, 'loud.sh') }), { ok: true, reason: 'exit status 0' })
  writeFileSync(out, '')
  const { probe, target: what } = target({ type: 'exec', command: join(dir, 'slow.sh'), env: { OUT: out } }, poolOf(t, spec))
  const controller = new AbortController()
  const result = probe.check(what, controller.signal)
  await until(() => readFileSync(out, 'utf8').includes('\n'))
  const child = Number(readFileSync(out, 'utf8'))
  controller.abort()
  t.match(await result, { ok: false, reason: 'ended by SIGKILL' })
  await until(() => !alive(child))
  t.pass('what the program started has ended as well')
  t.throws(() => target({ type: 'exec', command: 'no-such-program-here' }, poolOf(t, spec)), { code: 'HG_HEALTH_MISSING_PROGRAM', message: /options\.check\.command: the program 'no-such-program-here'/ })
})

function alive (pid: number): boolean {
  try {
    // A zombie that nobody waits for has ended.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

t.test("ping: by the system's own", { skip: skipWithout('ping') }, async (t) => {
  const good = await check(t, 'http://127.0.0.1:1', { type: 'ping' })
  // In a container without the right to open ICMP sockets the program itself fails, and says so.
  if (good.ok) t.match(good.reason, /^echo after [\d.]+ ms$/)
  else t.match(good.reason, /permitted|socket/i)
  t.match(await check(t, 'http://no-such-host.invalid', { type: 'ping' }), { ok: false })
})

t.test('ping: without the program the app does not start', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = t.testdir({})
  try {
    t.throws(() => target({ type: 'ping' }, poolOf(t, 'http://127.0.0.1:1')), { code: 'HG_HEALTH_MISSING_PROGRAM', message: /'ping' is not in PATH; install it \(Debian: iputils-ping\)/ })
  } finally {
    process.env['PATH'] = path
  }
})

t.test('function: what it may say', async (t) => {
  const run = async (verdict: () => unknown): Promise<ProbeResult> => check(t, 'http://a', { type: 'function', run: verdict as never })
  t.same(await run(() => true), { ok: true, reason: 'the check passed' })
  t.same(await run(() => undefined), { ok: true, reason: 'the check passed' })
  t.same(await run(() => Promise.resolve({ ok: false, reason: 'replica lags' })), { ok: false, reason: 'replica lags' })
  t.same(await run(() => false), { ok: false, reason: 'the check failed' })
  t.match(await run(() => 'yes'), { ok: false, reason: /gave string/ })
  t.match(await run(() => ({ status: 'ok' })), { ok: false, reason: /without ok/ })
})

/** Servers that do not play by the rules. */
const hostile: Record<string, (socket: Socket) => void> = {
  'says nothing': () => {},
  'closes at once': (socket) => { socket.destroy() },
  'resets': (socket) => { socket.resetAndDestroy() },
  'garbage': (socket) => { socket.write(Buffer.from([0, 255, 1, 2, 3, 200, 10, 13, 10])) },
  'an endless head': (socket) => { flood(socket, 'HTTP/1.1 200 OK\r\n', 'x-a: b\r\n') },
  'a head that drips': (socket) => { socket.write('HTTP/1.1 200') },
  'an endless body': (socket) => { flood(socket, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', '400\r\n' + 'y'.repeat(1024) + '\r\n') },
  '100 MB of body': (socket) => { flood(socket, 'HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n', 'y'.repeat(1024)) },
  'a broken chunk': (socket) => { socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n') },
  'a switch of protocols': (socket) => { socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n') },
  'many interim answers': (socket) => { flood(socket, '', 'HTTP/1.1 102 Processing\r\n\r\n') }
}

function flood (socket: Socket, first: string, then: string): void {
  const piece = Buffer.from(then.repeat(Math.ceil(4096 / then.length)))
  let sent = 0
  socket.write(first)
  const more = (): void => {
    let room = true
    while (room && !socket.destroyed && sent < 110_000_000) {
      room = socket.write(piece)
      sent += piece.length
    }
  }
  socket.on('drain', more)
  more()
}

t.test('conformance: every kind survives servers that do not play by the rules, and lets go of its sockets', async (t) => {
  const kinds: Record<string, CheckOptions> = {
    http: { path: '/', body: 'never in it' },
    'http with JSON': { type: 'http', body: () => true },
    tcp: { send: 'x', expect: 'never in it' },
    grpc: { type: 'grpc' }
  }
  for (const [how, serve] of Object.entries(hostile)) {
    let open = 0
    const server = createServer((socket) => {
      open++
      socket.on('error', () => {})
      socket.on('close', () => { open-- })
      socket.resume()
      serve(socket)
    })
    const { port } = await listen(server)
    for (const [kind, options] of Object.entries(kinds)) {
      const { probe, target: what } = target({ ...options, timeout: 150 } as CheckOptions, poolOf(t, `http://127.0.0.1:${port}`))
      const controller = new AbortController()
      const timer = setTimeout(() => { controller.abort() }, 150)
      const { ok, reason } = await probe.check(what, controller.signal)
      clearTimeout(timer)
      t.equal(ok, false, `${kind}, ${how}: ${reason}`)
      t.ok(reason.length > 0 && reason.length < 400)
      controller.abort()
      await until(() => open === 0)
    }
    await new Promise((resolve) => { server.close(resolve) })
  }
})

t.test('conformance: TLS that fails', async (t) => {
  const plain = createServer((socket) => {
    socket.on('error', () => {})
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
  })
  const { port } = await listen(plain)
  t.teardown(() => plain.close())
  const stubborn = createTlsServer({ key, cert }, (socket) => { socket.destroy() })
  stubborn.on('tlsClientError', () => {})
  const { port: closing } = await listen(stubborn)
  t.teardown(() => stubborn.close())
  for (const options of [{ path: '/' }, { type: 'tcp', expect: 'x' }, { type: 'grpc' }] as CheckOptions[]) {
    t.match(await check(t, `https://127.0.0.1:${port}`, options), { ok: false })
    t.match(await check(t, `https://localhost:${closing}`, options, { connection: { tls: { ca } } }), { ok: false })
  }
})

t.test('conformance: every kind has a sentence and a schema for each option', async (t) => {
  for (const [name, { kind, describe, properties, required }] of Object.entries(probes)) {
    t.equal(kind, name)
    t.ok(describe.endsWith('.'))
    for (const option of required) t.ok(Object.hasOwn(properties, option))
  }
})
