import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { block, data, ERROR, FLAG, type Frame, frame, FrameReader, headers, PREFACE, reset, settings, TYPE, uint32 } from '../../core/test/transport/frames.ts'
import balancer, { type Balancer, http2Limits } from '../src/index.ts'
import { until, upstream } from './helpers.ts'

// What RFC 9113 wants of a server, by its sections, of a balancer with HTTP/2 clients: node:http2 does it, and nothing here may undo it.

const WHOLE = FLAG.endHeaders | FLAG.endStream
const head = (...more: string[]): string[] => [':method', 'POST', ':scheme', 'http', ':path', '/', ':authority', 'a.example', ...more]
const STREAM_CLOSED = 5
const FRAME_SIZE = 6
const COMPRESSION = 9

/** What a client sees: an error of the connection by its code, one of the stream, an answer, or nothing but a living connection. */
type Seen = { readonly goaway: number } | { readonly rst: number } | { readonly status: string } | 'alive'

interface Case {
  readonly section: string
  readonly sends: readonly Buffer[]
  /** Codes that will do: the RFC often leaves a choice, and allows a connection error wherever a stream's would do (5.4.2). */
  readonly codes?: readonly number[]
  /** Nothing wrong: it is answered, or goes on. */
  readonly fine?: 'answered' | 'alive'
}

