import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import balancer from '@headgate/balancer'
import stream, { type StreamOptions } from '../src/index.ts'
import { firstLine, named, proxy, until } from './helpers.ts'

/** A connection that ends with the test: the app waits for it when it closes. */
async function first (t: Test, port: number): ReturnType<typeof firstLine> {
  const connection = await firstLine(port)
  t.teardown(() => { connection.socket.destroy() })
  return connection
}

t.test('what does not change stays: listeners, pools, and what is known of upstreams', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const options = (upstreams: string[], more: object[] = [], retries = 2): StreamOptions => ({
    pools: { db: upstreams }, listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: 'db', retries }, ...more as []]
  })
  const { app, port } = await proxy(t, options([a.url, b.url]))
  const [pool, listener] = [app.stream.pools.get('db')!, app.stream.listener('db')]
  const known = pool.upstreams[0]!
  known.health.force('drain', 'a test')

  const update = await app.stream.prepare(options([a.url], [{ name: 'more', listen: '127.0.0.1:0', pool: [b.url] }]))
  t.same([...app.stream.listeners.keys()], ['db'], 'prepared is not done')
  t.same([...update.stream.listeners.keys()], ['db', 'more'])
  t.equal(pool.upstreams.length, 2)
  update.commit()
  t.equal(app.stream.listener('db'), listener)
  t.equal(app.stream.pools.get('db'), pool)
  t.equal(pool.upstreams[0], known)
  t.equal(known.health.forced, 'drain')
  await until(() => pool.upstreams.length === 1)
  t.equal((await first(t, port('more'))).line, 'b')

  const again = await app.stream.prepare(options([a.url], [{ name: 'more', listen: '127.0.0.1:0', pool: [b.url] }], 1))
  again.commit()
  t.not(app.stream.listener('db'), listener, 'another one')
  t.equal(app.stream.listener('db').counters, listener.counters, 'goes on counting')
  t.equal(listener.address, undefined)
  t.equal(app.stream.pools.get('db'), pool)

  const discarded = await app.stream.prepare(options([a.url], [{ name: 'more', listen: '127.0.0.1:0', pool: [b.url] }, { name: 'never', listen: '127.0.0.1:0', pool: [b.url] }]))
  const { address } = discarded.stream.listener('never')
  await discarded.discard()
  t.match((await firstLine(Number(/\d+$/.exec(address!)![0]))).line, 'ECONNREFUSED')
  t.ok(app.stream.listener('more').address)
})

t.test('connections of one that has gone live on, and are cut when the app has closed for its time', async (t) => {
  const a = await named(t, 'a')
  const { app, port } = await proxy(t, { listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [a.url], drainTimeout: 0 }] })
  const { line, socket } = await first(t, port('x'))
  t.equal(line, 'a')
  const gone = app.stream.pools.get('x')!
  ;(await app.stream.prepare({ listeners: [] })).commit()
  t.same([...app.stream.listeners.keys(), ...app.stream.pools.keys()], [])
  socket.write('ping')
  t.equal(String((await once(socket, 'data'))[0]), 'ping')
  t.equal(gone.inFlight, 1)
  await app.close()
  await (socket.closed || once(socket, 'close'))
  t.equal(gone.inFlight, 0)
})

t.test('closeWhenDown holds for the one at work, and for what the one before had', async (t) => {
  const a = await named(t, 'a')
  const options = (name: string): StreamOptions => ({ pools: { db: [a.url] }, listeners: [{ name, listen: '127.0.0.1:0', pool: 'db', closeWhenDown: true }] })
  const { app, port } = await proxy(t, options('x'))
  const pool = app.stream.pools.get('db')!
  const before = await first(t, port('x'))
  ;(await app.stream.prepare(options('y'))).commit()
  const after = await first(t, port('y'))
  t.equal(pool.listenerCount('state'), 3, 'the log, and both')
  const ended = Promise.all([before, after].map(({ socket }) => once(socket, 'close')))
  pool.upstreams[0]!.health.probed(false, 'no answer', { rise: 1, fall: 1 })
  await ended
  await until(() => pool.listenerCount('state') === 2)
})

