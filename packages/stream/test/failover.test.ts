import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import t from 'tap'
import { FakeClock } from '../../core/test/clock.ts'
import { exchange, firstLine, named, proxy, until, upstream } from './helpers.ts'

/** Accepts and resets when it hears something, as a server that dies. */
const dying = (t: Parameters<typeof upstream>[0]) => upstream(t, (socket) => { socket.once('data', () => { socket.resetAndDestroy() }) })

t.test('a connection that dies before it answered starts anew elsewhere, with what the client sent', async (t) => {
  const bad = await dying(t)
  const good = await named(t, 'good')
  const { port, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [bad.url, good.url], policy: 'first' } }] })
  const pieces = Array.from({ length: 20 }, (_, i) => Buffer.from(`piece ${i}\n`))
  t.equal(String(await exchange(port('db'), pieces)), `good\n${String(Buffer.concat(pieces))}`)
  t.same([...stream.listener('db').counters.failures], [['reset', 1]])
})

t.test('nothing is repeated beyond replayLimit, after an answer, or with 0', async (t) => {
  const bad = await dying(t)
  const talks = await upstream(t, (socket) => {
    socket.write('hello\n')
    socket.once('data', () => { socket.resetAndDestroy() })
  })
  let got = 0
  const good = await upstream(t, () => { got++ })
  const pool = (url: string) => ({ upstreams: [url, good.url], policy: 'first' as const })
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'long', listen: '127.0.0.1:0', pool: pool(bad.url), replayLimit: 4 },
      { name: 'never', listen: '127.0.0.1:0', pool: pool(bad.url), replayLimit: 0 },
      { name: 'answered', listen: '127.0.0.1:0', pool: pool(talks.url) }
    ]
  })
  for (const name of ['long', 'never', 'answered']) {
    const socket = connect(port(name), '127.0.0.1')
    if (name === 'answered') await once(socket, 'data')
    socket.write('12345')
    const [error] = await once(socket, 'error') as [NodeJS.ErrnoException]
    t.equal(error.code, 'ECONNRESET', 'and the client learns that it was cut off')
    t.equal(stream.listener(name).counters.ends.get('upstream-reset'), 1)
  }
  t.equal(got, 0)
})

t.test('accepted and closed without a word is as good as refused; an end after words is an answer', async (t) => {
  const silent = await upstream(t, (socket) => { socket.end() })
  const good = await named(t, 'good')
  const reader = await upstream(t, (socket) => { socket.once('data', () => { socket.end() }) })
  const { port } = await proxy(t, {
    listeners: [
      { name: 'silent', listen: '127.0.0.1:0', pool: { upstreams: [silent.url, good.url], policy: 'first' } },
      { name: 'reader', listen: '127.0.0.1:0', pool: { upstreams: [reader.url, good.url], policy: 'first' } }
    ]
  })
  const { line, socket } = await firstLine(port('silent'))
  t.equal(line, 'good')
  socket.destroy()
  t.equal((await firstLine(port('reader'), 'one log line')).line, 'closed')
})

t.test('connect time-out: the next upstream, and in the end none', async (t) => {
  const clock = new FakeClock()
  // A listener whose queue is full does not answer: the system drops the handshake.
  const stuck = createServer()
  stuck.listen({ port: 0, host: '127.0.0.1', backlog: 1 })
  await once(stuck, 'listening')
  const { port: stuckPort } = stuck.address() as { port: number }
  stuck.close()
  const good = await named(t, 'good')
  const { port, stream } = await proxy(t, {
    clock,
    listeners: [
      { name: 'next', listen: '127.0.0.1:0', pool: { upstreams: ['tcp://192.0.2.1:9', good.url], policy: 'first', connection: { connectTimeout: 500 } } },
      { name: 'none', listen: '127.0.0.1:0', pool: { upstreams: ['tcp://192.0.2.1:9'], connection: { connectTimeout: 500 } }, retries: 1 },
      { name: 'refused', listen: '127.0.0.1:0', pool: [`tcp://127.0.0.1:${stuckPort}`], retries: 1 }
    ]
  })
  // Where there is no route to the documentation's network the system says so at once: that is another failure, with the same end.
  const timeOut = async (name: string, failures: number): Promise<void> => {
    const [stuck] = stream.pools.get(name)!.upstreams
    const failed = (): number => [...stream.listener(name).counters.failures.values()].reduce((sum, count) => sum + count, 0)
    await until(() => stuck!.load.inFlight === 1 || failed() >= failures)
    if (failed() < failures) clock.advance(600)
  }
  const next = firstLine(port('next'))
  await timeOut('next', 1)
  t.equal((await next).line, 'good')
  ;(await next).socket.destroy()
  const none = firstLine(port('none'))
  await timeOut('none', 1)
  await timeOut('none', 2)
  t.match(await none, { line: /closed|error/ })
  t.match(await firstLine(port('refused')), { line: /closed|error/ })
  t.equal(stream.listener('refused').counters.failures.get('connect-refused'), 2)
})