const { protocol: PROTOCOL, flow: FLOW } = ERROR
const cases: readonly Case[] = [
  { section: '3.4 a preface that is none', sends: [Buffer.from('INVALID CONNECTION PREFACE\r\n\r\n')], codes: [PROTOCOL] },
  { section: '4.1 a frame of an unknown type is ignored', sends: [frame(0x16, 0, 0, Buffer.alloc(8))], fine: 'alive' },
  { section: '4.1 flags that are not known are ignored', sends: [frame(TYPE.ping, 0x16, 0, Buffer.alloc(8))], fine: 'alive' },
  { section: '4.2 DATA beyond SETTINGS_MAX_FRAME_SIZE', sends: [headers(1, head()), frame(TYPE.data, 0, 1, Buffer.alloc(16_385))], codes: [FRAME_SIZE] },
  { section: '4.2 HEADERS beyond SETTINGS_MAX_FRAME_SIZE', sends: [headers(1, head('x', 'y'.repeat(16_384)))], codes: [FRAME_SIZE] },
  { section: '4.3 a header block that cannot be decoded', sends: [frame(TYPE.headers, WHOLE, 1, Buffer.from([0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x87, 0xff, 0xff, 0xff, 0xfd, 0x25, 0x42, 0x7f]))], codes: [COMPRESSION] },
  { section: '4.3 an index beyond both tables', sends: [frame(TYPE.headers, WHOLE, 1, Buffer.from([0xff, 0x80, 0x01]))], codes: [COMPRESSION] },
  { section: '4.3 a table size above the limit', sends: [frame(TYPE.headers, WHOLE, 1, Buffer.from([0x3f, 0xe1, 0xff, 0x7f]))], codes: [COMPRESSION] },
  { section: '4.3 PRIORITY within a header block', sends: [headers(1, head(), 0), frame(TYPE.priority, 0, 1, Buffer.alloc(5))], codes: [PROTOCOL] },
  { section: '4.3 HEADERS of another stream within a header block', sends: [headers(1, head(), 0), headers(3, head(), WHOLE)], codes: [PROTOCOL] },
  { section: '5.1 DATA on an idle stream', sends: [data(1, 'x', FLAG.endStream)], codes: [PROTOCOL, STREAM_CLOSED] },
  { section: '5.1 RST_STREAM on an idle stream', sends: [reset(1, ERROR.cancel)], codes: [PROTOCOL] },
  { section: '5.1 WINDOW_UPDATE on an idle stream', sends: [frame(TYPE.window, 0, 1, uint32(100))], codes: [PROTOCOL] },
  { section: '5.1 CONTINUATION on an idle stream', sends: [frame(TYPE.continuation, FLAG.endHeaders, 1, block(...head()))], codes: [PROTOCOL] },
  { section: '5.1 DATA on a half-closed stream', sends: [headers(1, head('x-hold', '1'), WHOLE), data(1, 'x')], codes: [STREAM_CLOSED] },
  { section: '5.1 HEADERS on a half-closed stream', sends: [headers(1, head('x-hold', '1'), WHOLE), headers(1, head(), WHOLE)], codes: [STREAM_CLOSED, PROTOCOL] },
  { section: '5.1.1 a stream with an even number', sends: [headers(2, head(), WHOLE)], codes: [PROTOCOL] },
  // nghttp2 takes it for a stream that was closed a moment ago (5.1), whose frames are ignored.
  { section: '5.1.1 a number that is less than one before', fine: 'alive', sends: [headers(5, head('x-hold', '1'), WHOLE), headers(3, head(), WHOLE)], codes: [PROTOCOL, STREAM_CLOSED] },
  { section: '5.3.1 a stream that depends on itself is no matter any more', sends: [frame(TYPE.headers, WHOLE | 0x20, 1, Buffer.concat([uint32(1), Buffer.from([15]), block(...head())]))], codes: [PROTOCOL], fine: 'answered' },
  { section: '6.1 DATA on stream 0', sends: [data(0, 'x')], codes: [PROTOCOL] },
  { section: '6.1 padding longer than the frame', sends: [headers(1, head()), frame(TYPE.data, 0x8, 1, Buffer.from([6, 1, 2]))], codes: [PROTOCOL] },
  { section: '6.2 HEADERS on stream 0', sends: [frame(TYPE.headers, WHOLE, 0, block(...head()))], codes: [PROTOCOL] },
  { section: '6.2 padding longer than the frame', sends: [frame(TYPE.headers, WHOLE | 0x8, 1, Buffer.from([9, 1]))], codes: [PROTOCOL] },
  { section: '6.3 PRIORITY on stream 0, which newer nghttp2 ignores', fine: 'alive', sends: [frame(TYPE.priority, 0, 0, Buffer.alloc(5))], codes: [PROTOCOL] },
  { section: '6.3 PRIORITY of another length', sends: [headers(1, head('x-hold', '1'), WHOLE), frame(TYPE.priority, 0, 1, Buffer.alloc(4))], codes: [FRAME_SIZE] },
  { section: '6.4 RST_STREAM on stream 0', sends: [reset(0, 8)], codes: [PROTOCOL] },
  { section: '6.4 RST_STREAM of another length', sends: [headers(1, head('x-hold', '1'), WHOLE), frame(TYPE.rst, 0, 1, Buffer.alloc(3))], codes: [FRAME_SIZE] },
  { section: '6.5 an acknowledgement with a payload', sends: [frame(TYPE.settings, FLAG.ack, 0, Buffer.alloc(6))], codes: [FRAME_SIZE] },
  { section: '6.5 SETTINGS on a stream', sends: [frame(TYPE.settings, 0, 1, Buffer.alloc(6))], codes: [PROTOCOL] },
  { section: '6.5 SETTINGS that are cut off', sends: [frame(TYPE.settings, 0, 0, Buffer.alloc(3))], codes: [FRAME_SIZE] },
  { section: '6.5.2 ENABLE_PUSH neither 0 nor 1', sends: [settings(2, 2)], codes: [PROTOCOL] },
  { section: '6.5.2 INITIAL_WINDOW_SIZE too large', sends: [settings(4, 2 ** 31)], codes: [FLOW] },
  { section: '6.5.2 MAX_FRAME_SIZE too small', sends: [settings(5, 16_383)], codes: [PROTOCOL] },
  { section: '6.5.2 MAX_FRAME_SIZE too large', sends: [settings(5, 2 ** 24)], codes: [PROTOCOL] },
  { section: '6.5.2 an unknown setting is ignored', sends: [settings(255, 1)], fine: 'alive' },
  { section: '6.6 PUSH_PROMISE of a client', sends: [headers(1, head('x-hold', '1'), WHOLE), frame(TYPE.push, FLAG.endHeaders, 1, Buffer.concat([uint32(2), block(...head())]))], codes: [PROTOCOL] },
  { section: '6.7 PING on a stream', sends: [frame(TYPE.ping, 0, 1, Buffer.alloc(8))], codes: [PROTOCOL] },
  { section: '6.7 PING of another length', sends: [frame(TYPE.ping, 0, 0, Buffer.alloc(6))], codes: [FRAME_SIZE] },
  { section: '6.7 an acknowledgement that nobody waits for', sends: [frame(TYPE.ping, FLAG.ack, 0, Buffer.alloc(8))], fine: 'alive', codes: [PROTOCOL] },
  { section: '6.8 GOAWAY on a stream', sends: [frame(TYPE.goaway, 0, 1, uint32(0, 0))], codes: [PROTOCOL] },
  { section: '6.9 WINDOW_UPDATE by 0, of the connection', sends: [frame(TYPE.window, 0, 0, uint32(0))], codes: [PROTOCOL] },
  { section: '6.9 WINDOW_UPDATE by 0, of a stream', sends: [headers(1, head('x-hold', '1')), frame(TYPE.window, 0, 1, uint32(0))], codes: [PROTOCOL] },
  { section: '6.9 WINDOW_UPDATE of another length', sends: [frame(TYPE.window, 0, 0, Buffer.alloc(3))], codes: [FRAME_SIZE] },
  { section: '6.9.1 a window beyond 2^31-1, of the connection', sends: [frame(TYPE.window, 0, 0, uint32(2 ** 31 - 1)), frame(TYPE.window, 0, 0, uint32(2 ** 31 - 1))], codes: [FLOW] },
  { section: '6.9.1 a window beyond 2^31-1, of a stream', sends: [headers(1, head('x-hold', '1')), frame(TYPE.window, 0, 1, uint32(2 ** 31 - 1)), frame(TYPE.window, 0, 1, uint32(2 ** 31 - 1))], codes: [FLOW] },
  { section: '6.10 CONTINUATION after the end of a header block', sends: [headers(1, head('x-hold', '1')), frame(TYPE.continuation, FLAG.endHeaders, 1, block('x', 'y'))], codes: [PROTOCOL] },
  { section: '6.10 CONTINUATION on stream 0', sends: [headers(1, head(), 0), frame(TYPE.continuation, FLAG.endHeaders, 0, block('x', 'y'))], codes: [PROTOCOL] },
  { section: '6.10 a header block in several frames', sends: [headers(1, head(), FLAG.endStream), frame(TYPE.continuation, 0, 1, block('x', 'y')), frame(TYPE.continuation, FLAG.endHeaders, 1, block('z', 'y'))], fine: 'answered' },
  { section: '8.1 trailers that do not end the stream', sends: [headers(1, head()), headers(1, ['x', 'y'])], codes: [PROTOCOL] },
  { section: '8.1.1 pseudo-fields in trailers', sends: [headers(1, head()), headers(1, [':method', 'GET'], WHOLE)], codes: [PROTOCOL] },
  { section: '8.2.1 a field name in upper case', sends: [headers(1, head('X-TEST', 'y'), WHOLE)], codes: [PROTOCOL] },
  { section: '8.2.2 Connection', sends: [headers(1, head('connection', 'keep-alive'), WHOLE)], codes: [PROTOCOL] },
  { section: '8.2.2 TE other than trailers', sends: [headers(1, head('te', 'trailers, deflate'), WHOLE)], codes: [PROTOCOL] },
  { section: '8.3 an unknown pseudo-field', sends: [headers(1, [':test', 'x', ...head()], WHOLE)], codes: [PROTOCOL] },
  { section: '8.3 one of responses', sends: [headers(1, [':status', '200', ...head()], WHOLE)], codes: [PROTOCOL] },
  { section: '8.3 one after other fields', sends: [headers(1, ['x', 'y', ...head()], WHOLE)], codes: [PROTOCOL] },
  { section: '8.3.1 an empty :path', sends: [headers(1, [':method', 'GET', ':scheme', 'http', ':path', '', ':authority', 'a'], WHOLE)], codes: [PROTOCOL] },
  { section: '8.3.1 no :method', sends: [headers(1, [':scheme', 'http', ':path', '/', ':authority', 'a'], WHOLE)], codes: [PROTOCOL] },
  { section: '8.3.1 :method twice', sends: [headers(1, [':method', 'GET', ...head()], WHOLE)], codes: [PROTOCOL] },
  { section: '8.1.1 more DATA than Content-Length', sends: [headers(1, head('content-length', '1')), data(1, 'more', FLAG.endStream)], codes: [PROTOCOL] },
  { section: '8.1.1 less DATA than Content-Length', sends: [headers(1, head('content-length', '9')), data(1, 'a'), data(1, 'b', FLAG.endStream)], codes: [PROTOCOL] }
]

