import { once } from 'node:events'
import { type ServerHttp2Stream, connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { FLAG, type Frame, FrameReader, headers, PREFACE, settings, TYPE } from '../../core/test/transport/frames.ts'
import balancer from '../src/index.ts'
import { Http2Sink, fieldsOf } from '../src/http2-sink.ts'
import { rawUpstream } from './helpers.ts'

// How many frames an answer takes, and what its head holds.

const answers: Readonly<Record<string, string>> = {
  '/sized': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/empty': 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  '/nothing': 'HTTP/1.1 204 No Content\r\n\r\n',
  '/not-modified': 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
  '/chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/chunked-empty': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  '/trailers': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n'
}

/** An app that forwards what these say; `written` is called for each `writeHead` of somebody's own. */
async function site (t: Test, written?: () => void): Promise<string> {
  const to = await rawUpstream(t, (socket, head) => { socket.write(answers[head.split(' ')[1]!]!) })
  const app = Fastify({ http2: true, forceCloseConnections: true } as never)
  if (written !== undefined) {
    app.addHook('onRequest', async (_request, { raw }) => {
      const { writeHead } = raw
      raw.writeHead = function (...args: unknown[]) {
        written()
        return writeHead.apply(this, args as never)
      }
    })
  }
  await app.register(balancer as never, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

/** The frames of one answer, as their types and whether they end the stream. */
async function framesOf (url: string, path: string, method = 'GET'): Promise<string[]> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  const reader = new FrameReader()
  const frames: Frame[] = []
  socket.write(Buffer.concat([
    Buffer.from(PREFACE), settings(),
    headers(1, [':method', method, ':scheme', 'http', ':path', path, ':authority', 'a.example'], FLAG.endHeaders | FLAG.endStream)
  ]))
  while (!frames.some(({ type, flags }) => (type === TYPE.headers || type === TYPE.data) && (flags & FLAG.endStream) !== 0)) {
    frames.push(...reader.push((await once(socket, 'data') as [Buffer])[0]))
  }
  socket.destroy()
  return frames.filter(({ stream }) => stream === 1).map(({ type, flags }) => {
    return `${type === TYPE.headers ? 'HEADERS' : type === TYPE.data ? 'DATA' : type}${(type === TYPE.headers || type === TYPE.data) && (flags & FLAG.endStream) !== 0 ? ' end' : ''}`
  })
}

const EXPECTED: readonly (readonly [path: string, method: string, frames: readonly string[]])[] = [
  ['/sized', 'GET', ['HEADERS', 'DATA end']],
  ['/sized', 'HEAD', ['HEADERS end']],
  ['/empty', 'GET', ['HEADERS end']],
  ['/nothing', 'GET', ['HEADERS end']],
  ['/not-modified', 'GET', ['HEADERS end']],
  ['/chunked', 'GET', ['HEADERS', 'DATA end']],
  ['/chunked-empty', 'GET', ['HEADERS end']],
  ['/trailers', 'GET', ['HEADERS', 'DATA', 'HEADERS end']]
]

t.test('an answer that came whole takes no frame more than it must', async (t) => {
  const url = await site(t)
  for (const [path, method, frames] of EXPECTED) t.strictSame(await framesOf(url, path, method), frames, `${method} ${path}`)
})

t.test('who has put his own writeHead in place of the response’s sees each head', async (t) => {
  let seen = 0
  const url = await site(t, () => { seen++ })
  for (const [path, method] of EXPECTED) {
    const before = seen
    const frames = await framesOf(url, path, method)
    t.match(frames.at(-1), /end$/, `${method} ${path}`)
    t.equal(seen, before + 1, `${method} ${path} is seen`)
  }
})

t.test('nothing is written to a stream that is over, and nothing is thrown', async (t) => {
  for (const over of ['close', 'destroy'] as const) {
    const app = Fastify({ http2: true, forceCloseConnections: true } as never)
    const thrown: unknown[] = []
    app.get('/', (_request, reply) => {
      (reply.raw as never as { stream: ServerHttp2Stream }).stream[over]()
      try {
        new Http2Sink(reply as never, 200, ['Content-Length', '2'], 2, false, () => {}).write(Buffer.from('ok'), true)
      } catch (error) {
        thrown.push(error)
      }
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    const session = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    const stream = session.request({ ':path': '/' }).on('error', () => {}).resume()
    await once(stream, 'close')
    session.destroy()
    t.strictSame(thrown, [], over)
  }
})

t.test('names that upstreams make up are not kept without bounds', async (t) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  // V8 keeps hidden classes, and the names in them, through some collections.
  const collect = (): void => { for (let i = 0; i < 5; i++) gc() }
  const grown = (make: (i: number) => string, count: number): number => {
    collect()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < count; i++) fieldsOf([make(i), 'v'])
    collect()
    return process.memoryUsage().heapUsed - before
  }
  const MB = 1_000_000
  const long = 'x'.repeat(30_000)
  t.ok(grown((i) => `${long}-${i}`, 500) < 5 * MB, 'long ones')
  t.ok(grown((i) => Buffer.from(`A-Name-To-Be-Cut-${i}:${long}`).toString('latin1').slice(0, 20), 500) < 5 * MB, 'pieces of longer texts')
  t.ok(grown((i) => `some-name-${i}`, 100_000) < 5 * MB, 'many')
})

t.test('fields of HTTP/2: names in lower case, one line each but for Set-Cookie, none of the connection', async (t) => {
  t.strictSame({ ...fieldsOf(['X-A', '1', 'constructor', '2', '__PROTO__', '3', 'x-a', '4', 'Set-Cookie', 'a', 'SET-COOKIE', 'b', 'Connection', 'x', 'TE', 'trailers']) }, {
    'x-a': '1, 4', constructor: '2', ['__proto__']: '3', 'set-cookie': ['a', 'b']
  })
  for (let i = 0; i < 3000; i++) if (fieldsOf([`X-Name-${i}`, 'v'])[`x-name-${i}`] !== 'v') t.fail(`X-Name-${i}`)
  t.strictSame(Object.keys(fieldsOf(['Keep-Alive', '1', 'X-New', '2'])), ['x-new'], 'also when no more names are kept')
})
