import { Socket } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { NativeTransport, type TransportOptions, parseTarget } from '../../src/index.ts'
import { open } from '../../src/transport/connect.ts'
import { FakeClock } from '../clock.ts'
import { valid } from './corpus.ts'
import { ours } from './oracle.ts'
import { peer } from './peer.ts'
import { send } from './recorder.ts'

const ok = 'HTTP/1.1 200 OK\r\n'

t.test('any split of a response gives the same events', async (t) => {
  for (const text of valid.filter(({ length }) => length < 1000)) {
    const bytes = Buffer.from(text, 'latin1')
    const whole = ours([bytes], 'GET')
    t.not(whole, undefined)
    fc.assert(fc.property(fc.uniqueArray(fc.integer({ min: 0, max: bytes.length })), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length]
      t.same(ours(at.slice(1).map((end, i) => bytes.subarray(at[i], end)), 'GET'), whole)
    }), { numRuns: 40 })
  }
})

t.test('how long and how often a connection is used again', async (t) => {
  const cases: [answer: string, options: TransportOptions, idle: number, connections: number][] = [
    ['', {}, 3900, 1],
    ['', {}, 4100, 2],
    ['', { keepAliveTimeout: 100 }, 101, 2],
    ['', { keepAliveTimeout: 0 }, 0, 2],
    // A second before the server's own time-out, so that a request does not cross its FIN.
    ['Keep-Alive: timeout=10\r\n', {}, 8900, 1],
    ['Keep-Alive: timeout=10\r\n', {}, 9001, 2],
    ['Keep-Alive: timeout=10, max=5\r\n', { keepAliveTimeout: 100 }, 8900, 1],
    ['Keep-Alive: timeout=1\r\n', {}, 400, 1],
    ['Keep-Alive: timeout=1\r\n', {}, 501, 2],
    ['Keep-Alive: timeout=0\r\n', {}, 0, 2],
    ['Keep-Alive: timeout=99999999\r\n', { maxConnectionAge: 1e9 }, 601_000, 2],
    ['Keep-Alive: timeout=soon\r\n', {}, 3900, 1],
    ['Keep-Alive: timeout=600\r\n', { maxConnectionAge: 5000 }, 5001, 2],
    ['', { maxRequestsPerConnection: 1 }, 0, 2]
  ]
  for (const [field, options, idle, connections] of cases) {
    const server = await peer(t, 'tcp', ({ write }) => { write(`${ok}${field}Content-Length: 0\r\n\r\n`) })
    const clock = new FakeClock()
    const transport = new NativeTransport(server.target, options, clock)
    t.teardown(() => { transport.destroy() })
    t.equal((await send(transport).ended).status, 200)
    clock.advance(idle)
    t.equal((await send(transport).ended).status, 200)
    t.equal(server.count(), connections, `${JSON.stringify(options)} ${field.trim()} ${idle} ms`)
  }
})

t.test('a connection that lies idle for a while does not keep the process alive, until it is used again', async (t) => {
  const server = await peer(t, 'tcp', ({ write }) => { write(`${ok}Content-Length: 0\r\n\r\n`) })
  const clock = new FakeClock()
  let socket: Socket | undefined
  const transport = new NativeTransport(server.target, {}, clock, (...from) => socket = open(...from))
  t.teardown(() => { transport.destroy() })
  const keeps = (): boolean => (socket as unknown as { _handle: { hasRef (): boolean } })._handle.hasRef()
  await send(transport).ended
  clock.advance(1000)
  t.notOk(keeps())
  const { ended } = send(transport)
  t.ok(keeps())
  await ended
  clock.advance(1000)
  t.notOk(keeps())
  t.equal(server.count(), 1)
})

t.test('what an upstream sends before a request is written is no answer to it', async (t) => {
  const heard: string[] = []
  const server = await peer(t, 'tcp', ({ head, write }) => {
    heard.push(head.split(' ')[1]!)
    write(`${ok}Content-Length: 0\r\n\r\n`)
  })
  const transport = new NativeTransport(server.target, {}, new FakeClock())
  t.teardown(() => { transport.destroy() })
  await send(transport).ended
  // What is made now is written after the next turn's reads.
  await new Promise(setImmediate)
  for (const socket of server.sockets) socket.write(`${ok}Content-Length: 6\r\n\r\npoison`)
  t.equal((await send(transport, { path: '/next' }).ended).failure, 'closed request stale')
  t.equal((await send(transport, { path: '/again' }).ended).status, 200)
  t.same(heard, ['/', '/again'])
})

t.test('a request that is not sent twice gets a connection that was used just now', async (t) => {
  const server = await peer(t, 'tcp', ({ write }) => { write(`${ok}Content-Length: 0\r\n\r\n`) })
  const clock = new FakeClock()
  const transport = new NativeTransport(server.target, { freshFor: 200 }, clock)
  const strict = new NativeTransport(server.target, { freshFor: 0 }, clock)
  t.teardown(() => {
    transport.destroy()
    strict.destroy()
  })
  const once = { method: 'POST', once: true }
  t.equal((await send(transport).ended).status, 200)
  clock.advance(199)
  t.equal((await send(transport, once).ended).status, 200)
  t.equal(server.count(), 1)
  clock.advance(200)
  t.equal((await send(transport, once).ended).status, 200)
  t.equal(server.count(), 2, 'idle for too long')
  t.equal(transport.stats.idle, 2, 'the old one is kept for others')
  clock.advance(200)
  t.equal((await send(transport).ended).status, 200)
  t.equal(server.count(), 2)
  await send(strict, once).ended
  await send(strict, once).ended
  t.equal(server.count(), 4)
})

