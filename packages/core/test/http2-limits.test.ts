import { once } from 'node:events'
import { createServer, type Http2Server } from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { channels, type Http2LimitMessage, type Http2Limits, limitHttp2, systemClock } from '../src/index.ts'
import { block, data, ERROR, FLAG, frame, type Frame, FrameReader, headers, PREFACE, reset, settings, TYPE, uint32 } from './transport/frames.ts'

const WHOLE = FLAG.endHeaders | FLAG.endStream
const head = (path: string, method = 'GET'): string[] => [':method', method, ':scheme', 'http', ':path', path, ':authority', 'a.example']
const ping = (): Buffer => frame(TYPE.ping, 0, 0, Buffer.alloc(8))

interface Site {
  readonly server: Http2Server
  readonly told: Http2LimitMessage[]
  readonly paths: string[]
  /** Moves the clock. */
  pass (ms: number): void
  client (): Promise<Client>
}

/** A real server with limits; `/hang` is never answered, `/large` at length. */
async function site (t: Test, limits: Http2Limits = {}, node: object = {}): Promise<Site> {
  const told: Http2LimitMessage[] = []
  const paths: string[] = []
  let now = 0
  const server = createServer(node, (request, response) => {
    paths.push(request.url)
    request.resume()
    if (request.url === '/large') return response.end(Buffer.alloc(10_000))
    if (request.url !== '/hang') response.end('ok')
  })
  limitHttp2(server, limits, { clock: { ...systemClock, now: () => now }, told: (message) => { told.push(message) } })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const clients: Client[] = []
  t.teardown(() => {
    for (const client of clients) client.socket.destroy()
    server.close()
  })
  return {
    server, told, paths,
    pass: (ms) => { now += ms },
    client: async () => {
      const client = new Client(connect((server.address() as AddressInfo).port, '127.0.0.1'))
      clients.push(client)
      await once(client.socket, 'connect')
      return client
    }
  }
}

/** What writes frames, and reads all that come back. */
class Client {
  readonly socket: Socket
  readonly frames: Frame[] = []
  readonly #reader = new FrameReader()
  readonly ended: Promise<unknown>

  constructor (socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => { this.frames.push(...this.#reader.push(chunk)) })
    this.ended = new Promise((resolve) => { socket.on('close', resolve) })
    socket.write(PREFACE)
    // HEADER_TABLE_SIZE 0.
    socket.write(settings(1, 0))
  }

  send (...frames: Buffer[]): this {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(frames))
    return this
  }

  /** Waits until there is a frame that fits. */
  async frame (fits: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const found = this.frames.find(fits)
      if (found !== undefined) return found
      if (this.socket.destroyed) throw new Error('the connection was closed')
      await Promise.race([once(this.socket, 'data'), this.ended])
    }
  }

  /** A round trip: what was sent before has been read. */
  async settle (): Promise<void> {
    const mark = Buffer.from(`mark${String(this.frames.length).padStart(4, '0')}`)
    this.send(frame(TYPE.ping, 0, 0, mark))
    await this.frame(({ type, flags, payload }) => type === TYPE.ping && flags === FLAG.ack && payload.equals(mark))
  }

  /** Error code of the GOAWAY with which the connection was closed. */
  async closedWith (): Promise<number> {
    await this.ended
    return this.frames.find(({ type }) => type === TYPE.goaway)?.payload.readUInt32BE(4) ?? -1
  }

  /** Of a stream's head: it comes first, and without a table as an entry of the static one (RFC 7541 A), or as three digits. */
  statusOf (stream: number): string {
    const { payload = Buffer.alloc(0) } = this.frames.find(({ type, stream: id }) => type === TYPE.headers && id === stream) ?? {}
    const from = payload.findIndex((byte) => (byte & 0xe0) !== 0x20)
    return payload[from] === 0x88 ? '200' : payload.toString('latin1', from + 2, from + 5)
  }
}

