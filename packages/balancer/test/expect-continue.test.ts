import { connect, type Socket } from 'node:net'
import t from 'tap'
import { bodyOf, proxy, rawUpstream, refusing, until, upstream } from './helpers.ts'

/** A client that sends a head and keeps its body back. */
function client (t: { teardown (action: () => unknown): void }, port: number, head: string): { socket: Socket; text: () => string; ended: Promise<void> } {
  const socket = connect(port, '127.0.0.1', () => { socket.write(head) })
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => { text += chunk })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return { socket, text: () => text, ended: new Promise((resolve) => { socket.on('close', () => { resolve() }) }) }
}

const head = (length: number, path = '/'): string => `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`

t.test("the upstream's 100 reaches the client, then the body the upstream", async (t) => {
  let asked = 0
  const { url: to, server } = await upstream(t, () => {})
  server.on('checkContinue', async (request, response) => {
    asked++
    response.writeContinue()
    response.end(String((await bodyOf(request)).length))
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', continueTimeout: 600_000 }] })
  const { socket, text, ended } = client(t, port, head(300_000))
  await until(() => text().startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
  socket.write('x'.repeat(300_000))
  await ended
  t.match(text(), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK[^]*300000(\r\n0\r\n\r\n)?$/)
  t.equal(asked, 1)
})

t.test('a refusal comes before the body, which is never asked for', async (t) => {
  const { url: to, server } = await upstream(t, () => {})
  server.on('checkContinue', (_request, response) => { response.writeHead(417, { 'content-length': 2 }).end('no') })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', continueTimeout: 600_000 }] })
  const { text, ended } = client(t, port, head(10).replace('Connection: close\r\n', ''))
  await ended
  t.match(text(), /^HTTP\/1\.1 417 [^]*connection: close[^]*no$/i)
  t.notMatch(text(), /100 Continue/)
  t.equal(app.balancer.pool('web').inFlight, 0)
})

t.test('an upstream that knows nothing of it gets the body after a while', async (t) => {
  const to = await rawUpstream(t, (socket) => {
    socket.once('data', () => { socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok') })
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', continueTimeout: 1 }] })
  const { socket, text, ended } = client(t, port, head(5))
  await until(() => text().includes('100 Continue'))
  socket.write('12345')
  await ended
  t.match(text(), /200 OK[^]*ok$/)
})

t.test('while the body is held back, a POST may go elsewhere: refused, reset, or told 503, however long it is', async (t) => {
  const rude = await rawUpstream(t, (socket) => { socket.resetAndDestroy() })
  const busy = await rawUpstream(t, (socket) => { socket.write('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n') })
  let executed = 0
  const { url: live, server } = await upstream(t, () => {})
  server.on('checkContinue', async (request, response) => {
    response.writeContinue()
    executed++
    response.end(String((await bodyOf(request)).length))
  })
  const { port } = await proxy(t, {
    pools: { web: { upstreams: [await refusing(), rude, busy, live], policy: 'first' } },
    routes: [{ prefix: '/', pool: 'web', continueTimeout: 600_000, retry: { attempts: 5, bodyLimit: 1000 } }]
  })
  const { socket, text, ended } = client(t, port, head(100_000))
  await until(() => text().includes('100 Continue'))
  socket.write('x'.repeat(100_000))
  await ended
  t.match(text(), /200 OK[^]*100000/)
  t.equal(executed, 1)
})

t.test("the app's own routes answer the expectation when they read the body, and not when they refuse", async (t) => {
  const { url: to } = await upstream(t, (_request, response) => { response.end() })
  const { port } = await proxy(t, { pools: { web: [to] } }, (app) => {
    app.post('/own', async (request) => ({ got: (request.body as { a: number }).a }))
    app.post('/guarded', { onRequest: async (_request, reply) => reply.code(401).send('who?') }, async () => 'in')
  })
  const json = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n`
  const own = client(t, port, json('/own'))
  await until(() => own.text().startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
  own.socket.write('{"a":1}')
  await until(() => own.text().endsWith('{"got":1}'))
  const guarded = client(t, port, json('/guarded'))
  await guarded.ended
  t.match(guarded.text(), /^HTTP\/1\.1 401 [^]*who\?$/)
})