t.test('where no more may be idle, the one that has rested longest goes', async (t) => {
  const server = await peer(t, 'tcp', ({ write }) => { write(`${ok}Content-Length: 0\r\n\r\n`) })
  const clock = new FakeClock()
  const transport = new NativeTransport(server.target, { maxIdle: 2, freshFor: 200 }, clock)
  t.teardown(() => { transport.destroy() })
  await Promise.all([send(transport).ended, send(transport).ended])
  clock.advance(500)
  for (let i = 0; i < 5; i++) t.equal((await send(transport, { method: 'POST', once: true }).ended).status, 200)
  t.equal(server.count(), 3, 'one more for those that want one used just now, not one for each')
  t.same({ ...transport.stats }, { open: 2, idle: 2, connecting: 0 })
})

t.test('idle connections are swept when their time is over, and never more than maxIdle', async (t) => {
  const server = await peer(t, 'tcp', ({ write }) => { write(`${ok}Content-Length: 0\r\n\r\n`) })
  const clock = new FakeClock()
  const transport = new NativeTransport(server.target, { maxIdle: 3 }, clock)
  t.teardown(() => { transport.destroy() })
  await Promise.all(Array.from({ length: 8 }, () => send(transport).ended))
  t.same({ ...transport.stats }, { open: 3, idle: 3, connecting: 0 })
  clock.advance(6000)
  t.same({ ...transport.stats }, { open: 0, idle: 0, connecting: 0 })
})

t.test('a request that was answered before its turn to be written is not written any more', async (t) => {
  class Silent extends Socket {
    written = ''
    override write (text: string | Uint8Array): boolean {
      this.written += String(text)
      return true
    }
  }
  const silent = new Silent()
  t.teardown(() => { silent.destroy() })
  let answer = (_text: string): void => {}
  const transport = new NativeTransport(parseTarget('http://192.0.2.1', 'url'), {}, new FakeClock(), (_target, _tls, _session, onread) => {
    const { buffer, callback } = onread as unknown as { buffer (): Buffer; callback (count: number, buffer: Buffer): boolean }
    answer = (text) => {
      const read = buffer()
      callback(read.write(text), read)
    }
    return silent
  })
  const recorder = send(transport)
  silent.emit('connect')
  answer(`${ok}Content-Length: 0\r\n\r\n`)
  t.equal((await recorder.ended).status, 200)
  t.equal(transport.stats.idle, 1)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(silent.written, '')
})

t.test('a connection that does not come about in time', async (t) => {
  const clock = new FakeClock()
  const silent = new Socket()
  const transport = new NativeTransport(parseTarget('http://192.0.2.1', 'url'), { connectTimeout: 500 }, clock, () => silent)
  const recorder = send(transport)
  clock.advance(499)
  t.same(recorder.events, [])
  t.equal(transport.stats.connecting, 1)
  clock.advance(1)
  t.equal((await recorder.ended).failure, 'connect-timeout connect')
  t.ok(silent.destroyed)
  t.same({ ...transport.stats }, { open: 0, idle: 0, connecting: 0 })
})

t.test('a piece of a body that is there leaves with the head, in one write; what is lent may be written over as soon as it is said to be done', async (t) => {
  const body = 'a'.repeat(10) + 'b'.repeat(10) + 'c'.repeat(100_000) + 'd'.repeat(10)
  let heard = ''
  const server = await peer(t, 'tcp', async ({ until, write }) => {
    heard = await until(({ length }) => length === body.length)
    write(`${ok}Content-Length: 0\r\n\r\n`)
  })
  let socket!: Socket
  const writes: string[] = []
  const transport = new NativeTransport(server.target, {}, new FakeClock(), (...from) => {
    socket = open(...from)
    const { write } = socket
    socket.write = (...args: unknown[]): boolean => {
      writes.push(String(args[0]))
      return (write as (...args: unknown[]) => boolean).apply(socket, args)
    }
    return socket
  })
  let drained = false
  const large = Buffer.from('c'.repeat(100_000))
  const recorder = send(transport, { method: 'POST', body: { length: body.length } }, {
    onSent: ({ attempt }) => {
      attempt.write(Buffer.from('a'.repeat(10)))
      t.same(writes.map((text) => text.replace(/^[^]*\r\n\r\n/, '')), ['a'.repeat(10)])
      socket.cork()
      const small = Buffer.from('b'.repeat(10))
      t.equal(attempt.lend!(small), true)
      small.fill('x')
      t.equal(attempt.lend!(large), false)
      t.equal(attempt.flushed, false)
      socket.uncork()
    },
    onDrain: ({ attempt }) => {
      if (drained) return
      drained = true
      t.equal(attempt.flushed, true)
      large.fill('x')
      attempt.write(Buffer.from('d'.repeat(10)))
      attempt.end()
    }
  })
  const { failure, violation } = await recorder.ended
  t.same([failure, violation], ['', ''])
  t.ok(heard === body)
  await transport.close()
})
