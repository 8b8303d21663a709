import { createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { type Attempt, NativeTransport, type TransportRequest, parseTarget, systemClock } from '../../src/index.ts'
import { ResponseParser } from '../../src/transport/response-parser.ts'

const GET: TransportRequest = {
  method: 'GET', path: '/', headers: ['Host', 'h'], body: null, emptyBody: false, upgrade: undefined, expectContinue: false
}

/** A parser's events as one comparable list; pieces of a body are joined. */
function parse (pieces: readonly Buffer[], method = 'GET', close = false): { events: unknown[]; used: boolean } {
  const events: unknown[] = []
  let body = ''
  const parser = new ResponseParser({
    informational: (status) => { events.push(['1xx', status]) },
    head: (status, reason, headers, length) => { events.push(['head', status, reason, headers, length]) },
    data: (chunk) => { body += chunk.toString('latin1') }
  }, 65_536)
  parser.reset(method)
  let used = true
  for (const piece of pieces) if (parser.execute(Buffer.from(piece)) < piece.length) used = false
  if (close) parser.end()
  if (parser.done) events.push(['complete', body, parser.trailers])
  return { events, used }
}

const valid = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n',
  'HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "x"\r\n\r\n',
  'HTTP/1.0 200 OK\r\nSet-Cookie: a\r\nSet-Cookie:\tb \r\n\r\nuntil the end'
]

t.test('any split of a response gives the same events', async (t) => {
  for (const text of valid) {
    const bytes = Buffer.from(text, 'latin1')
    const whole = parse([bytes], 'GET', true).events
    fc.assert(fc.property(fc.uniqueArray(fc.integer({ min: 0, max: bytes.length })), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length]
      t.same(parse(at.slice(1).map((end, i) => bytes.subarray(at[i], end)), 'GET', true).events, whole)
    }), { numRuns: 60 })
    t.same(parse([...bytes].map((byte) => Buffer.from([byte])), 'GET', true).events, whole, 'byte by byte')
  }
})

const ok = 'HTTP/1.1 200 OK\r\n'
const malformed = [
  'HTP/1.1 200 OK\r\n\r\n', 'HTTP/2.0 200 OK\r\n\r\n', 'HTTP/1.2 200 OK\r\n\r\n', 'http/1.1 200 OK\r\n\r\n', 'HTTP/1.1  200 OK\r\n\r\n',
  'HTTP/1.1 20 OK\r\n\r\n', 'HTTP/1.1 2000 OK\r\n\r\n', 'HTTP/1.1 099 OK\r\n\r\n', 'HTTP/1.1 +20 OK\r\n\r\n', 'HTTP/1.1\t200 OK\r\n\r\n',
  'HTTP/1.1 200 O\0K\r\n\r\n', 'HTTP/1.1 200 O\rK\r\n\r\n', ' HTTP/1.1 200 OK\r\n\r\n', '\r\nHTTP/1.1 200 OK\r\n\r\n', 'HTTP/1.1 200 OK\n\n',
  'HTTP/1.1 200 OK\nA: b\r\n\r\n', '<html>hello</html>\r\n\r\n', 'HTTP/1.1 2 0 OK\r\n\r\n', 'HTTP/11 200 OK\r\n\r\n', 'HTTP/1.1 200OK\r\n\r\n',
  `${ok}A : b\r\n\r\n`, `${ok} A: b\r\n\r\n`, `${ok}A: b\r\n c\r\n\r\n`, `${ok}A: b\r\n\tc\r\n\r\n`, `${ok}: b\r\n\r\n`, `${ok}A\r\n\r\n`,
  `${ok}A b: c\r\n\r\n`, `${ok}A\0: b\r\n\r\n`, `${ok}A: b\0c\r\n\r\n`, `${ok}A: b\rc\r\n\r\n`, `${ok}A: b\nC: d\r\n\r\n`, `${ok}A(b): c\r\n\r\n`,
  `${ok}A: \x7f\r\n\r\n`, `${ok}A: \x01\r\n\r\n`, `${ok}"A": b\r\n\r\n`, `${ok}A,B: c\r\n\r\n`, `${ok}Ä: c\r\n\r\n`,
  `${ok}Content-Length: -1\r\n\r\n`, `${ok}Content-Length: +1\r\n\r\nx`, `${ok}Content-Length: 1 1\r\n\r\nx`, `${ok}Content-Length: 1,1\r\n\r\nx`,
  `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`, `${ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy`, `${ok}Content-Length: 0x1\r\n\r\nx`,
  `${ok}Content-Length:\r\n\r\n`, `${ok}Content-Length: 1.0\r\n\r\nx`, `${ok}Content-Length: 9223372036854775808\r\n\r\n`, `${ok}Content-Length: one\r\n\r\n`,
  `${ok}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n`, `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
  `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`, `${ok}Transfer-Encoding: identity\r\n\r\n`, `${ok}Transfer-Encoding: chunked, identity\r\n\r\n`,
  `${ok}Transfer-Encoding: xchunked\r\n\r\n`, `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, `${ok}Transfer-Encoding: "chunked"\r\n\r\n`,
  'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n',
  ...['-1', '0x5', '5 5', ' 5', '5\n', 'g', '', '5;\0', '5 x', '+5', '11111111111111', '5\r'].map((size) => `${ok}Transfer-Encoding: chunked\r\n\r\n${size}\r\nhello\r\n0\r\n\r\n`),
  `${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n`, `${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n`,
  `${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n`, `${ok}Transfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n`,
  `${ok}A: ${'x'.repeat(70_000)}\r\n\r\n`, `${ok}${'A: b\r\n'.repeat(600)}\r\n`, `${ok}Transfer-Encoding: chunked\r\n\r\n5;${'x'.repeat(2000)}\r\nhello\r\n0\r\n\r\n`
]

