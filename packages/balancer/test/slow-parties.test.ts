import { connect } from 'node:net'
import t from 'tap'
import { bodyOf, proxy, raw, rawUpstream, until, upstream } from './helpers.ts'

const slowBody = (port: number, head: string): Promise<string> => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1', () => { socket.write(head) })
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => { text += chunk })
  socket.on('error', () => {}).on('close', () => { resolve(text) })
})

t.test('a body that does not come is 408, the end of the connection, and no fault of the upstream', async (t) => {
  const { url: to } = await upstream(t, async (request, response) => { response.end((await bodyOf(request).catch(() => Buffer.alloc(0)))) })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', idleTimeout: 40, headersTimeout: 600_000 }] })
  const outcomes: string[] = []
  app.balancer.pool('web').on('outcome', (_upstream, outcome, _lease, reason) => { outcomes.push(`${outcome} ${reason}`) })
  const text = await slowBody(port, 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1234')
  t.match(text, /^HTTP\/1\.1 408 [^]*connection: close[^]*HG_BALANCER_SLOW_BODY/i)
  t.same(outcomes, ['aborted client-idle'])
})

t.test('a body over the bound is 413: announced before the upstream sees anything, else when it is reached', async (t) => {
  let seen = 0
  const { url: to } = await upstream(t, async (request, response) => {
    seen++
    response.end(String((await bodyOf(request).catch(() => Buffer.alloc(0))).length))
  })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', bodyLimit: 10 }] })
  t.match(await raw(port, 'PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n01234567890'), /^HTTP\/1\.1 413 [^]*HG_BALANCER_BODY_TOO_LARGE/)
  t.equal(seen, 0)
  t.match(await raw(port, 'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n'), /^HTTP\/1\.1 413 /)
  t.match(await raw(port, 'PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n'), /^HTTP\/1\.1 200 /)
  t.equal(app.balancer.pool('web').inFlight, 0)
})

t.test('a client that does not read is given up without blaming the upstream; the upstream is held back meanwhile', async (t) => {
  let written = 0
  const { url: to } = await upstream(t, (_request, response) => {
    const more = (): void => {
      while (written < 200_000_000) {
        written += 100_000
        if (!response.write(Buffer.alloc(100_000))) return void response.once('drain', more)
      }
    }
    response.on('error', () => {})
    more()
  })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', idleTimeout: 200 }] })
  const outcomes: string[] = []
  app.balancer.pool('web').on('outcome', (_upstream, outcome, _lease, reason) => { outcomes.push(`${outcome} ${reason}`) })
  const socket = connect(port, '127.0.0.1', () => { socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n') }).pause()
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await until(() => outcomes.length > 0)
  t.same(outcomes, ['aborted client-idle'])
  t.ok(written < 100_000_000, `${written} bytes were taken from the upstream`)
})

t.test('an answer before the end of the body: the rest is read away, and the connection goes on', async (t) => {
  const to = await rawUpstream(t, (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok') })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const socket = connect(port, '127.0.0.1', () => { socket.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n${'x'.repeat(1000)}`) })
  t.teardown(() => socket.destroy())
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => { text += chunk })
  await until(() => text.endsWith('ok'))
  socket.write(`${'x'.repeat(1_999_000)}GET /next HTTP/1.1\r\nHost: h\r\n\r\n`)
  await until(() => text.split('\r\n\r\nok').length === 3)
  t.match(text, /^HTTP\/1\.1 200 [^]*okHTTP\/1\.1 200 [^]*ok$/)
})

t.test('a response that stops in its body breaks the transfer', async (t) => {
  const to = await rawUpstream(t, (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234') })
  const { url, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', idleTimeout: 40 }] })
  const outcomes: string[] = []
  app.balancer.pool('web').on('outcome', (_upstream, outcome, _lease, reason) => { outcomes.push(`${outcome} ${reason}`) })
  const response = await fetch(url)
  await t.rejects(response.text())
  t.same(outcomes, ['timed-out idle-timeout'])
})

const endings: [string, string][] = [
  ['with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234'],
  ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n'],
  ['chunked, within a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n1234'],
  ['until close, by a reset', 'HTTP/1.1 200 OK\r\n\r\n1234']
]
for (const [name, text] of endings) {
  for (const hook of [false, true]) {
    t.test(`a body ${name} that breaks off never looks complete, to an HTTP/1.0 client neither${hook ? ', through onSend' : ''}`, async (t) => {
      const to = await rawUpstream(t, (socket) => {
        socket.write(text, () => { setTimeout(() => { if (name.includes('reset')) socket.resetAndDestroy(); else socket.end() }, 20) })
      })
      const { url, port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
        if (hook) app.addHook('onSend', async (_request, _reply, payload) => payload)
      })
      await t.rejects(async () => (await fetch(url)).text())
      // A close-delimited transfer can only be broken by a reset.
      const old = await new Promise<string>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => { socket.write('GET / HTTP/1.0\r\n\r\n') })
        let got = ''
        let error = ''
        socket.setEncoding('latin1').on('data', (chunk: string) => { got += chunk })
        socket.on('error', (reset: NodeJS.ErrnoException) => { error = reset.code ?? '' }).on('close', () => { resolve(`${error} ${got}`) })
      })
      if (!/content-length/i.test(old)) t.match(old, /^ECONNRESET/)
      else t.notMatch(old, /\r\n\r\n.{10}/)
    })
  }
}
