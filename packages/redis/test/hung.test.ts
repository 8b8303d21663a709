import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { connectRedis, type RedisOptions, type RedisState } from '../src/index.ts'
import { redisServer, sentinel, type Test, until } from './servers.ts'

/** Accepts and never says a word, as a process that hangs does, or passes all on to a server: whichever it is set to when a connection comes. */
async function door (t: Test, to: number): Promise<{ readonly url: string; hangs: boolean; swallowed: number }> {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    sockets.add(near)
    near.on('error', () => {})
    if (state.hangs) {
      state.swallowed++
      near.resume()
      return
    }
    const far = connect(to, '127.0.0.1')
    sockets.add(far)
    far.on('error', () => {})
    near.pipe(far).pipe(near)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const state = { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`, hangs: true, swallowed: 0 }
  return state
}

function open (t: Test, options: RedisOptions): RedisState {
  const state = connectRedis({ timeout: 5000, connectTimeout: 100, ...options })
  t.teardown(() => state.close())
  return state
}

const answers = (state: RedisState): Promise<void> => until(async () => {
  try { return await state.connection.client.ping() === 'PONG' } catch { return false }
})

t.test('whoever was connected to a server that hangs from the first word connects anew', { skip: skipWithout('redis-server'), timeout: 60_000 }, async (t) => {
  const server = await redisServer(t)
  const to = await door(t, server.port)
  const state = open(t, { url: to.url })
  const store = state.cache()
  t.teardown(() => store.close?.())
  await until(() => to.swallowed >= 2)
  to.hangs = false
  await answers(state)
  await state.ready
  t.ok(to.swallowed >= 2, 'its own connection and that of the log of purges')
})

t.test('a sentinel that hangs does not keep from asking the next', { skip: skipWithout('redis-server'), timeout: 60_000 }, async (t) => {
  const server = await redisServer(t)
  const real = await sentinel(t, server.port)
  const hanging = await door(t, real.port)
  const state = open(t, { sentinel: { nodes: [hanging.url, real.url], name: 'main' } })
  await answers(state)
  t.ok(hanging.swallowed > 0, 'it was asked first')
})

t.test('a connection is given up once, however many questions it leaves without an answer', { skip: skipWithout('redis-server'), timeout: 60_000 }, async (t) => {
  const server = await redisServer(t)
  const state = open(t, { url: server.url, timeout: 50, failures: 2 })
  await answers(state)
  let hung = 0
  state.connection.on('hung', () => { hung++ })
  server.pause()
  await Promise.all(Array.from({ length: 30 }, () => t.rejects(state.connection.ask((client) => client.ping()), { code: 'HG_REDIS_AWAY' })))
  t.equal(hung, 1)
  server.resume()
  await answers(state)
  server.pause()
  await until(async () => {
    await state.connection.ask((client) => client.ping()).catch(() => {})
    return hung === 2
  })
  server.resume()
})
