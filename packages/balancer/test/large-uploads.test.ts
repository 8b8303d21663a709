import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, type Socket, connect } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { request } from 'undici'
import { bodyOf, proxy, rawUpstream, until, upstream } from './helpers.ts'

const SIZE = 3_000_000

/** Bytes of which no two places look alike. */
function pattern (size: number): Buffer {
  const body = Buffer.alloc(size)
  for (let i = 0; i + 4 <= size; i += 4) body.writeUInt32LE(i ^ 0x5bd1e995, i)
  return body
}

const hash = (body: Buffer): string => createHash('sha256').update(body).digest('hex')
const head = (size: number, more = ''): Buffer => Buffer.from(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n${more}\r\n`)

/** Has the connection been read into a buffer of ours? */
const isDirect = (socket: Socket): boolean =>
  Object.getOwnPropertySymbols(socket).some((symbol) => symbol.description === 'kBufferCb' && (socket as unknown as Record<symbol, unknown>)[symbol] !== null)

/** Remembers the connections of the requests that come. */
function connections (into: Socket[]): (app: FastifyInstance) => void {
  return (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      if (!into.includes(request.raw.socket)) into.push(request.raw.socket)
      done()
    })
  }
}

/** One client's connection and what came back on it. */
function client (t: { teardown (action: () => unknown): void }, port: number): { socket: Socket; text (): string; answers (): number } {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => { text += chunk })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return { socket, text: () => text, answers: () => text.split('HTTP/1.1 ').length - 1 }
}

/** Nothing more comes: the buffers of the systems between are full. */
async function standstill (socket: Socket): Promise<void> {
  let before = -1
  await until(() => {
    const still = socket.bytesRead === before
    before = socket.bytesRead
    return still
  })
}

const hashing = (request: IncomingMessage, response: { end (text: string): unknown }): void => {
  bodyOf(request).then((body) => response.end(`<${hash(body)}>`), () => {})
}

t.test('one after the other on a connection, with small ones between and a request right behind: byte for byte', async (t) => {
  const { url: to } = await upstream(t, hashing)
  const sockets: Socket[] = []
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, connections(sockets))
  const { socket, text, answers } = client(t, port)
  const expected: string[] = []
  for (const size of [SIZE, 10, SIZE + 1, 65_537, 200_000, 400_003]) {
    const body = pattern(size)
    expected.push(hash(body))
    socket.write(Buffer.concat([head(size), body]))
    await until(() => answers() === expected.length && text().endsWith('>'))
  }
  t.equal(sockets.length, 1)
  t.ok(isDirect(sockets[0]!), 'the connection was read directly')
  // The next request stands in the same bytes as the end of the body.
  const body = pattern(SIZE)
  socket.write(Buffer.concat([head(SIZE), body, head(5), Buffer.from('12345'), head(SIZE), body]))
  expected.push(hash(body), hash(Buffer.from('12345')), hash(body))
  await until(() => answers() === expected.length && text().endsWith('>'))
  t.same(Array.from(text().matchAll(/<(\w+)>/g), ([, found]) => found), expected)
})

t.test('an upstream that reads slowly holds the client back, and nothing is written over', async (t) => {
  let seen = 0
  let slow: IncomingMessage | undefined
  const { url: to } = await upstream(t, (request, response) => {
    const sum = createHash('sha256')
    slow = request.pause()
    request.on('data', (chunk: Buffer) => {
      seen += chunk.length
      sum.update(chunk)
    })
    request.on('end', () => response.end(`<${sum.digest('hex')}>`))
    request.pause()
  })
  const size = 20_000_000
  const sockets: Socket[] = []
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, connections(sockets))
  const { socket, text } = client(t, port)
  const body = pattern(size)
  socket.write(Buffer.concat([head(size), body]))
  await until(() => slow !== undefined && sockets[0]!.bytesRead > 1_000_000)
  await standstill(sockets[0]!)
  const before = sockets[0]!.bytesRead
  t.ok(before < size, `${before} bytes were read, ${seen} of them taken`)
  slow!.resume()
  await until(() => text().endsWith('>'))
  t.match(text(), `<${hash(body)}>`)
  t.ok(isDirect(sockets[0]!))
})

t.test('nor of a body whose length nobody knows', async (t) => {
  const { url: to } = await upstream(t, (request, response) => {
    const sum = createHash('sha256')
    let seen = 0
    request.on('data', (chunk: Buffer) => {
      seen += chunk.length
      sum.update(chunk)
      // Now and then, so that some pieces go out at once and others wait.
      if (seen % 7 !== 0) return
      request.pause()
      setTimeout(() => { request.resume() }, 2)
    })
    request.on('end', () => response.end(`<${sum.digest('hex')}>`))
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const size = 20_000_000
  const body = pattern(size)
  const { socket, text } = client(t, port)
  socket.write(Buffer.concat([Buffer.from(`POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')]))
  await until(() => text().endsWith('>'))
  t.match(text(), `<${hash(body)}>`)
})

