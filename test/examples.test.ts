import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createServer, type IncomingMessage } from 'node:http'
import { get } from 'node:https'
import type { AddressInfo } from 'node:net'
import grpc from '@grpc/grpc-js'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import * as authAndLogging from '../examples/auth-and-logging.ts'
import * as basic from '../examples/basic.ts'
import * as cache from '../examples/cache.ts'
import * as compress from '../examples/compress.ts'
import * as discovery from '../examples/discovery.ts'
import * as grpcExample from '../examples/grpc.ts'
import * as https from '../examples/https.ts'
import * as healthChecks from '../examples/health-checks.ts'
import * as inProcess from '../examples/in-process.ts'
import * as loginSessions from '../examples/login-sessions.ts'
import * as manyPools from '../examples/many-pools.ts'
import * as mirroring from '../examples/mirroring.ts'
import * as monitoring from '../examples/monitoring.ts'
import * as nearest from '../examples/nearest.ts'
import * as outgoingRequests from '../examples/outgoing-requests.ts'
import * as runtimeChanges from '../examples/runtime-changes.ts'
import * as scaling from '../examples/scaling.ts'
import * as tracing from '../examples/tracing.ts'
import { Authority } from '../packages/tls/test/certificates.ts'
import { skipWithout } from '../tools/system.mjs'

/** A server that answers with its name and the path that reached it. */
async function upstream (test: Test, name: string): Promise<{ url: string; stop: () => void }> {
  const server = createServer((request, response) => response.end(`${name} ${request.url}`))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = () => {
    server.closeAllConnections()
    server.close()
  }
  test.teardown(stop)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop }
}

async function urls (test: Test, ...names: string[]): Promise<string[]> {
  return (await Promise.all(names.map((name) => upstream(test, name)))).map(({ url }) => url)
}

async function count (app: FastifyInstance, url: string, requests: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let i = 0; i < requests; i++) {
    const { body } = await app.inject(url)
    counts[body] = (counts[body] ?? 0) + 1
  }
  return counts
}

t.test('outgoing requests', async (t) => {
  const json = await upstream(t, 'json')
  const server = createServer((request, response) => response.end(JSON.stringify({ url: request.url })))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  json.stop()
  const alive = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const app = await outgoingRequests.build({ users: [json.url, alive], orders: [alive] })
  t.teardown(() => app.close())
  for (let i = 0; i < 4; i++) t.same((await app.inject('/overview/a%20b')).json(), { user: { url: '/users/a%20b' }, orders: { url: '/orders?user=a%20b' } })
  t.equal(app.balancer.pool('users').at(json.url)!.load.succeeded, 0)
})

t.test('basic', async (t) => {
  const app = await basic.build({ upstreams: await urls(t, 'a', 'b') })
  t.teardown(() => app.close())
  const counts = await count(app, '/x?y=1', 20)
  t.same(Object.keys(counts).sort(), ['a /x?y=1', 'b /x?y=1'])
})

t.test('auth-and-logging', async (t) => {
  const lines: object[] = []
  const app = await authAndLogging.build({ upstreams: await urls(t, 'a'), secret: 'only for this test', log: (line) => lines.push(line) })
  t.teardown(() => app.close())
  t.equal((await app.inject('/private/x')).statusCode, 401)
  const { token } = (await app.inject('/login')).json<{ token: string }>()
  const { statusCode, body } = await app.inject({ url: '/private/x', headers: { authorization: `Bearer ${token}` } })
  t.equal(statusCode, 200)
  t.equal(body, 'a /private/x')
  t.match(lines, [{ status: 401, upstream: undefined }, { status: 200 }, { url: '/private/x', status: 200, upstream: String }])
})

t.test('discovery', async (t) => {
  const [standby, a] = await urls(t, 'standby', 'a')
  const file = join(t.testdir({}), 'upstreams.json')
  const app = await discovery.build({ file, standby: standby! })
  t.teardown(() => app.close())
  t.equal((await app.inject('/')).body, 'standby /')
  const changed = once(app.balancer.pool('web'), 'discovery')
  const alive = setInterval(() => {}, 1000)
  writeFileSync(`${file}.new`, JSON.stringify([a]))
  renameSync(`${file}.new`, file)
  await changed
  clearInterval(alive)
  t.equal((await app.inject('/')).body, 'a /')
})

