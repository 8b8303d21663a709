import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { proxy, raw, upstream } from './helpers.ts'

async function body (request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

t.test('requests spread over the upstreams by weight', async (t) => {
  const names = ['a', 'b'].map((name) => upstream(t, (_request, response) => { response.end(name) }))
  const [a, b] = await Promise.all(names)
  const { url } = await proxy(t, { pools: { web: { upstreams: [a!.url, `${b!.url};weight=3`], policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }] })
  const seen: Record<string, number> = {}
  for (let i = 0; i < 40; i++) {
    const name = await (await fetch(`${url}/x`)).text()
    seen[name] = (seen[name] ?? 0) + 1
  }
  t.same(seen, { a: 10, b: 30 })
})

t.test('method, path, query, body and duplicate fields pass byte for byte', async (t) => {
  let head: IncomingMessage | undefined
  let received: Buffer = Buffer.alloc(0)
  const { url: to } = await upstream(t, async (request, response) => {
    head = request
    received = await body(request)
    response.setHeader('set-cookie', ['a=1', 'b=2'])
    response.statusCode = 207
    response.end(received)
  })
  const { url, port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  for (const size of [0, 1, 1024, 300_000]) {
    const payload = randomBytes(size)
    const response = await fetch(`${url}/a%2Fb/%C3%A9?x=1&x=2&y=%20`, { method: 'PUT', body: payload, headers: { 'content-type': 'application/json' } })
    t.equal(response.status, 207)
    t.same(response.headers.getSetCookie(), ['a=1', 'b=2'])
    t.ok(Buffer.from(await response.arrayBuffer()).equals(payload), `${size} bytes came back`)
    t.ok(received.equals(payload))
    t.equal(head!.url, '/a%2Fb/%C3%A9?x=1&x=2&y=%20')
  }
  await raw(port, 'POST /c HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\nConnection: close, X-Secret\r\nX-Secret: s\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
  t.equal(received.toString(), 'abc')
  t.equal(head!.headers['x-a'], '1, 2')
  t.equal(head!.headers['x-secret'], undefined, 'what Connection names is stripped')
  t.equal(head!.headers['x-forwarded-for'], '127.0.0.1')
  t.equal(head!.headers['x-forwarded-host'], 'h')
  t.match(head!.headers.via, /^1\.1 headgate-/)
})

t.test('the prefix is rewritten, and no spelling of dots leaves it', async (t) => {
  const { url: to } = await upstream(t, (request, response) => { response.end(request.url) })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/api', pool: 'web', rewritePrefix: '/v1' }] })
  const ask = async (target: string): Promise<string> => raw(port, `GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
  t.match(await ask('/api/x?y=/../z'), /\r\n\r\n\/v1\/x\?y=\/\.\.\/z$/)
  t.match(await ask('/%61pi/x'), /\r\n\r\n\/v1\/x$/)
  t.match(await ask('http://h/api/x'), /\r\n\r\n\/v1\/x$/)
  t.match(await ask('/apix'), /^HTTP\/1.1 404/)
  for (const bad of ['/api/../x', '/api/%2e%2e/x', '/api/.%2E/x', '/api/..%2fx', '/api/..;a/x', '/api/a/..', '/api/..%5cx', '/api/\\..\\x']) {
    t.match(await ask(bad), /^HTTP\/1.1 400/, bad)
  }
  t.match(await ask('http://other/api/x'), /^HTTP\/1.1 400/, 'conflicting Host')
})

t.test('HEAD, 204 and 304 have no body and keep their fields', async (t) => {
  const { url: to } = await upstream(t, (request, response) => {
    if (request.url === '/304') response.writeHead(304, { etag: '"x"' })
    else if (request.url === '/204') response.writeHead(204)
    else response.writeHead(200, { 'content-length': 5 })
    response.end(request.method === 'HEAD' || request.url !== '/' ? undefined : 'hello')
  })
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const head = await fetch(url, { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), '5')
  t.equal((await fetch(`${url}/204`)).status, 204)
  const response = await fetch(`${url}/304`)
  t.equal(response.status, 304)
  t.equal(response.headers.get('etag'), '"x"')
  t.equal(await (await fetch(url)).text(), 'hello')
})

t.test('hooks fire and headers survive on the raw path and through onSend', async (t) => {
  const { url: to } = await upstream(t, (request, response) => {
    response.setHeader('vary', 'origin')
    response.end('x'.repeat(Number(request.url!.slice(1))))
  })
  // Large ones come in several pieces, small ones together with their head.
  for (const [withOnSend, size] of [[false, 200_000], [true, 200_000], [false, 120], [true, 120]] as const) {
    const fired: string[] = []
    const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      app.addHook('onRequest', async (_request, reply) => {
        fired.push('onRequest')
        reply.header('x-frame-options', 'DENY').header('vary', 'accept')
      })
      if (withOnSend) app.addHook('onSend', async (_request, reply, payload) => {
        fired.push('onSend')
        reply.header('x-sent', 'yes')
        return payload
      })
      app.addHook('onResponse', async (request) => { fired.push(`onResponse ${request.upstream?.url}`) })
    })
    const response = await fetch(`${url}/${size}`)
    t.equal((await response.text()).length, size)
    t.equal(response.headers.get('x-frame-options'), 'DENY')
    t.equal(response.headers.get('vary'), 'accept, origin')
    t.equal(response.headers.get('x-sent'), withOnSend ? 'yes' : null)
    await new Promise((resolve) => { setImmediate(resolve) })
    t.same(fired, ['onRequest', ...(withOnSend ? ['onSend'] : []), `onResponse ${to}`])
  }
})

t.test('who looks at what is written to the response sees all of it', async (t) => {
  const { url: to } = await upstream(t, (_request, response) => { response.end('hello') })
  const seen: unknown[] = []
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    app.addHook('onRequest', async ({ url }, { raw }) => {
      if (url !== '/watched') return
      const write = raw.write.bind(raw) as (...given: unknown[]) => boolean
      raw.write = (...given: unknown[]) => {
        seen.push(String(given[0]))
        return write(...given)
      }
    })
  })
  for (const path of ['/', '/watched']) t.equal(await (await fetch(`${url}${path}`)).text(), 'hello')
  t.same(seen, ['hello'])
})

t.test('onSend hooks get a body that came with its head as one Buffer, a later or unknown one as a stream, none as nothing', async (t) => {
  const { url: to } = await upstream(t, (request, response) => {
    const kind = request.url!.slice(1)
    if (kind === 'empty') response.end()
    else if (kind === 'none') response.writeHead(204).end()
    else if (kind === 'untyped') response.writeHead(200, { 'content-length': 5 }).end('hello')
    else if (kind === 'late') {
      response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 5 }).flushHeaders()
      setTimeout(() => { response.end('hello') }, 50)
    } else if (kind === 'chunked') {
      response.setHeader('content-type', 'text/plain')
      response.write('hel')
      response.end('lo')
    } else response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 5 }).end('hello')
  })
  let seen: unknown
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    app.addHook('onSend', async (_request, _reply, payload) => {
      seen = Buffer.isBuffer(payload) ? 'buffer' : typeof payload
      return payload
    })
  })
  for (const [kind, payload, body] of [
    ['whole', 'buffer', 'hello'], ['late', 'object', 'hello'], ['chunked', 'object', 'hello'], ['untyped', 'object', 'hello'],
    ['empty', 'undefined', ''], ['none', 'undefined', '']
  ] as const) {
    const response = await fetch(`${url}/${kind}`)
    t.equal(await response.text(), body, kind)
    t.equal(seen, payload, kind)
    t.equal(response.headers.get('content-type'), ['untyped', 'empty', 'none'].includes(kind) ? null : 'text/plain', kind)
  }
  t.equal((await fetch(`${url}/whole`, { method: 'HEAD' })).headers.get('content-length'), '5')
})

t.test('reply.forward in own routes, parsed bodies included; inject works without listening', async (t) => {
  const { url: to } = await upstream(t, async (request, response) => { response.end(`${request.method} ${request.url} ${(await body(request)).toString()}`) })
  const { app } = await proxy(t, { pools: { web: [to] } }, (app) => {
    app.get('/hello', (_request, reply) => reply.forward('web'))
    app.post('/json', async (_request, reply) => reply.forward('web'))
  })
  t.equal((await app.inject('/hello')).body, 'GET /hello ')
  t.equal((await app.inject({ method: 'POST', url: '/json', payload: { a: 1 } })).body, 'POST /json {"a":1}')
})

t.test('upgrades become tunnels', async (t) => {
  const { url: to, server } = await upstream(t, (_request, response) => { response.end('plain') })
  server.on('upgrade', (_request, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    if (head.length > 0) socket.write(head)
    socket.pipe(socket)
  })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const text = await raw(port, 'GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nping', 'ping')
  t.match(text, /^HTTP\/1.1 101 [^]*ping$/)
  const pool = app.balancer.pool('web')
  while (pool.inFlight > 0) await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(pool.inFlight, 0, 'the lease came back with the tunnel')
})

t.test('a broken upstream response never looks complete', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart')
      socket.end()
    })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  const { url } = await proxy(t, { pools: { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web' }] })
  const response = await fetch(url)
  await t.rejects(response.text())
})

t.test('a client that leaves ends the attempt', async (t) => {
  let closed: () => void = () => {}
  const gone = new Promise<void>((resolve) => { closed = resolve })
  let arrived: () => void = () => {}
  const there = new Promise<void>((resolve) => { arrived = resolve })
  const { url: to } = await upstream(t, (request) => {
    request.on('close', closed)
    arrived()
  })
  const { url, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const controller = new AbortController()
  const failed = t.rejects(fetch(url, { signal: controller.signal }))
  await there
  controller.abort()
  await failed
  await gone
  t.equal(app.balancer.pool('web').inFlight, 0)
})

t.test('Location and cookies are rewritten where asked, per route and through config', async (t) => {
  const { url: to } = await upstream(t, (request, response) => {
    response.setHeader('location', `${to}/v1/next?a=1`)
    response.setHeader('set-cookie', ['a=1; Domain=internal; Path=/v1; HttpOnly', 'b=2'])
    response.statusCode = 302
    response.end(request.url)
  })
  const rewriting = { rewritePrefix: '/v1', rewriteLocation: true, cookieDomain: '', cookiePath: '/api' }
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/api', pool: 'web', ...rewriting }, { prefix: '/plain', pool: 'web' }] }, (app) => {
    app.get('/own/*', { config: { forward: { ...rewriting, cookiePath: '/own' } } }, (_request, reply) => reply.forward('web'))
  })
  const ask = async (path: string): Promise<unknown[]> => {
    const response = await fetch(url + path, { redirect: 'manual' })
    return [await response.text(), response.headers.get('location'), ...response.headers.getSetCookie()]
  }
  t.same(await ask('/api/x'), ['/v1/x', '/api/next?a=1', 'a=1; Path=/api; HttpOnly', 'b=2'])
  t.same(await ask('/own/x'), ['/v1/x', '/own/next?a=1', 'a=1; Path=/own; HttpOnly', 'b=2'])
  t.same(await ask('/plain'), ['/plain', `${to}/v1/next?a=1`, 'a=1; Domain=internal; Path=/v1; HttpOnly', 'b=2'])
})
