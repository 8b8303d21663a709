import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Agent, get } from 'node:http'
import { connect as connectSecure } from 'node:tls'
import t, { type Test } from 'tap'
import { proxy, raw, upstream } from './helpers.ts'

const fixture = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
const pools = (url: string): { pools: { web: [string] }; routes: [{ prefix: string; pool: 'web' }] } => ({ pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] })

/** No two places alike, so that a piece that was written over shows. */
function pattern (size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i + 4 <= size; i += 4) bytes.writeUInt32LE(Math.imul(i, 0x9e3779b1) >>> 0, i)
  return bytes
}

const sum = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Answers each request with what `answer` gives for its path, as bytes on the wire. */
async function wire (t: Test, answer: (path: string, socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', (data: Buffer) => { answer(data.toString('latin1').split(' ')[1]!, socket) })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The body that a client reads which stops for a while after every so many bytes. */
async function slowly (socket: Socket, size: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let got = 0
  let head = ''
  socket.write('GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
  socket.on('data', (chunk: Buffer) => {
    if (!head.includes('\r\n\r\n')) {
      const before = head.length
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) return
      chunk = chunk.subarray(end + 4 - before)
    }
    pieces.push(Buffer.from(chunk))
    got += chunk.length
    if (pieces.length % 40 !== 0) return
    socket.pause()
    setTimeout(() => { socket.resume() }, 4)
  })
  await new Promise<void>((resolve) => { socket.on('close', () => { resolve() }) })
  return Buffer.concat(pieces).subarray(0, size)
}

t.test('a client that reads slowly gets every byte as it was', async (t) => {
  const size = 12_000_000
  const body = pattern(size)
  const source = await upstream(t, (_request, response) => { response.writeHead(200, { 'content-length': size }).end(body) })
  const plain = await proxy(t, pools(source.url))
  t.equal(sum(await slowly(connect(plain.port, '127.0.0.1'), size)), sum(body), 'over TCP')
  const secure = await proxy(t, pools(source.url), undefined, { https: { key: fixture('key.pem'), cert: fixture('cert.pem') } } as never)
  t.equal(sum(await slowly(connectSecure({ port: secure.port, host: 'localhost', ca: fixture('cert.pem') }), size)), sum(body), 'over TLS')
})

t.test('the upstream is held back while a client does not read', async (t) => {
  let written = 0
  const url = await wire(t, (_path, socket) => {
    const block = Buffer.alloc(65_536, 'x')
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${65_536 * 1000}\r\n\r\n`)
    const pump = (): void => {
      while (written < 1000) {
        written++
        if (!socket.write(block)) return
      }
    }
    socket.on('drain', pump)
    pump()
  })
  const { port } = await proxy(t, pools(url))
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  socket.once('data', () => { socket.pause() })
  await new Promise((resolve) => { socket.once('pause', resolve) })
  for (let before = -1; before !== written;) {
    before = written
    await new Promise((resolve) => { setTimeout(resolve, 50) })
  }
  t.ok(written < 500, `${written} of 1000 blocks were taken`)
})

t.test('bodies of all sizes, with and without a length, on one client connection', async (t) => {
  const sizes = [0, 1, 100, 15_359, 15_360, 15_361, 16_384, 65_535, 65_536, 65_537, 300_000]
  const source = await upstream(t, (request, response) => {
    const [, kind, size] = request.url!.split('/')
    const body = pattern(Number(size))
    if (kind === 'sized') response.setHeader('content-length', body.length)
    response.write(body.subarray(0, body.length >> 1))
    response.end(body.subarray(body.length >> 1))
  })
  const { port } = await proxy(t, pools(source.url))
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  const ports = new Set<number | undefined>()
  for (const kind of ['sized', 'chunked']) {
    for (const size of sizes) {
      const body = await new Promise<Buffer>((resolve, reject) => {
        get({ port, path: `/${kind}/${size}`, agent }, (response) => {
          ports.add(response.socket.localPort)
          const pieces: Buffer[] = []
          response.on('data', (chunk: Buffer) => { pieces.push(chunk) }).on('end', () => { resolve(Buffer.concat(pieces)) }).on('error', reject)
        }).on('error', reject)
      })
      t.equal(sum(body), sum(pattern(size)), `${kind} ${size}`)
    }
  }
  t.equal(ports.size, 1)
})

t.test('pipelined requests are answered in their order, each with its own body', async (t) => {
  const source = await upstream(t, (request, response) => {
    const delay = request.url === '/1' ? 30 : 0
    setTimeout(() => { response.end(request.url!.repeat(20_000)) }, delay)
  })
  const { port } = await proxy(t, pools(source.url))
  const text = await raw(port, ['/1', '/2', '/3'].map((path) => `GET ${path} HTTP/1.1\r\nHost: h\r\n${path === '/3' ? 'Connection: close\r\n' : ''}\r\n`).join(''))
  const bodies = [...text.matchAll(/(?:\/[123]){1000,}/g)].map(([body]) => body.slice(0, 2))
  t.same(bodies.filter((body, i) => body !== bodies[i - 1]), ['/1', '/2', '/3'])
})

t.test('trailers that come with the last chunk are passed on', async (t) => {
  const url = await wire(t, (_path, socket) => { socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n') })
  const { port } = await proxy(t, pools(url))
  const text = await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
  t.match(text, /\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n$/)
})

t.test('a transfer coding that nobody knows is refused, or taken for none where the pool says so (RFC 9112 6.3)', async (t) => {
  const codings: Record<string, string> = { '/identity': 'identity', '/own': 'x-own', '/gzip': 'gzip', '/before': 'x-own, chunked', '/twice': 'chunked\r\nTransfer-Encoding: x-own', '/length': 'x-own\r\nContent-Length: 4' }
  const url = await wire(t, (path, socket) => { socket.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${codings[path]!}\r\nConnection: keep-alive\r\n\r\nbody`) })
  const { url: strict } = await proxy(t, pools(url))
  for (const path of Object.keys(codings)) t.equal((await fetch(strict + path)).status, 502, path)
  const { url: lenient } = await proxy(t, { ...pools(url), pools: { web: { upstreams: [url], connection: { transferCodings: 'unknown' } } } })
  for (const path of ['/identity', '/own']) {
    const answer = await fetch(lenient + path)
    t.equal(answer.status, 200, path)
    t.not(answer.headers.get('transfer-encoding'), codings[path])
    t.equal(await answer.text(), 'body')
  }
  for (const path of ['/gzip', '/before', '/twice', '/length']) t.equal((await fetch(lenient + path)).status, 502, path)
})
