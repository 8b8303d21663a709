import { channel } from 'node:diagnostics_channel'
import { type Socket, connect } from 'node:net'
import { type AttemptMessage, seeded } from '@headgate/core'
import t from 'tap'
import { proxy, rawUpstream, until } from './helpers.ts'

const FAULTS: ((socket: Socket) => void)[] = [
  (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello') },
  (socket) => { socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n') },
  (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\nAccept-Ranges: bytes\r\n\r\nhe', () => { socket.end() }) },
  (socket) => { socket.write('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n') },
  (socket) => { socket.write('HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n') },
  (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Le') },
  (socket) => { socket.write('nonsense\r\n\r\n') },
  (socket) => { socket.resetAndDestroy() },
  (socket) => { socket.end() },
  () => {}
]

t.test('whatever upstreams and clients do, in any order: each attempt ends with one outcome, and nothing stays in flight', async (t) => {
  const random = seeded(20)
  const upstreams = await Promise.all([1, 2, 3].map(() => rawUpstream(t, (socket) => {
    const fault = FAULTS[Math.floor(random() * FAULTS.length)]!
    if (random() < 0.5) fault(socket)
    else setTimeout(() => { if (!socket.destroyed) fault(socket) }, random() * 10)
  })))
  const { port, app } = await proxy(t, {
    pools: { web: { upstreams, maxInFlightPerUpstream: 4, queue: { limit: 8, timeout: 30 }, policy: 'random', retryBudget: { ratio: 1 } } }, random,
    routes: [{ prefix: '/', pool: 'web', headersTimeout: 30, idleTimeout: 50 }, { prefix: '/whole', pool: 'web', timeout: 25 }, { prefix: '/try', pool: 'web', tryTimeout: 20 }]
  })
  const pool = app.balancer.pool('web')
  let ended = 0
  const listen = (message: unknown): void => { if ((message as AttemptMessage).pool === 'web') ended++ }
  channel('headgate:balancer:attempt').subscribe(listen)
  t.teardown(() => channel('headgate:balancer:attempt').unsubscribe(listen))
  let outcomes = 0
  pool.on('outcome', () => { outcomes++ })
  const client = (): Promise<void> => new Promise((resolve) => {
    const path = ['/', '/whole', '/try'][Math.floor(random() * 3)]!
    const body = random() < 0.5 ? 'Content-Length: 3\r\n\r\nabc' : '\r\n'
    const socket = connect(port, '127.0.0.1', () => { socket.write(`${body === '\r\n' ? 'GET' : 'POST'} ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n${body}`) })
    socket.on('error', () => {}).on('close', () => { resolve() }).resume()
    if (random() < 0.4) setTimeout(() => { socket.destroy() }, random() * 40)
  })
  let left = 600
  await Promise.all(Array.from({ length: 24 }, async () => { while (left-- > 0) await client() }))
  await until(() => pool.inFlight === 0 && pool.queued === 0)
  const picked = pool.upstreams.reduce((sum, { load }) => sum + load.picked, 0)
  t.ok(picked > 400, `${picked} attempts`)
  t.same([ended, outcomes], [picked, picked])
  t.same(pool.upstreams.map(({ load }) => load.inFlight), [0, 0, 0])
})
