import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { Duplex, PassThrough, Readable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { Deadlines, type Lease } from '@headgate/core'
import fc from 'fast-check'
import t from 'tap'
import { FakeClock } from '../../core/test/clock.ts'
import { joinTunnel } from '../src/tunnel.ts'
import { proxy, raw, until } from './helpers.ts'

const read = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
const [key, cert] = [read('key.pem'), read('cert.pem')]
const UPGRADE = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n'
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n'

/** Is the connection read into a buffer of ours? */
const isDirect = (socket: Duplex): boolean =>
  Object.getOwnPropertySymbols(socket).some((symbol) => symbol.description === 'kBufferCb' && (socket as unknown as Record<symbol, unknown>)[symbol] !== null)

/** Bytes of which no two places look alike. */
function pattern (size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i + 4 <= size; i += 4) bytes.writeUInt32LE((i ^ seed) >>> 0, i)
  return bytes
}

interface Ends {
  /** Opens a tunnel. `first` goes out with the request's head, `early` before the answer to it. */
  open (first?: Buffer, early?: Buffer, prepare?: (upstream: Duplex) => void): Promise<{ client: Socket; upstream: Duplex; clientSocket: Socket }>
  inFlight (): number
}

/** An upstream behind a proxy, each with TLS or without. */
async function ends (t: Parameters<typeof proxy>[0], clientTls: boolean, upstreamTls: boolean): Promise<Ends> {
  const server: Server = upstreamTls ? createHttpsServer({ key, cert }) : createHttpServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const opened: Duplex[] = []
  t.teardown(() => new Promise<void>((resolve) => {
    for (const one of opened) one.destroy()
    server.close(() => { resolve() })
  }))
  let switching: ((socket: Duplex, head: Buffer) => void) | undefined
  server.on('upgrade', (_request, socket, head: Buffer) => { switching!(socket, head) })
  const to = `${upstreamTls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`
  const seen: Socket[] = []
  const { port, app } = await proxy(t, {
    pools: { web: { upstreams: [to], connection: { tls: { rejectUnauthorized: false } } } }, routes: [{ prefix: '/', pool: 'web' }]
  }, (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      seen.push(request.raw.socket)
      done()
    })
  }, clientTls ? { https: { key, cert } } as never : {})
  return {
    inFlight: () => app.balancer.pool('web').inFlight,
    async open (first = Buffer.alloc(0), early = Buffer.alloc(0), prepare = () => {}) {
      const client = clientTls
        ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, allowHalfOpen: true } as object)
        : connect({ port, host: '127.0.0.1', allowHalfOpen: true })
      opened.push(client.on('error', () => {}))
      client.write(Buffer.concat([Buffer.from(UPGRADE), first]))
      const upstream = await new Promise<Duplex>((resolve) => {
        switching = (socket, head) => {
          socket.on('error', () => {})
          // As the proxy has to do itself.
          ;(socket as Socket).allowHalfOpen = true
          socket.unshift(head)
          if (early.length > 0) client.write(early)
          // What the client has sent by now comes while the upstream still thinks.
          setImmediate(() => {
            prepare(socket)
            socket.write(SWITCHED)
            resolve(socket)
          })
        }
      })
      opened.push(upstream)
      let text = ''
      await new Promise<void>((resolve) => {
        const hear = (): void => {
          for (let byte; !text.endsWith('\r\n\r\n') && (byte = client.read(1) as Buffer | null) !== null;) text += byte.toString('latin1')
          if (!text.endsWith('\r\n\r\n')) return
          client.off('readable', hear)
          resolve()
        }
        client.on('readable', hear)
      })
      return { client, upstream, clientSocket: seen.at(-1)! }
    }
  }
}

/** Sends in pieces of these sizes, and then its end. */
function send (to: Duplex, bytes: Buffer, sizes: readonly number[]): void {
  let at = 0
  let turn = 0
  const next = (): void => {
    while (at < bytes.length) {
      const size = sizes[turn++ % sizes.length]!
      const more = to.write(bytes.subarray(at, at += size))
      if (!more) return void to.once('drain', next)
    }
    to.end()
  }
  next()
}