const refused = { code: /^(malformed|head-too-large)$/ }

t.test(`${malformed.length} malformed responses are refused`, async (t) => {
  for (const text of malformed) {
    t.throws(() => parse([Buffer.from(text, 'latin1')]), refused, JSON.stringify(text.slice(0, 90)))
    t.throws(() => parse([...Buffer.from(text.slice(0, 3000), 'latin1'), ...Buffer.from(text.slice(3000), 'latin1')].map((byte) => Buffer.from([byte]))), refused)
  }
})

async function serve (t: { teardown (action: () => unknown): void }, talk: (socket: Socket, request: number) => void): Promise<NativeTransport> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    let requests = 0
    sockets.add(socket)
    socket.on('error', () => {}).on('data', () => { talk(socket, ++requests) })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const transport = new NativeTransport(parseTarget(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'url'), {}, systemClock)
  t.teardown(async () => {
    transport.destroy()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return transport
}

function ask (transport: NativeTransport, request: TransportRequest = GET): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    transport.dispatch(request, {
      onSent: () => {},
      onInformational: () => {},
      onHead: (status) => { text += `${status} ` },
      onData: (chunk) => {
        text += chunk.toString()
        return true
      },
      onComplete: () => { setImmediate(() => { resolve(text) }) },
      onDrain: () => {},
      onUpgrade: () => {},
      onError: (error) => { resolve(`${text}${error.code} ${error.phase}${error.stale ? ' stale' : ''}`) }
    })
  })
}

t.test('connections are used again, but never after bytes that nobody asked for', async (t) => {
  const clean = await serve(t, (socket, request) => { socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${request}`) })
  t.same([await ask(clean), await ask(clean)], ['200 1', '200 2'])
  const poisoned = await serve(t, (socket, request) => { socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${request}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`) })
  t.same([await ask(poisoned), await ask(poisoned)], ['200 1', '200 1'], 'a new connection each time')
})

t.test('each way of breaking off has its code and phase', async (t) => {
  t.equal(await ask(await serve(t, (socket) => { socket.destroy() })), 'closed request')
  t.equal(await ask(await serve(t, (socket) => { socket.end('HTTP/1.1 200') })), 'closed head')
  t.equal(await ask(await serve(t, (socket) => { socket.end(`${ok}Content-Length: 9\r\n\r\npart`) })), '200 parttruncated body')
  t.equal(await ask(await serve(t, (socket) => { socket.end(`${ok}Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n`) })), '200 parttruncated body')
  t.equal(await ask(await serve(t, (socket) => { socket.end(`${ok}\r\nwhole`) })), '200 whole', 'a clean end completes what is delimited by it')
  t.equal(await ask(await serve(t, (socket) => { socket.write(`${ok}A : b\r\n\r\n`) })), 'malformed head')
  t.equal(await ask(await serve(t, (socket, request) => {
    if (request === 1) socket.write(`${ok}Content-Length: 0\r\n\r\n`)
    else socket.destroy()
  })), '200 ')
})

t.test('the keep-alive race is told apart from a failure', async (t) => {
  const transport = await serve(t, (socket, request) => {
    if (request === 1) socket.write(`${ok}Content-Length: 0\r\n\r\n`)
    else socket.destroy()
  })
  t.equal(await ask(transport), '200 ')
  t.equal(await ask(transport), 'closed request stale')
})

t.test('a header that would break the framing is never sent', async (t) => {
  const transport = await serve(t, (socket) => { socket.write(`${ok}Content-Length: 0\r\n\r\n`) })
  t.equal(await ask(transport, { ...GET, headers: ['Host', 'h', 'X', 'a\r\nEvil: 1'] }), 'malformed connect')
  t.equal(await ask(transport, { ...GET, path: '/ HTTP/1.1\r\nX: y' }), 'malformed connect')
})

t.test('an attempt that is over never touches the next one on its connection', async (t) => {
  const transport = await serve(t, (socket, request) => {
    if (request === 1) socket.write(`${ok}Content-Length: 0\r\n\r\n`)
    else setImmediate(() => { socket.write(`${ok}Content-Length: 1\r\n\r\n${request}`) })
  })
  const quiet = { onSent () {}, onInformational () {}, onHead () {}, onData: () => true, onDrain () {}, onUpgrade () {}, onError () {} }
  const old = await new Promise<Attempt>((resolve) => {
    const attempt = transport.dispatch(GET, { ...quiet, onComplete: () => { setImmediate(() => { resolve(attempt) }) } })
  })
  const next = ask(transport)
  t.equal(transport.stats.open, 1, 'the same connection')
  old.abort()
  old.write(Buffer.from('x'))
  old.end()
  t.equal(await next, '200 2')
})