t.test('rapid reset (CVE-2023-44487): the connection is closed, and its requests are over', async (t) => {
  for (const code of [ERROR.cancel, ERROR.none, ERROR.protocol]) {
    const { client, told, pass, paths } = await site(t, { resets: { burst: 20, rate: 10 } })
    const one = await client()
    let id = 1
    const attack = (count: number): void => { for (let i = 0; i < count; i++, id += 2) one.send(headers(id, head('/hang'), WHOLE), reset(id, code)) }
    attack(20)
    await one.settle()
    t.same(told, [], 'a burst is borne')
    pass(500)
    attack(5)
    await one.settle()
    t.same(told, [], 'and what comes back with time')
    attack(200)
    t.equal(await one.closedWith(), ERROR.calm)
    t.same(told, [{ reason: 'resets', closed: true, remoteAddress: '127.0.0.1' }])
    t.ok(paths.length < 225, 'what follows is not looked at')
  }
})

t.test('streams that were answered, and those that the server gave up, are nobody\'s resets', async (t) => {
  const { client, told, server } = await site(t, { resets: { burst: 1, rate: 0 } })
  server.prependListener('request', (request, response) => { if (request.url === '/broken') response.stream.destroy(new Error('the upstream broke')) })
  const one = await client()
  for (let id = 1; id < 20; id += 2) one.send(headers(id, head(id % 4 === 1 ? '/' : '/broken'), WHOLE))
  await one.frame(({ type, stream }) => type === TYPE.rst && stream === 19)
  // A request whose answer came before all of its body did.
  one.send(headers(21, head('/', 'POST')))
  await one.frame(({ type, stream, flags }) => type === TYPE.data && stream === 21 && (flags & FLAG.endStream) !== 0)
  one.send(data(21, 'x', FLAG.endStream))
  await one.settle()
  t.same(told, [])
})

t.test('floods of PING and SETTINGS', async (t) => {
  const { client, told, pass } = await site(t, { pings: { burst: 20, rate: 10 }, settings: { burst: 5, rate: 1 } })
  const pings = await client()
  for (let i = 0; i < 19; i++) pings.send(ping())
  await pings.settle()
  t.same(told, [])
  pass(100)
  for (let i = 0; i < 100; i++) pings.send(ping())
  t.equal(await pings.closedWith(), ERROR.calm)
  t.match(told, [{ reason: 'pings', closed: true }])

  const measuring = await client()
  for (let i = 0; i < 100; i++) {
    measuring.send(headers(2 * i + 1, head('/large'), WHOLE), frame(TYPE.window, 0, 0, uint32(10_000)))
    await measuring.frame(({ type, stream, flags }) => type === TYPE.data && stream === 2 * i + 1 && (flags & FLAG.endStream) !== 0)
    measuring.send(ping())
  }
  await measuring.settle()
  t.equal(told.length, 1, 'a client that measures while data comes is none')

  const changing = await client()
  for (let i = 0; i < 50; i++) changing.send(settings(3, i))
  t.equal(await changing.closedWith(), ERROR.calm)
  t.match(told[1], { reason: 'settings', closed: true })
})

t.test('streams at once', async (t) => {
  const { client, paths } = await site(t, { maxConcurrentStreams: 10 })
  const one = await client()
  const first = await one.frame(({ type, flags }) => type === TYPE.settings && flags === 0)
  t.ok(first.payload.includes(Buffer.from([0, 3, 0, 0, 0, 10])), 'they are told')
  for (let id = 1; id < 100; id += 2) one.send(headers(id, head('/hang'), WHOLE))
  await one.settle()
  t.equal(paths.length, 10)
  const refused = one.frames.filter(({ type }) => type === TYPE.rst)
  t.equal(refused.length, 40)
  t.ok(refused.every(({ payload }) => payload.readUInt32BE() === ERROR.refused), 'nothing was done: a client may ask again')
})