/** Reads to the end, and stands still for a turn after every so many bytes. */
async function receive (from: Duplex, rests: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let since = 0
  for await (const chunk of from as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    since += chunk.length
    if (since < rests) continue
    since = 0
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  return Buffer.concat(chunks)
}

for (const clientTls of [false, true]) {
  for (const upstreamTls of [false, true]) {
    t.test(`byte for byte both ways, client ${clientTls ? 'with' : 'without'} TLS, upstream ${upstreamTls ? 'with' : 'without'}`, async (t) => {
      const { open, inFlight } = await ends(t, clientTls, upstreamTls)
      const piece = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 4000, max: 4200 }), fc.integer({ min: 1, max: 200_000 }))
      const sizes = fc.array(piece, { minLength: 1, maxLength: 5 })
      const side = fc.record({ size: fc.integer({ min: 0, max: 1_500_000 }), sizes, rests: fc.integer({ min: 1, max: 400_000 }) })
      await fc.assert(fc.asyncProperty(side, side, fc.integer({ min: 0, max: 9000 }), fc.integer({ min: 0, max: 9000 }), async (up, down, first, early) => {
        const before = pattern(first + early, 77)
        const { client, upstream, clientSocket } = await open(before.subarray(0, first), before.subarray(first))
        const [there, back] = [pattern(up.size, 1), pattern(down.size, 2)]
        // Pieces of one byte would take a minute for a megabyte.
        const pieces = ({ size, sizes }: typeof up): number[] => sizes.map((each) => Math.max(each, Math.ceil(size / 300)))
        send(client, there, pieces(up))
        send(upstream, back, pieces(down))
        const [heard, answered] = await Promise.all([receive(upstream, up.rests), receive(client, down.rests)])
        t.ok(heard.equals(Buffer.concat([before, there])), 'what the client sent')
        t.ok(answered.equals(back), 'what the upstream sent')
        t.equal(isDirect(clientSocket), !clientTls, 'read directly where it is plain')
        await until(() => inFlight() === 0)
      }), { numRuns: 12 })
    })
  }
}

t.test('one who does not read holds up the other, and gets all of it in the end', async (t) => {
  const { open } = await ends(t, false, false)
  const { client, upstream } = await open()
  const bytes = pattern(40_000_000, 3)
  client.write(bytes)
  let before = -1
  await until(() => {
    const still = (client as Socket).bytesWritten - client.writableLength === before
    before = (client as Socket).bytesWritten - client.writableLength
    return still && before > 0
  })
  t.ok(client.writableLength > 0, 'the rest waits with its sender')
  client.end()
  upstream.end()
  t.ok((await receive(upstream, Infinity)).equals(bytes))
})

t.test('the end that breaks off takes the other with it', async (t) => {
  const { open, inFlight } = await ends(t, false, false)
  for (const first of ['client', 'upstream'] as const) {
    const both = await open()
    const other = first === 'client' ? both.upstream : both.client
    const ended = new Promise((resolve) => { other.once('end', resolve) })
    other.resume()
    ;(both[first] as Socket).resetAndDestroy()
    await ended
    other.end()
    await until(() => inFlight() === 0)
  }
})

/** An HTTP/2 stream that is reset without an error while something is left to write. */
class ResetStream extends Duplex {
  override _read (): void { this.push(null) }
  override _write (): void {}
  /** From now on it is as Node leaves it: closed, and never destroyed. */
  reset (): void { Object.defineProperty(this, 'closed', { value: true }) }
}

t.test('a stream that is closed, and never takes what is left, is not waited for', async (t) => {
  const clock = new FakeClock()
  const client = new ResetStream()
  const gone = new PassThrough()
  const upstream = Duplex.from({ readable: Readable.from([Buffer.from('bye')]), writable: gone.resume() })
  let outcome = ''
  const lease = { release (how: string) { outcome = how } } as never as Lease
  joinTunnel(client, upstream, Buffer.alloc(0), new Deadlines(clock), 0, lease)
  client.reset()
  await until(() => upstream.closed)
  t.equal(outcome, '', 'it may yet take what was said')
  clock.advance(1100)
  await until(() => outcome !== '')
  t.equal(outcome, 'ok')
})

t.test('an open tunnel holds nothing of the request: nobody listens to its response any more', async (t) => {
  const server = createHttpServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => {})
    socket.write(SWITCHED)
  })
  let listeners = (): number => -1
  let before = -1
  const { port } = await proxy(t, { pools: { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
    app.addHook('onRequest', async (_request, { raw }) => {
      listeners = () => raw.listenerCount('close')
      before = listeners()
    })
  })
  t.match(await raw(port, UPGRADE, '\r\n\r\n'), /^HTTP\/1.1 101 /)
  t.equal(listeners(), before)
})