t.test('an answer before the end: the rest is read away, and the connection goes on', async (t) => {
  const to = await rawUpstream(t, (socket, head) => { if (head.startsWith('GET')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok') })
  let got = 0
  const { url: other } = await upstream(t, (request, response) => {
    request.on('data', (chunk: Buffer) => {
      got += chunk.length
      if (got > 1_000_000 && !response.headersSent) response.writeHead(413, { 'content-length': 5 }).end('large')
    })
  })
  const sockets: Socket[] = []
  const { port, app } = await proxy(t, { pools: { web: [to], post: [other] }, routes: [{ prefix: '/next', pool: 'web' }, { prefix: '/', pool: 'post' }] }, connections(sockets))
  const { socket, text } = client(t, port)
  const body = pattern(SIZE)
  socket.write(Buffer.concat([head(SIZE), body.subarray(0, 1_500_000)]))
  await until(() => text().endsWith('large'))
  t.ok(isDirect(sockets[0]!))
  socket.write(Buffer.concat([body.subarray(1_500_000), Buffer.from('GET /next HTTP/1.1\r\nHost: h\r\n\r\n')]))
  await until(() => text().endsWith('ok'))
  t.match(text(), /^HTTP\/1\.1 413 [^]*largeHTTP\/1\.1 200 [^]*ok$/)
  t.equal(app.balancer.pool('post').inFlight, 0)
})

t.test('an upstream that breaks off is 502, and the connection goes on', async (t) => {
  let got = 0
  const { url: to } = await upstream(t, (request, response) => {
    if (request.method === 'GET') return response.end('<next>')
    request.on('error', () => {}).on('data', (chunk: Buffer) => {
      got += chunk.length
      if (got > 1_000_000) request.socket.destroy()
    })
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const { socket, text } = client(t, port)
  socket.write(Buffer.concat([head(SIZE), pattern(SIZE), Buffer.from('GET / HTTP/1.1\r\nHost: h\r\n\r\n')]))
  await until(() => text().endsWith('<next>'))
  t.match(text(), /^HTTP\/1\.1 502 [^]*HTTP\/1\.1 200 [^]*<next>$/)
})

t.test('a client that leaves: the upstream sees a body that broke off', async (t) => {
  let got = 0
  let broken = false
  const { url: to } = await upstream(t, (request) => {
    request.on('data', (chunk: Buffer) => { got += chunk.length }).on('error', () => { broken = true })
  })
  const sockets: Socket[] = []
  const outcomes: string[] = []
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, connections(sockets))
  app.balancer.pool('web').on('outcome', (_upstream, outcome, _lease, reason) => { outcomes.push(`${outcome} ${reason}`) })
  const { socket } = client(t, port)
  socket.write(Buffer.concat([head(SIZE), pattern(1_000_000)]))
  await until(() => got === 1_000_000)
  t.ok(isDirect(sockets[0]!))
  socket.destroy()
  await until(() => broken)
  t.same(outcomes, ['aborted client-closed'])
})

t.test('a client that stops is 408', async (t) => {
  const { url: to } = await upstream(t, (request) => { request.on('error', () => {}).resume() })
  const sockets: Socket[] = []
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', idleTimeout: 100, headersTimeout: 600_000 }] }, connections(sockets))
  const { socket, text } = client(t, port)
  socket.write(Buffer.concat([head(SIZE), pattern(1_000_000)]))
  await until(() => text().includes('HG_BALANCER_SLOW_BODY'))
  t.match(text(), /^HTTP\/1\.1 408 /)
  t.ok(isDirect(sockets[0]!))
})

t.test('whoever listens to the request too hears all of it, from the beginning or from where they came', async (t) => {
  let got = 0
  const { url: to } = await upstream(t, (request, response) => {
    request.on('data', (chunk: Buffer) => { got += chunk.length }).on('end', () => response.end('<end>'))
  })
  const heard: Buffer[] = []
  const requests: IncomingMessage[] = []
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      requests.push(request.raw)
      if (request.headers['x-hear'] === 'all') request.raw.pause().on('data', (chunk: Buffer) => { heard.push(chunk) })
      done()
    })
  })
  const body = pattern(SIZE)
  const { socket, text, answers } = client(t, port)
  socket.write(Buffer.concat([head(SIZE, 'x-hear: all\r\n'), body]))
  await until(() => text().endsWith('<end>'))
  t.ok(Buffer.concat(heard).equals(body))
  t.notOk(isDirect(requests[0]!.socket))
  heard.length = got = 0
  socket.write(Buffer.concat([head(SIZE), body.subarray(0, 1_000_000)]))
  await until(() => got === 1_000_000)
  t.ok(isDirect(requests[1]!.socket))
  requests[1]!.on('data', (chunk: Buffer) => { heard.push(chunk) })
  socket.write(body.subarray(1_000_000))
  await until(() => answers() === 2 && text().endsWith('<end>'))
  t.ok(Buffer.concat(heard).equals(body.subarray(1_000_000)))
  t.equal(got, SIZE)
})

