import { AsyncLocalStorage } from 'node:async_hooks'
import { Agent, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify, { type FastifyRequest, type FastifyServerOptions } from 'fastify'
import t from 'tap'
import cache from '../src/index.ts'

const REQUESTS = 200
const TOGETHER = 16

/** What hooks find in a storage that was filled when the request came: where, whose, and what was found, if it is somebody else's. */
class Watch {
  readonly storage = new AsyncLocalStorage<string>()
  readonly wrong: string[] = []
  readonly #seen: Record<string, number> = {}

  see (where: string, { headers }: FastifyRequest): void {
    const found = this.storage.getStore()
    this.#seen[where] = this.count(where) + 1
    if (found !== headers['x-id']) this.wrong.push(`${where} ${String(headers['x-id'])} ${found}`)
  }

  count (where: string): number { return this.#seen[where] ?? 0 }
}

interface Served { watch: Watch; ask (path: (id: number) => string): Promise<number> }

/** `/size`, `/size?number`: so many bytes, half of them a little later. `ask` gives how many of its requests the route has answered. */
async function serve (
  t: { teardown (action: () => unknown): void }, hooks: readonly ('onSend' | 'onResponse')[], options: FastifyServerOptions = {}, watch: Watch = new Watch()
): Promise<Served> {
  const app = Fastify({ forceCloseConnections: true, ...options })
  app.addHook('onRequest', (request, _reply, done) => { watch.storage.run(String(request.headers['x-id']), done) })
  for (const hook of hooks) app.addHook(hook as 'onResponse', async (request) => { watch.see(hook, request) })
  await app.register(cache)
  let handled = 0
  app.get('/:size', async (request, reply) => {
    handled++
    watch.see('handler', request)
    const asked = (request.params as { size: string }).size
    const size = asked === 'private' ? 100 : Number(asked)
    reply.header('cache-control', asked === 'private' ? 'private' : 'max-age=600').type('text/plain').hijack()
    // Others come before the head, before the body, and before its end.
    await delay(5)
    reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
    await delay(5)
    reply.raw.write('x'.repeat(size / 2))
    await delay(5)
    reply.raw.end('x'.repeat(size / 2))
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const { port } = app.server.address() as AddressInfo
  return {
    watch,
    async ask (path) {
      handled = 0
      const agent = new Agent({ keepAlive: true, maxSockets: TOGETHER })
      await Promise.all(Array.from({ length: REQUESTS }, (_, id) => new Promise<void>((resolve, reject) => {
        get({ port, host: '127.0.0.1', path: path(id), agent, headers: { 'x-id': String(id) } }, (response) => {
          response.resume().on('end', () => {
            if (response.statusCode === 200) resolve()
            else reject(new Error(`${response.statusCode}`))
          })
        }).on('error', reject)
      })))
      agent.destroy()
      return handled
    }
  }
}

for (const hooks of [['onSend', 'onResponse'], ['onSend'], ['onResponse']] as const) {
  for (const size of [100, 20_000, 100_000]) {
    t.test(`${hooks.join(' and ')}: what was stored, fetched or shared is answered in its own request's context: ${size} bytes`, async (t) => {
      const { watch, ask } = await serve(t, hooks)
      t.equal(await ask((id) => `/${size}?${id}`), REQUESTS, 'fetched')
      t.ok(await ask((id) => `/${size}?${id >> 3}x`) < REQUESTS, 'shared')
      t.equal(await ask((id) => `/${size}?${id}`), 0, 'stored')
      while (watch.count(hooks[0]) < 3 * REQUESTS) await delay(1)
      t.same(watch.wrong, [])
    })
  }
}

// Without a hook: who waits in vain for another's fetch has the handler run for itself.
t.test('a handler is in its own request\'s context, whose response turns out to be for one alone', async (t) => {
  const { watch, ask } = await serve(t, [])
  t.equal(await ask((id) => `/private?${id >> 3}`), REQUESTS)
  t.same(watch.wrong, [])
})

t.test('so are the lines of the log', async (t) => {
  const watch = new Watch()
  const found: unknown[] = []
  const stream = new Writable({
    write (line: Buffer, _encoding, done) {
      const { msg, stored } = JSON.parse(String(line)) as { msg: string; stored?: string }
      if (msg === 'request completed') found.push(stored)
      done()
    }
  })
  const { ask } = await serve(t, [], { logger: { level: 'info', stream, mixin: () => ({ stored: watch.storage.getStore() }) } }, watch)
  for (let i = 0; i < 2; i++) {
    found.length = 0
    await ask((id) => `/100?${id >> 3}`)
    while (found.length < REQUESTS) await delay(1)
    t.same(found.map(Number).sort((a, b) => a - b), Array.from({ length: REQUESTS }, (_, id) => id))
  }
})
