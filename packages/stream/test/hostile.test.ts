import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { writeProxyV1, writeProxyV2 } from '@headgate/core'
import { FakeClock } from '../../core/test/clock.ts'
import { named, proxy, type Test, until, upstream } from './helpers.ts'

const read = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
const pair = { key: read('key.pem'), cert: read('cert.pem') }
const from = ['127.0.0.1']
const ends = { source: { address: '192.0.2.7', port: 1234 }, destination: { address: '192.0.2.8', port: 443 } }

/** The ClientHello of a real client. */
async function clientHello (t: Test): Promise<Buffer> {
  let hello: Promise<Buffer> | undefined
  const server = await upstream(t, (socket) => { hello = once(socket, 'data').then(([data]) => data as Buffer) })
  const client = tlsConnect({ port: server.port, host: '127.0.0.1', servername: 'a.example', ALPNProtocols: ['h2'] })
  client.on('error', () => {})
  await until(() => hello !== undefined)
  const bytes = await hello!
  client.destroy()
  return bytes
}

const closed = (socket: Socket): Promise<void> => new Promise((resolve) => {
  socket.on('error', () => {}).on('close', () => { resolve() })
  socket.resume()
})

t.test('first bytes that trickle in have their time as a whole, not each its own', async (t) => {
  const clock = new FakeClock()
  const a = await named(t, 'a')
  const hello = await clientHello(t)
  const { port, stream } = await proxy(t, {
    clock,
    listeners: [
      { name: 'hello', listen: '127.0.0.1:0', routes: [{ match: { protocol: 'tls' }, pool: [a.url] }], prereadTimeout: 1000 },
      { name: 'header', listen: '127.0.0.1:0', pool: [a.url], acceptProxy: { from, timeout: 1000 } },
      { name: 'handshake', listen: '127.0.0.1:0', pool: [a.url], tls: pair, handshakeTimeout: 1000 }
    ]
  })
  const slow: [string, Buffer, string][] = [
    ['hello', hello, 'client-hello-timeout'], ['header', writeProxyV2(ends, { checksum: true }), 'proxy-timeout'], ['header', writeProxyV1(ends), 'proxy-timeout'],
    ['handshake', hello, 'tls-timeout']
  ]
  for (const [name, bytes, reason] of slow) {
    const { counters } = stream.listener(name)
    const socket = connect({ port: port(name), host: '127.0.0.1', noDelay: true })
    const gone = closed(socket)
    const before = counters.accepted
    const seen = counters.ends.get(reason) ?? 0
    let at = 0
    await until(() => counters.accepted > before)
    while (!socket.destroyed && at < bytes.length - 1) {
      socket.write(bytes.subarray(at, ++at))
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(100)
    }
    await gone
    t.ok(at < bytes.length - 1, `${name}: cut off after ${at} of ${bytes.length} bytes`)
    t.equal(counters.ends.get(reason), seen + 1, reason)
  }
  t.equal(a.sockets.size, 0, 'the upstream has heard of none of them')
})

t.test('PROXY headers that cannot end well are refused at once', async (t) => {
  const a = await named(t, 'a')
  const { port, stream } = await proxy(t, { listeners: [{ name: 'in', listen: '127.0.0.1:0', pool: [a.url], acceptProxy: { from } }] })
  const { counters } = stream.listener('in')
  const long = writeProxyV2(ends)
  long.writeUInt16BE(65_535, 14)
  for (const bytes of [long, Buffer.from(`PROXY TCP4 ${'1'.repeat(200)}`), Buffer.concat([writeProxyV1(ends).subarray(0, -2), Buffer.alloc(100, 0x20)])]) {
    const before = counters.ends.get('proxy-malformed') ?? 0
    const socket = connect(port('in'), '127.0.0.1')
    const gone = closed(socket)
    socket.write(bytes)
    await gone
    t.equal(counters.ends.get('proxy-malformed'), before + 1)
  }
})

t.test('whatever comes first: every connection ends, is counted once, and leaves nothing', async (t) => {
  const a = await named(t, 'a')
  const hello = await clientHello(t)
  const tls = { match: { protocol: 'tls' as const, serverName: 'a.example' }, pool: [a.url] }
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'routed', listen: '127.0.0.1:0', routes: [tls, { match: { protocol: 'ssh' }, pool: [a.url] }, { match: { protocol: 'http' }, pool: [a.url] }] },
      { name: 'open', listen: '127.0.0.1:0', routes: [tls], pool: [a.url] },
      { name: 'header', listen: '127.0.0.1:0', pool: [a.url], acceptProxy: { from } },
      { name: 'all', listen: '127.0.0.1:0', acceptProxy: { from, others: 'plain' }, routes: [{ ...tls, tls: pair }] },
      { name: 'ended', listen: '127.0.0.1:0', pool: [a.url], tls: pair, acceptProxy: { from } }
    ]
  })
  const names = [...stream.listeners.keys()]
  const real = [hello, writeProxyV1(ends), writeProxyV2(ends, { checksum: true }), Buffer.concat([writeProxyV2(ends), hello]), Buffer.from('SSH-2.0-x\r\n'), Buffer.from('GET / HTTP/1.1\r\n\r\n')]
  /** Something real, with a few bytes changed, and cut off somewhere. */
  const almost = fc.tuple(fc.constantFrom(...real), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat()).map(([bytes, changes, end]) => {
    const copy = Buffer.from(bytes)
    for (const [at, value] of changes) copy[at % copy.length] = value
    return copy.subarray(0, end % (copy.length + 1))
  })
  const noise = fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes))
  let opened = 0
  const pieces = fc.array(fc.oneof(almost, noise), { minLength: 1, maxLength: 3 })
  await fc.assert(fc.asyncProperty(fc.constantFrom(...names), pieces, fc.boolean(), async (name, pieces, politely) => {
    opened++
    const socket = connect({ port: port(name), host: '127.0.0.1', noDelay: true })
    const gone = closed(socket)
    for (const piece of pieces) {
      if (piece.length > 0 && socket.writable) socket.write(piece)
      await new Promise((resolve) => setImmediate(resolve))
    }
    if (politely) socket.end()
    else socket.destroy()
    await gone
  }), { numRuns: 300 })
  const listeners = [...stream.listeners.values()]
  await until(() => listeners.every(({ counters }) => counters.active === 0) && a.sockets.size === 0)
  const counted = listeners.flatMap(({ counters }) => [...counters.ends.values()]).reduce((sum, count) => sum + count, 0)
  t.equal(counted, opened, 'one end for each')
  t.equal(listeners.reduce((sum, { counters }) => sum + counters.accepted, 0), opened)
  for (const pool of stream.pools.values()) for (const { load } of pool.upstreams) t.equal(load.inFlight, 0)
})