/** An app that forwards; `x-hold` is never answered. */
async function site (t: Test): Promise<{ port: number; asked (): number; inFlight (): number }> {
  let asked = 0
  const { url } = await upstream(t, (request, response) => {
    asked++
    request.resume()
    if (request.headers['x-hold'] === undefined) request.on('end', () => { response.end('ok') })
  })
  const app = Fastify({ http2: true, forceCloseConnections: true } as never)
  await app.register(http2Limits as never)
  await app.register(balancer as never, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web', retry: false }], closeTimeout: 0 })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { port: (app.server.address() as AddressInfo).port, asked: () => asked, inFlight: () => (app as never as { balancer: Balancer }).balancer.pool('web').inFlight }
}

/** Sends, and says what comes of it: the first error, or the answer, or that a PING is still answered. */
async function seen (port: number, sends: readonly Buffer[], wants: Case['fine']): Promise<Seen> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  const closed = new Promise<'closed'>((resolve) => { socket.on('close', () => { resolve('closed') }) })
  const reader = new FrameReader()
  const frames: Frame[] = []
  socket.on('data', (chunk: Buffer) => { frames.push(...reader.push(chunk)) })
  const first = sends[0]!.subarray(0, 7).toString('latin1') === 'INVALID'
  socket.write(Buffer.concat([...first ? [] : [Buffer.from(PREFACE), settings()], ...sends]))
  const mark = Buffer.from('the end.')
  // Not in one piece with what may be the end of the connection.
  if (!first) setImmediate(() => { if (!socket.destroyed) socket.write(frame(TYPE.ping, 0, 0, mark)) })
  try {
    for (;;) {
      const bad = frames.find(({ type, payload }) => (type === TYPE.goaway && payload.readUInt32BE(4) !== 0) || type === TYPE.rst)
      if (bad !== undefined) return bad.type === TYPE.rst ? { rst: bad.payload.readUInt32BE() } : { goaway: bad.payload.readUInt32BE(4) }
      const answer = frames.find(({ type }) => type === TYPE.headers)
      if (answer !== undefined) return { status: answer.payload.includes(0x88) ? '200' : answer.payload.toString('latin1', 2, 5) }
      if (wants !== 'answered' && frames.some(({ type, payload }) => type === TYPE.ping && payload.equals(mark))) return 'alive'
      if (await Promise.race([once(socket, 'data'), closed]) === 'closed') return { goaway: frames.find(({ type }) => type === TYPE.goaway)?.payload.readUInt32BE(4) ?? -1 }
    }
  } finally {
    socket.destroy()
  }
}