t.test('nearest', async (t) => {
  const [eu, asia] = await urls(t, 'eu', 'asia')
  const app = await nearest.build({ frankfurt: [eu!], tokyo: [asia!], cdn: ['127.0.0.1'] })
  t.teardown(() => app.close())
  const from = async (headers: Record<string, string>): Promise<string> => (await app.inject({ url: '/', headers })).body
  t.equal(await from({ 'cf-ipcountry': 'KR' }), 'asia /')
  t.equal(await from({ 'x-forwarded-for': '133.11.0.1' }), 'asia /', 'an address in Japan')
  t.equal(await from({ 'x-forwarded-for': '192.0.2.1' }), 'eu /', 'an address that is nowhere')
})

t.test('many-pools', async (t) => {
  const [web, canary, api] = [await upstream(t, 'web'), await upstream(t, 'canary'), await upstream(t, 'api')]
  const app = await manyPools.build({ web: [web.url], canary: [canary.url], api: [api.url] })
  t.teardown(() => app.close())
  t.equal((await app.inject('/api/users?page=2')).body, 'api /v1/users?page=2')
  t.equal((await app.inject({ url: '/', headers: { 'x-release': 'next' } })).body, 'canary /')
  const counts = await count(app, '/', 100)
  t.ok(counts['web /']! > 75, 'most pages are from the current release')
})

t.test('in-process', async (t) => {
  const { url, stop } = await upstream(t, 'a')
  const app = await inProcess.build({ upstreams: [url] })
  t.teardown(() => app.close())
  t.equal((await app.inject('/')).body, 'a /')
  await app.balancer.pool('web').drain(app.balancer.pool('web').upstreams[0]!.id)
  stop()
  const reply = await app.inject('/')
  t.equal(reply.headers['retry-after'], '30')
  t.same(reply.json(), { message: 'We are back in a minute' })
})

t.test('mirroring', async (t) => {
  const json = async (version: number): Promise<string> => {
    const server = createServer((request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ requestId: version, path: request.url, ...version === 2 && request.url === '/b' && { extra: [1] } }))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => { server.closeAllConnections(); server.close() })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }
  const app = await mirroring.build({ current: [await json(1)], next: [await json(2)] })
  t.teardown(() => app.close())
  t.match((await app.inject('/a')).json(), { requestId: 1, path: '/a' })
  t.match((await app.inject('/b')).json(), { requestId: 1, path: '/b' })
  interface Shadow { readonly counts: Record<string, number>; readonly differences: string[] }
  const look = async (): Promise<Shadow> => (await app.inject('/-/shadow')).json()
  for (let seen = await look(); seen.counts['same']! + seen.counts['different']! < 2; seen = await look()) await new Promise((resolve) => { setTimeout(resolve, 5) })
  t.match(await look(), { counts: { answered: 2, same: 1, different: 1 }, differences: ['GET /b: body /extra added'] })
})

t.test('runtime-changes', async (t) => {
  const [a, b] = await urls(t, 'a', 'b')
  const app = await runtimeChanges.build({ upstreams: [a!] })
  t.teardown(() => app.close())
  type Shown = { id: string; url: string; weight: number }[]
  const added = await app.inject({ method: 'POST', url: '/upstreams', payload: { url: b, weight: 3 } })
  const [first, second] = added.json<Shown>()
  t.equal(second!.weight, 3)
  t.same(await count(app, '/', 40), { 'a /': 10, 'b /': 30 })
  await app.inject({ method: 'PUT', url: `/upstreams/${second!.id}/weight`, payload: { weight: 1 } })
  t.same(await count(app, '/', 40), { 'a /': 20, 'b /': 20 })
  const left = await app.inject({ method: 'DELETE', url: `/upstreams/${first!.id}` })
  t.same(left.json<Shown>().map(({ id }) => id), [second!.id])
  t.same(await count(app, '/', 10), { 'b /': 10 })
})