t.test('long heads: 431, whether the limit was acknowledged or not, and no end of them', async (t) => {
  for (const acknowledged of [false, true]) {
    const { client, told, paths } = await site(t, { maxHeaderListSize: 2048, resets: { burst: 3, rate: 0 } })
    const one = await client()
    const ours = await one.frame(({ type, flags }) => type === TYPE.settings && flags === 0)
    t.ok(ours.payload.includes(Buffer.from([0, 6, 0, 0, 16, 0])), 'what is reset without an answer is told')
    if (acknowledged) one.send(frame(TYPE.settings, FLAG.ack, 0))
    const long = (id: number, length: number): Buffer => headers(id, [...head('/'), 'x', 'y'.repeat(length)], WHOLE)
    // Four fields and what they are long, and 33 + 1800.
    one.send(long(1, 1800), long(3, 2000))
    one.send(headers(5, [...head('/'), ...Array.from({ length: 60 }, (_, i) => [`x${i}`, '']).flat()], FLAG.endHeaders))
    await one.frame(({ type, stream }) => type === TYPE.headers && stream === 5)
    t.equal(one.statusOf(1), '200')
    t.equal(one.statusOf(3), '431')
    t.equal(one.statusOf(5), '431', 'many short ones count too')
    t.match(told, [{ reason: 'header-list', closed: false }, { reason: 'header-list', closed: false }])
    if (acknowledged) {
      one.send(long(7, 5000))
      await one.settle()
      t.equal(one.frames.find(({ type, stream }) => type === TYPE.rst && stream === 7)?.payload.readUInt32BE(), ERROR.calm)
    }
    for (let id = 9; id < 100; id += 2) one.send(long(id, 2000))
    t.equal(await one.closedWith(), ERROR.calm)
    t.match(told.at(-1), { reason: 'resets', closed: true })
    t.equal(paths.length, 1)
  }
})

t.test('what node:http2 bounds by itself is told: CONTINUATION, empty and malformed frames, unread answers', async (t) => {
  const { client, told, paths } = await site(t, { pings: false, settings: false }, { maxSessionInvalidFrames: 100 })
  const continued = await client()
  continued.send(headers(1, head('/'), FLAG.endStream))
  for (let i = 0; i < 500; i++) continued.send(frame(TYPE.continuation, 0, 1, i % 2 === 0 ? Buffer.alloc(0) : block(`x-${i}`, 'y'.repeat(100))))
  await continued.closedWith()
  t.match(told.at(-1), { reason: 'continuations', closed: true })

  const empty = await client()
  empty.send(headers(1, head('/hang', 'POST')))
  for (let i = 0; i < 1000; i++) empty.send(data(1, ''))
  await empty.closedWith()
  t.match(told.at(-1), { reason: 'invalid-frames', closed: true }, 'DATA without data')

  const malformed = await client()
  for (let id = 1; id < 2000; id += 2) malformed.send(headers(id, [], WHOLE))
  await malformed.closedWith()
  t.match(told.at(-1), { reason: 'invalid-frames', closed: true }, 'HEADERS without fields')
  t.equal(told.length, 3)
  t.same(paths, ['/hang'])

  const unread = await client()
  unread.send(Buffer.concat(Array.from({ length: 100_000 }, ping)))
  await unread.closedWith()
  t.match(told.at(-1), { reason: 'unread-answers', closed: true }, 'more PINGs in one piece than answers are kept')

  const zero = await client()
  zero.send(headers(1, head('/hang')), frame(TYPE.window, 0, 1, uint32(0)))
  await zero.closedWith()
  t.match(told.at(-1), { reason: 'protocol', closed: true }, 'one that makes the server reset its streams')
})

t.test('limits can be off, and wrong ones are refused', async (t) => {
  const { client, told } = await site(t, { resets: false, pings: false, settings: false })
  const one = await client()
  for (let id = 1; id < 400; id += 2) one.send(headers(id, head('/hang'), WHOLE), reset(id, 8), ping(), settings(3, id))
  await one.settle()
  t.same(told, [])

  const heard: Http2LimitMessage[] = []
  const listener = (message: unknown): void => { heard.push(message as Http2LimitMessage) }
  channels.http2Limit.subscribe(listener)
  t.teardown(() => channels.http2Limit.unsubscribe(listener))
  const plain = await site(t, { settings: { burst: 1, rate: 0 } })
  await (await plain.client()).send(settings()).closedWith()
  t.same(heard, plain.told, 'the channel tells the same')

  const refused = (limits: object): void => { limitHttp2(createServer(), limits as never, {}, 'options.limits') }
  t.throws(() => { refused({ resets: { burst: 0, rate: 1 } }) }, { code: 'HG_POOL_INVALID_OPTION', message: /options\.limits\.resets\.burst: must be >= 1/ })
  t.throws(() => { refused({ maxConcurrentStreams: 0 }) }, { code: 'HG_POOL_INVALID_OPTION' })
  t.throws(() => { refused({ maxHeaderListSize: 100 }) }, { code: 'HG_POOL_INVALID_OPTION' })
  t.throws(() => { refused({ streams: 1 }) }, { code: 'HG_POOL_INVALID_OPTION', message: /options\.limits\.streams/ })
})