/** Node 20 never says that a connection is over which its HTTP/2 library has given up. */
const skip = Number(process.versions.node.split('.')[0]) < 22 ? 'needs Node 22' : false

t.test('frames and fields that are wrong are refused as RFC 9113 says, and what is allowed goes through', { skip }, async (t) => {
  const { port, asked, inFlight } = await site(t)
  for (const { section, sends, codes = [], fine } of cases) {
    const before = asked()
    const got = await seen(port, sends, fine ?? 'alive')
    if (fine !== undefined && (got === 'alive' || 'status' in got)) {
      t.same(got, fine === 'alive' ? 'alive' : { status: '200' }, section)
      continue
    }
    // A malformed request may be answered 400 before the stream ends (8.1.1).
    const code = got === 'alive' ? 'alive' : 'goaway' in got ? got.goaway : 'rst' in got ? got.rst : got.status === '400' ? codes[0] : got.status
    // Node closes some with INTERNAL_ERROR: the connection is over all the same.
    const over = typeof got === 'object' && 'goaway' in got && got.goaway === ERROR.internal
    t.ok(over || codes.includes(code as number), `${section}: ${JSON.stringify(got)}`)
    if (section.startsWith('8.2') || section.startsWith('8.3')) t.equal(asked(), before, `${section}: no upstream hears of it`)
  }
  t.match(await seen(port, [headers(1, head(), WHOLE)], 'answered'), { status: '200' }, 'and all the while it serves')
  // A request and the end of its connection may come in one piece.
  await until(() => inFlight() === 0)
})

t.test('flow control: no more than the client has room for, and the rest when it has', async (t) => {
  const { url } = await upstream(t, (_, response) => { response.end('0123456789') })
  const app = Fastify({ http2: true, forceCloseConnections: true } as never)
  await app.register(balancer as never, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  const reader = new FrameReader()
  const frames: Frame[] = []
  socket.on('data', (chunk: Buffer) => { frames.push(...reader.push(chunk)) })
  const body = (): string => Buffer.concat(frames.filter(({ type }) => type === TYPE.data).map(({ payload }) => payload)).toString()
  const until = async (fits: () => boolean): Promise<void> => { while (!fits()) await once(socket, 'data') }
  socket.write(Buffer.concat([Buffer.from(PREFACE), settings(4, 3), headers(1, head(), WHOLE)]))
  await until(() => body() === '012')
  // A round trip later nothing more has come.
  socket.write(frame(TYPE.ping, 0, 0, Buffer.from('one more')))
  await until(() => frames.some(({ type, flags }) => type === TYPE.ping && flags === FLAG.ack))
  t.equal(body(), '012')
  socket.write(frame(TYPE.window, 0, 1, uint32(4)))
  await until(() => body() === '0123456')
  socket.write(settings(4, 100))
  await until(() => body() === '0123456789')
  t.pass('an initial window that grows counts for streams that run (6.9.2)')
})

t.test('Priority (RFC 9218) is passed on, both ways', async (t) => {
  const { url } = await upstream(t, (request, response) => { response.writeHead(200, { priority: 'u=1', 'x-got': String(request.headers['priority']) }).end() })
  const app = Fastify({ http2: true, forceCloseConnections: true } as never)
  await app.register(balancer as never, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const session = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => { session.destroy() })
  const [got] = await once(session.request({ ':path': '/', priority: 'u=5, i' }), 'response') as [Record<string, unknown>]
  t.match(got, { priority: 'u=1', 'x-got': 'u=5, i' })
})