t.test('health-checks', async (t) => {
  let status = 'up'
  const server = createServer((request, response) => response.end(request.url === '/healthz' ? JSON.stringify({ status }) : 'a'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const app = await healthChecks.build({
    upstreams: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`], database: () => Promise.resolve(true)
  })
  t.teardown(() => app.close())
  await app.ready()
  t.equal((await app.inject('/x')).body, 'a')
  t.same((await app.inject('/reports')).json(), { reports: [] })
  t.same((await app.inject('/readyz')).json(), { status: 'ready', pools: { web: 1 } })
  t.same((await app.inject('/livez')).json(), { status: 'live' })
  const shown = (): { id: string; state: string } => app.health.snapshot().pools['web']!.upstreams[0]!
  const forced = await app.inject({ method: 'PUT', url: `/health/upstreams/${shown().id}`, payload: { state: 'maintenance' } })
  t.match(forced.json(), { upstreams: [{ state: 'maintenance', forced: 'maintenance', reason: 'by hand' }] })
  t.equal((await app.inject('/readyz')).statusCode, 503)
  t.equal((await app.inject({ url: '/health/upstreams', remoteAddress: '10.0.0.1' })).statusCode, 403)
  await app.inject({ method: 'PUT', url: `/health/upstreams/${shown().id}`, payload: { state: null } })
  t.equal(shown().state, 'up')
  status = 'down'
  while (shown().state !== 'down') await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal((await app.inject('/x')).statusCode, 503)
})

t.test('cache', async (t) => {
  let asked = 0
  const server = createServer((request, response) => { response.setHeader('cache-control', 'max-age=60').end(`answer ${++asked} to ${request.url}`) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const app = await cache.build({ upstreams: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`], secret: 'only for this test' })
  t.teardown(() => app.close())
  const [miss, hit] = [await app.inject('/page'), await app.inject('/page?utm_source=mail')]
  t.equal(hit.body, miss.body)
  t.match([miss.headers['cache-status'], hit.headers['cache-status']], [/fwd=uri-miss; stored/, /; hit/])
  const first = await app.inject('/prices')
  t.equal((await app.inject('/prices')).body, first.body)
  t.match((await app.inject({ url: '/prices', headers: { cookie: 'session=x' } })).headers['cache-status'], /fwd=bypass; detail=cookie/)
  const purge = (headers: Record<string, string>) => app.inject({ method: 'POST', url: '/_cache/purge', headers, payload: { tags: ['prices'] } })
  t.equal((await purge({})).statusCode, 401)
  t.same((await purge({ authorization: 'Bearer only for this test' })).json(), { purged: 1 })
  t.match((await app.inject('/prices')).headers['cache-status'], /fwd=uri-miss/)
  t.equal((await app.inject('/account')).headers['cache-status'], undefined)
})

t.test('compress', async (t) => {
  const page = '<p>a page that comes again and again</p>'.repeat(100)
  const server = createServer((request, response) => {
    response.setHeader('x-asked', String(request.headers['accept-encoding'])).setHeader('content-type', 'text/html').end(page)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const sizes: [string, number, number][] = []
  const app = await compress.build({
    upstreams: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`],
    report: (encoding, before, after) => sizes.push([encoding, before, after])
  })
  t.teardown(() => app.close())
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(url, { headers: { 'accept-encoding': 'br, gzip, nonsense' } })
  t.equal(await response.text(), page)
  t.equal(response.headers.get('content-encoding'), 'br')
  t.equal(response.headers.get('x-asked'), 'br, gzip')
  t.match(sizes, [['br', page.length, Number]])
  const account = await app.inject({ url: '/account', headers: { 'accept-encoding': 'gzip', cookie: 'session=1' } })
  t.equal(account.headers['content-encoding'], undefined, 'secrets and input in one body')
  const stored = await app.inject({ url: '/stored', headers: { 'accept-encoding': 'gzip' } })
  t.equal(stored.headers['content-encoding'], 'gzip')
  t.equal(stored.headers.vary, 'Accept-Encoding')
})

t.test('login-sessions', async (t) => {
  const apps = await Promise.all(['alpha', 'beta'].map(loginSessions.startApp))
  t.teardown(() => { for (const { process } of apps) process.kill('SIGKILL') })
  const app = await loginSessions.build({ upstreams: apps.map(({ url }) => url), keys: ['a secret of at least thirty-two bytes'] })
  t.teardown(() => app.close())
  const jar = new Map<string, string>()
  const go = async (method: 'GET' | 'POST', url: string, payload?: string): Promise<string> => {
    const response = await app.inject({
      method,
      url,
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; '), 'content-type': 'application/x-www-form-urlencoded' },
      ...payload !== undefined && { payload }
    })
    for (const { name, value } of response.cookies) jar.set(name, value)
    return response.statusCode === 303 ? go('GET', String(response.headers.location)) : response.body
  }
  t.match(await go('GET', '/'), /<form method="post" action="\/login">/)
  const welcome = await go('POST', '/login', 'user=Ada+%3C')
  t.match(welcome, /Hello Ada &#60;, you are logged in/)
  for (let i = 0; i < 6; i++) t.equal(await go('GET', '/'), welcome, 'the same process, still logged in')
  const home = /process (\w+)/.exec(welcome)![1]!
  const { process } = apps[home === 'alpha' ? 0 : 1]!
  process.kill('SIGKILL')
  await once(process, 'exit')
  t.match(await go('GET', '/'), /<form method="post" action="\/login">/, 'its sessions are gone')
  const again = await go('POST', '/login', 'user=Ada')
  t.notMatch(again, new RegExp(`process ${home}`))
  t.equal(await go('GET', '/'), again)
})

t.test('monitoring', async (t) => {
  const lines: object[] = []
  const app = await monitoring.build({ upstreams: await urls(t, 'a'), operators: { ann: 'secret' }, log: (line) => lines.push(line) })
  t.teardown(() => app.close())
  const authorization = `Basic ${Buffer.from('ann:secret').toString('base64')}`
  const { headers } = await app.inject('/x')
  t.match(headers['server-timing'], /attempt1;dur=/)
  t.match(lines, [{ url: '/x', status: 200, upstream_pool: 'web', upstream_status: '200', upstream_header_time: /^\d+\.\d{3}$/, upstream_choice: 'policy', upstream_reason: '-' }])
  for (const url of ['/metrics', '/headgate/', '/headgate/api/pools']) {
    t.equal((await app.inject(url)).statusCode, 401, url)
    t.equal((await app.inject({ url, headers: { authorization } })).statusCode, 200, url)
  }
  const id = app.balancer.pool('web').upstreams[0]!.id
  await app.inject({
    method: 'PATCH', url: `/headgate/api/pools/web/upstreams/${id}`, headers: { authorization, 'x-headgate-admin': '1' }, payload: { state: 'drain', reason: 'new disk' }
  })
  t.match(app.balancer.pool('web').upstreams[0]!.health.reason, 'drained by ann: new disk')
})

t.test('scaling: processes are started as advised, and end with the app', async (t) => {
  const app = await scaling.build({ min: 2, max: 3 })
  t.teardown(() => app.close())
  await app.ready()
  const pool = app.balancer.pool('web')
  while (pool.upstreams.length < 2) await new Promise((resolve) => { setTimeout(resolve, 50) })
  t.match(app.scaling.get('web'), { desired: 2 })
  const pids = new Set<number>()
  while (pids.size < 2) pids.add(Number((await app.inject('/')).body))
  await app.close()
  const lives = (pid: number): boolean => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }
  while ([...pids].some(lives)) await new Promise((resolve) => { setTimeout(resolve, 50) })
  t.pass('they are gone')
})

t.test('tracing', async (t) => {
  const spans: { readonly name: string; readonly kind: number; readonly attributes: Readonly<Record<string, unknown>>; readonly traceId: string }[] = []
  const [a] = await urls(t, 'a')
  const gone = await upstream(t, 'gone')
  gone.stop()
  const app = await tracing.build({
    upstreams: [gone.url, a!],
    exporter: {
      export (batch, done) {
        for (const span of batch) spans.push({ name: span.name, kind: span.kind, attributes: span.attributes, traceId: span.spanContext().traceId })
        // Success; the name of it is in a package that nothing else here needs.
        // eslint-disable-next-line typescript/no-unsafe-enum-assignment
        done({ code: 0 })
      },
      shutdown: async () => {}
    }
  })
  t.equal((await app.inject('/x')).body, 'a /x')
  await app.close()
  const attempts = spans.filter(({ attributes }) => attributes['headgate.pool'] === 'web')
  t.match(attempts.map(({ attributes }) => attributes), [
    { 'headgate.attempt': 1, 'error.type': 'connect-refused' }, { 'headgate.attempt': 2, 'http.response.status_code': 200 }
  ])
  t.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1)
})

t.test('grpc', async (t) => {
  const text = { requestSerialize: Buffer.from, requestDeserialize: String, responseSerialize: Buffer.from, responseDeserialize: String }
  const service = {
    hello: { path: '/demo.Greeter/Hello', requestStream: false, responseStream: false, ...text },
    count: { path: '/demo.Greeter/Count', requestStream: false, responseStream: true, ...text }
  }
  // Its health protocol, written by hand: one field, a number, where 1 is SERVING.
  const healthService = { check: { path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false, ...text, requestDeserialize: () => ({}), responseSerialize: (value: Buffer) => value } }
  type Callback = (error: object | null, value?: string | Buffer) => void
  const replica = async (name: string, serving: boolean): Promise<string> => {
    const server = new grpc.Server()
    server.addService(service as never, {
      hello: ({ request }: { request: string }, callback: Callback) => { callback(serving ? null : { code: grpc.status.UNAVAILABLE, details: 'starting' }, `${request} from ${name}`) },
      count: (call: { write (text: string): void; end (): void }) => {
        for (const text of ['one', 'two', 'three']) call.write(text)
        call.end()
      }
    })
    server.addService(healthService as never, { check: (_call: unknown, callback: Callback) => { callback(null, Buffer.from([8, serving ? 1 : 2])) } })
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => { if (error === null) resolve(port); else reject(error) })
    })
    t.teardown(() => { server.forceShutdown() })
    return `http://127.0.0.1:${port}`
  }
  const app = await grpcExample.build({ upstreams: [await replica('a', true), await replica('b', false)] })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  // What a generic client has comes from the table above, which no type follows.
  // eslint-disable-next-line typescript/no-explicit-any
  const client = new (grpc.makeGenericClientConstructor(service as never, 'Greeter'))(`127.0.0.1:${(app.server.address() as AddressInfo).port}`, grpc.credentials.createInsecure()) as any
  t.teardown(() => { client.close() })
  for (let i = 0; i < 6; i++) {
    const answer = await new Promise((resolve, reject) => {
      client.hello('hi', { deadline: Date.now() + 60_000 }, (error: Error | null, value: string) => { if (error === null) resolve(value); else reject(error) })
    })
    t.equal(answer, 'hi from a', 'a replica that cannot take a call is not all there is')
  }
  const pool = app.balancer.pool('rpc')
  while (pool.ready.length !== 1) await new Promise((resolve) => { setTimeout(resolve, 10) })
  t.same(await client.count('to three').toArray(), ['one', 'two', 'three'], 'its health check takes it out')
})

t.test('https', { skip: skipWithout('openssl') }, async (t) => {
  const authority = new Authority(t)
  const [shop, intranet] = await urls(t, 'shop', 'intranet')
  const app = await https.build({
    shop: authority.issue(['shop.example']).files, intranet: authority.issue(['intranet.example']).files, staff: authority.ca,
    upstreams: { shop: [shop!], intranet: [intranet!] }, plain: '127.0.0.1:0'
  })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const ask = async (host: string, pair: object = {}): Promise<string> => {
    const request = get({ host: '127.0.0.1', port, agent: false, servername: host, headers: { host }, ca: authority.ca, ...pair })
    const [response] = await once(request, 'response') as [IncomingMessage]
    response.setEncoding('utf8')
    return `${response.statusCode} ${response.headers['strict-transport-security']} ${(await response.toArray()).join('')}`
  }
  t.equal(await ask('shop.example'), '200 max-age=63072000 shop /')
  t.match(await ask('intranet.example'), /^403/)
  t.equal(await ask('intranet.example', authority.issue([], { subject: '/CN=alice' })), '200 max-age=63072000 intranet /')
  const plain = await fetch(`${app.tls.redirectAddress!}/x`, { redirect: 'manual' })
  t.equal(plain.status, 308)
  t.equal(plain.headers.get('location'), `https://127.0.0.1:${port}/x`)
})