t.test('UDP: sessions go on with whom they had, others get the new pool', async (t) => {
  const servers = await Promise.all(['a', 'b'].map(async (name) => {
    const socket = createSocket('udp4')
    socket.on('message', (datagram, { port, address }) => { socket.send(`${name}:${String(datagram)}`, port, address) })
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    t.teardown(() => { socket.close() })
    return `udp://127.0.0.1:${socket.address().port}`
  }))
  const options = (upstream: string): StreamOptions => ({ listeners: [{ protocol: 'udp', name: 'dns', listen: '127.0.0.1:0', pool: [upstream] }] })
  const { app, port } = await proxy(t, options(servers[0]!))
  const client = (): Socket => {
    const socket = createSocket('udp4')
    t.teardown(() => { socket.close() })
    return socket
  }
  const ask = async (socket: Socket, text: string): Promise<string> => {
    socket.send(text, port('dns'), '127.0.0.1')
    return String((await once(socket, 'message'))[0])
  }
  const [old, young] = [client(), client()]
  t.equal(await ask(old, '1'), 'a:1')
  const before = port('dns')
  const active = app.stream.listener('dns').counters
  ;(await app.stream.prepare(options(servers[1]!))).commit()
  t.equal(port('dns'), before)
  t.equal(await ask(old, '2'), 'a:2')
  t.equal(await ask(young, '3'), 'b:3')
  t.equal(active.active, 2)
  ;(await app.stream.prepare(options(servers[0]!))).commit()
  t.equal(await ask(old, '4'), 'a:4', 'through two that were before')
  t.equal(await ask(young, '5'), 'b:5')
  await app.close()
  t.equal(active.active, 0)
})

t.test('mistakes leave everything as it was', async (t) => {
  const a = await named(t, 'a')
  const { app, port } = await proxy(t, { listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [a.url] }] })
  for (const [bad, expected] of [
    [{ listeners: [{ listen: 'nowhere', pool: [a.url] }] }, { code: 'HG_STREAM_INVALID_OPTION' }],
    [{ listeners: [{ listen: '127.0.0.1:0', pool: [] }] }, { message: /upstreams: must name at least one/ }],
    [{ listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [a.url] }, { listen: `127.0.0.1:${port('x')}`, pool: [a.url] }] }, { code: 'HG_STREAM_LISTEN' }]
  ] as const) await t.rejects(app.stream.prepare(bad as never), expected)
  t.equal((await first(t, port('x'))).line, 'a')
  t.same([...app.stream.pools.keys()], ['x'])

  const several = Fastify()
  t.teardown(() => several.close())
  for (const name of ['one', 'two']) await several.register(stream, { listeners: [{ name, listen: '127.0.0.1:0', pool: [a.url] }] })
  await t.rejects(several.stream.prepare({ listeners: [] }), { code: 'HG_STREAM_INVALID_OPTION', message: /several registrations/ })
})

t.test('the balancer of the same app has the pools that are at work', async (t) => {
  const a = await named(t, 'a')
  const { app } = await proxy(t, { listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [a.url] }] }, (app) => app.register(balancer, { pools: { web: ['http://127.0.0.1:1'] } }))
  ;(await app.stream.prepare({ listeners: [{ name: 'y', listen: '127.0.0.1:0', pool: [a.url] }] })).commit()
  t.same([...app.balancer.pools.keys()].toSorted(), ['web', 'y'])
  // Told before anything has begun: commit could not take it back.
  await t.rejects(app.stream.prepare({ listeners: [{ name: 'web', listen: '127.0.0.1:0', pool: [a.url] }] }), { message: /name of one of the balancer's pools/ })
})
