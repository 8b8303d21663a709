import { once } from 'node:events'
import { Agent, createServer, get } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import balancer from '@headgate/balancer'
import { seeded } from '@headgate/core'
import health from '@headgate/health'
import sticky from '@headgate/sticky-session'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'

const UPSTREAMS = 6
const CLIENTS = 24
const REQUESTS = 40

/** Answers after some turns of the event loop, until it is killed: an end where all was read, else a reset. */
async function upstream (random: () => number): Promise<{ url: string; kill (): void }> {
  const sockets = new Set<Socket>()
  const server = createServer(async (_request, response) => {
    for (let turns = Math.floor(random() * 10); turns > 0; turns--) await new Promise((resolve) => { setImmediate(resolve) })
    response.end('answer')
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => { sockets.delete(socket) })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kill () {
      server.close()
      for (const socket of sockets) if (random() < 0.5) socket.destroy(); else socket.resetAndDestroy()
    }
  }
}

const plugins: Record<string, (app: FastifyInstance) => unknown> = {
  'the balancer alone': () => {},
  health: (app) => app.register(health, { check: false, passive: {} }),
  'sticky sessions': (app) => app.register(sticky, { keys: ['a secret of more than thirty-two bytes, for tests'] })
}
for (const [name, add] of Object.entries(plugins)) {
  for (const policy of ['adaptive', 'round-robin'] as const) {
    t.test(`all but one are killed at the same time, with ${name} and ${policy}: no GET is lost`, async (t) => {
      const random = seeded(1)
      const upstreams = await Promise.all(Array.from({ length: UPSTREAMS }, () => upstream(random)))
      t.teardown(() => { upstreams[0]!.kill() })
      const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
      t.teardown(() => app.close())
      await app.register(balancer, { pools: { web: { upstreams: upstreams.map(({ url }) => url), policy } }, routes: [{ prefix: '/', pool: 'web' }], random })
      await add(app)
      await app.listen({ port: 0, host: '127.0.0.1' })
      const { port } = app.server.address() as AddressInfo
      const answers = new Map<string, number>()
      let done = 0
      const ask = (agent: Agent, cookie: string): Promise<string> => new Promise((resolve, reject) => {
        get({ port, host: '127.0.0.1', agent, headers: { cookie } }, (response) => {
          let body = ''
          response.on('data', (piece: Buffer) => { body += String(piece) })
          response.on('error', reject)
          response.on('end', () => {
            const answer = response.statusCode === 200 ? body : String(response.statusCode)
            answers.set(answer, (answers.get(answer) ?? 0) + 1)
            resolve(response.headers['set-cookie']?.[0]?.split(';')[0] ?? cookie)
          })
        }).on('error', reject)
      })
      await Promise.all(Array.from({ length: CLIENTS }, async () => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1 })
        let cookie = ''
        for (let i = 0; i < REQUESTS; i++) {
          cookie = await ask(agent, cookie)
          if (++done === CLIENTS * REQUESTS / 4) for (const one of upstreams.slice(1)) one.kill()
        }
        agent.destroy()
      }))
      t.same([...answers], [['answer', CLIENTS * REQUESTS]])
    })
  }
}