t.test('a connection that was read directly can become a tunnel', async (t) => {
  const { url: to, server } = await upstream(t, hashing)
  let echo: Socket | undefined
  server.on('upgrade', (_request, socket: Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    echo = socket.on('error', () => {})
  })
  const sockets: Socket[] = []
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, connections(sockets))
  const { socket, text } = client(t, port)
  socket.write(Buffer.concat([head(SIZE), pattern(SIZE)]))
  await until(() => text().endsWith('>'))
  t.ok(isDirect(sockets[0]!))
  socket.write('GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  await until(() => text().includes(' 101 '))
  const before = text().length
  const message = pattern(10_000_000)
  socket.write(message)
  await until(() => sockets[0]!.bytesRead > SIZE + 1_000_000)
  await standstill(sockets[0]!)
  echo!.pipe(echo!)
  await until(() => text().length - before >= message.length)
  t.ok(text().slice(before) === message.toString('latin1'))
})

t.test('a body whose length the app knows, not the message, is read as the message is framed', async (t) => {
  const { url: to } = await upstream(t, hashing)
  const { app } = await proxy(t, { pools: { web: [to] } })
  const sockets: Socket[] = []
  const { server } = await upstream(t, (incoming, response) => {
    sockets.push(incoming.socket)
    void request('http://web/', { dispatcher: app.balancer.dispatcher('web'), method: 'POST', body: incoming, headers: { 'content-length': String(SIZE) } })
      .then(({ body }) => body.pipe(response))
  })
  const { socket, text } = client(t, (server.address() as AddressInfo).port)
  const body = pattern(SIZE)
  socket.write('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n')
  for (let at = 0; at < SIZE; at += 100_000) socket.write(Buffer.concat([Buffer.from('186a0\r\n'), body.subarray(at, at + 100_000), Buffer.from('\r\n')]))
  socket.write('0\r\n\r\n')
  await until(() => text().includes('>'))
  t.match(text(), `<${hash(body)}>`)
  t.notOk(isDirect(sockets[0]!))
})

t.test('what a client must be told to send comes whole', async (t) => {
  const { url: to } = await upstream(t, hashing)
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  const { socket, text } = client(t, port)
  const body = pattern(SIZE)
  socket.write(head(SIZE, 'Expect: 100-continue\r\n'))
  await until(() => text().includes(' 100 '))
  socket.write(body)
  await until(() => text().endsWith('>'))
  t.match(text(), `<${hash(body)}>`)
})
