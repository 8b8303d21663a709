import { once } from 'node:events'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { existsSync } from 'node:fs'
import t from 'tap'
import { channels, type StreamMessage } from '@headgate/core'
import { exchange, firstLine, named, proxy, until, upstream } from './helpers.ts'

t.test('shares connections among the upstreams of a pool', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const { port, stream } = await proxy(t, { pools: { db: { upstreams: [a.url, b.url], policy: 'round-robin' } }, listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: 'db' }] })
  const answers = await Promise.all(Array.from({ length: 6 }, () => exchange(port('db'), 'hello')))
  t.same(answers.map(String).sort(), ['a\nhello', 'a\nhello', 'a\nhello', 'b\nhello', 'b\nhello', 'b\nhello'])
  await until(() => stream.listener('db').counters.active === 0)
  const { counters } = stream.listener('db')
  t.match(counters, { accepted: 6, sent: 30, received: 42 })
  t.same([...counters.ends], [['closed', 6]])
})

t.test('an upstream that refuses is passed over before the client notices', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const { port, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [a.url, b.url], policy: 'round-robin' } }] })
  await b.stop()
  for (let i = 0; i < 6; i++) t.equal(String(await exchange(port('db'), 'x')), 'a\nx')
  t.ok(stream.listener('db').counters.failures.get('connect-refused')! > 0)
})

t.test('Unix sockets on both sides; the file of a dead process is taken over', async (t) => {
  const path = (name: string): string => join(tmpdir(), `hg-stream-${process.pid}-${name}.sock`)
  const { createServer } = await import('node:net')
  const server = createServer({ allowHalfOpen: true }, (socket) => { socket.pipe(socket) })
  server.listen(path('up'))
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { stream, app } = await proxy(t, { listeners: [{ name: 'u', listen: `unix:${path('in')}`, pool: [`unix:${path('up')}`] }] })
  t.equal(stream.listener('u').address, `unix:${path('in')}`)
  const socket = connect({ path: path('in'), allowHalfOpen: true })
  socket.end('hello')
  const [data] = await once(socket, 'data') as [Buffer]
  t.equal(String(data), 'hello')
  await app.close()
  t.notOk(existsSync(path('in')))
})

t.test('limits: connections of the listener, and of one client', async (t) => {
  const a = await named(t, 'a')
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'all', listen: '127.0.0.1:0', pool: [a.url], maxConnections: 2 },
      { name: 'each', listen: '127.0.0.1:0', pool: [a.url], maxConnectionsPerClient: 2 }
    ]
  })
  for (const name of ['all', 'each']) {
    const sockets = [await firstLine(port(name)), await firstLine(port(name))]
    t.match(await firstLine(port(name)), { line: /closed|error/ })
    sockets[0]!.socket.destroy()
    await until(() => stream.listener(name).counters.active === 1)
    const again = await firstLine(port(name))
    t.equal(again.line, 'a')
    again.socket.destroy()
    sockets[1]!.socket.destroy()
  }
  t.equal(stream.listener('all').counters.ends.get('max-connections'), 1)
  t.equal(stream.listener('each').counters.ends.get('max-connections-per-client'), 1)
})

t.test('a full upstream: connections wait in the queue, within its bound', async (t) => {
  const a = await named(t, 'a')
  const { port, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [a.url], maxInFlightPerUpstream: 1, queue: { limit: 1, timeout: 60_000 } } }] })
  const first = await firstLine(port('db'))
  const second = firstLine(port('db'))
  await until(() => stream.pools.get('db')!.queued === 1)
  t.match(await firstLine(port('db')), { line: /closed|error/ })
  first.socket.destroy()
  const { line, socket } = await second
  t.equal(line, 'a')
  socket.destroy()
  t.equal(stream.listener('db').counters.ends.get('queue-full'), 1)
})

t.test('hashing on the client address, and on what a function says', async (t) => {
  const ups = [await named(t, 'a'), await named(t, 'b'), await named(t, 'c')].map(({ url }) => url)
  const { port } = await proxy(t, {
    listeners: [
      { name: 'ip', listen: '127.0.0.1:0', pool: { upstreams: ups, policy: 'ip-hash' } },
      { name: 'port', listen: '127.0.0.1:0', pool: { upstreams: ups, policy: 'hash', hashOn: ((info: { clientPort: number }) => String(info.clientPort)) as never } }
    ]
  })
  const lines = async (name: string): Promise<Set<string>> => new Set((await Promise.all(Array.from({ length: 8 }, () => exchange(port(name))))).map(String))
  t.equal((await lines('ip')).size, 1)
  t.ok((await lines('port')).size > 1)
})

t.test('closing: no new connections; those that are there live until they end, or the deadline', async (t) => {
  const a = await named(t, 'a')
  const { port, app, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: [a.url], drainTimeout: 60_000 }] })
  const number = port('db')
  const { socket } = await firstLine(number)
  const closing = app.close()
  await until(() => stream.listener('db').address === undefined)
  t.match(await firstLine(number), { line: /^error ECONNREFUSED$/ })
  socket.write('still there\n')
  const [data] = await once(socket, 'data') as [Buffer]
  t.equal(String(data), 'still there\n')
  socket.end()
  await closing
})

t.test('removing an upstream cuts what is left after the drain time', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const { port, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [a.url, b.url], policy: 'first' } }] })
  const { line, socket } = await firstLine(port('db'))
  t.equal(line, 'a')
  const pool = stream.pools.get('db')!
  const closed = once(socket, 'close')
  await pool.remove(pool.upstreams[0]!.id, 1)
  await closed
  t.equal(String(await exchange(port('db'))), 'b\n')
  t.equal(stream.listener('db').counters.ends.get('upstream-removed'), 1)
})

t.test('closeWhenDown cuts the connections of an upstream that checks find down', async (t) => {
  const a = await named(t, 'a')
  const { port, stream } = await proxy(t, {
    listeners: [{ name: 'cut', listen: '127.0.0.1:0', pool: [a.url], closeWhenDown: true }, { name: 'keep', listen: '127.0.0.1:0', pool: [a.url] }]
  })
  const [cut, keep] = [await firstLine(port('cut')), await firstLine(port('keep'))]
  for (const pool of stream.pools.values()) pool.upstreams[0]!.health.probed(false, 'no answer', { rise: 1, fall: 1 })
  if (!cut.socket.closed) await once(cut.socket, 'close')
  t.equal(keep.socket.destroyed, false)
  keep.socket.destroy()
})

t.test('one message tells how a connection went', async (t) => {
  const messages: StreamMessage[] = []
  const hear = (message: unknown): void => { messages.push(message as StreamMessage) }
  channels.stream.subscribe(hear as never)
  t.teardown(() => channels.stream.unsubscribe(hear as never))
  const a = await upstream(t, (socket) => { socket.pipe(socket) })
  const { port } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: [a.url] }] })
  await exchange(port('db'), 'four')
  await until(() => messages.length === 1)
  const [message] = messages
  t.match(message, { listener: 'db', protocol: 'tcp', pool: 'db', url: a.url, client: '127.0.0.1', reason: 'closed', sent: 4, received: 4, attempts: 1 })
  t.ok(message!.connectLatency >= 0 && message!.duration >= message!.connectLatency)
})