t.test('refused connections cost nothing of the budget, and are passed over while somebody is there', async (t) => {
  const gone = await Promise.all(Array.from({ length: 5 }, async () => {
    const one = await named(t, 'gone')
    await one.stop()
    return one.url
  }))
  const good = await named(t, 'good')
  const pool = { upstreams: [...gone, good.url], policy: 'first' as const, retryBudget: { ratio: 0, perSecond: 0 } }
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'db', listen: '127.0.0.1:0', pool, retries: 1 }, { name: 'once', listen: '127.0.0.1:0', pool, retries: 0 },
      { name: 'none', listen: '127.0.0.1:0', pool: { ...pool, upstreams: gone }, retries: 1 }
    ]
  })
  const { line, socket } = await firstLine(port('db'))
  t.equal(line, 'good')
  socket.destroy()
  t.equal(stream.listener('db').counters.failures.get('connect-refused'), 5)
  t.match(await firstLine(port('once')), { line: /closed|error/ }, 'with 0 nothing is tried again')
  t.equal(stream.listener('once').counters.failures.get('connect-refused'), 1)
  t.match(await firstLine(port('none')), { line: /closed|error/ })
  t.equal(stream.listener('none').counters.failures.get('connect-refused'), 5, 'each once')
})

t.test('nobody is ready: closed at once, and counted', async (t) => {
  const a = await named(t, 'a')
  const { port, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: [a.url] }] })
  stream.pools.get('db')!.upstreams[0]!.health.force('maintenance', 'by hand')
  t.match(await firstLine(port('db')), { line: /closed|error/ })
  t.equal(stream.listener('db').counters.ends.get('none-ready'), 1)
})

t.test('idle connections and old ones are closed, in use or not', async (t) => {
  const clock = new FakeClock()
  const a = await upstream(t, (socket) => { socket.pipe(socket) })
  const { port, stream } = await proxy(t, {
    clock, listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: [a.url], idleTimeout: 10_000, maxConnectionAge: 60_000 }]
  })
  const open = async () => {
    const socket = connect(port('db'), '127.0.0.1')
    socket.write('x')
    await once(socket, 'data')
    return socket
  }
  const [idle, busy] = [await open(), await open()]
  clock.advance(6000)
  busy.write('x')
  await once(busy, 'data')
  const idleClosed = once(idle, 'close')
  clock.advance(6000)
  await idleClosed
  t.same([...stream.listener('db').counters.ends], [['idle-timeout', 1]])
  const busyClosed = once(busy, 'close')
  for (let i = 0; i < 9; i++) {
    if (busy.destroyed) break
    busy.write('x')
    await Promise.race([once(busy, 'data'), busyClosed])
    clock.advance(6000)
  }
  await busyClosed
  t.same([...stream.listener('db').counters.ends], [['idle-timeout', 1], ['max-age', 1]])
})

t.test('a trial of an ejected upstream is decided by its connection, not by its end hours later', async (t) => {
  const clock = new FakeClock()
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const { port, stream } = await proxy(t, { clock, listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [a.url, b.url], policy: 'first', panicThreshold: 0 } }] })
  const [first] = stream.pools.get('db')!.upstreams
  first!.health.eject('refused', { base: 1000, max: 1000 })
  clock.advance(2000)
  const { line, socket } = await firstLine(port('db'))
  t.equal(line, 'a')
  t.equal(first!.health.state, 'up')
  socket.destroy()
})

t.test('an upstream is killed under 1,000 connections: all learn of it, new ones go elsewhere', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const { port, stream } = await proxy(t, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { upstreams: [a.url, b.url], policy: 'round-robin', slowStart: 0 } }] })
  const counts: Record<string, number> = {}
  const sockets = []
  for (let i = 0; i < 1000; i += 50) {
    for (const { line, socket } of await Promise.all(Array.from({ length: 50 }, () => firstLine(port('db'))))) {
      counts[line] = (counts[line] ?? 0) + 1
      sockets.push({ line, socket })
    }
  }
  t.same(counts, { a: 500, b: 500 })
  for (const socket of b.sockets) socket.resetAndDestroy()
  await b.stop()
  await Promise.all(sockets.map(async ({ line, socket }) => { if (line === 'b' && !socket.closed) await once(socket, 'close').catch(() => {}) }))
  t.equal(sockets.filter(({ line, socket }) => line === 'a' && !socket.destroyed).length, 500, 'the others live on')
  await until(() => stream.listener('db').counters.active === 500)
  for (let i = 0; i < 10; i++) {
    const { line, socket } = await firstLine(port('db'))
    t.equal(line, 'a')
    socket.destroy()
  }
  for (const { socket } of sockets) socket.destroy()
  await until(() => stream.listener('db').counters.active === 0)
  for (const { load } of stream.pools.get('db')!.upstreams) t.equal(load.inFlight, 0)
})
