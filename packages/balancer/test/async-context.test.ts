import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { Agent, get } from 'node:http'
import { connect } from 'node:http2'
import { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import { proxy, refusing, upstream, until } from './helpers.ts'

const REQUESTS = 200
const TOGETHER = 16

/** What hooks find in a storage that was filled when the request came. */
class Watch {
  readonly storage = new AsyncLocalStorage<string>()
  /** What was somebody else's: where, whose, and what was found. */
  readonly wrong: string[] = []
  readonly #seen: Record<string, number> = {}

  see (where: string, { headers }: FastifyRequest): void {
    const found = this.storage.getStore()
    this.#seen[where] = this.count(where) + 1
    if (found !== headers['x-id']) this.wrong.push(`${where} ${String(headers['x-id'])} ${found}`)
  }

  count (where: string): number { return this.#seen[where] ?? 0 }

  fill (app: FastifyInstance): void {
    app.addHook('onRequest', (request, _reply, done) => { this.storage.run(String(request.headers['x-id']), done) })
  }

  listen (app: FastifyInstance, name: 'onSend' | 'onError' | 'onResponse', late = false): void {
    app.addHook(name as 'onResponse', async (request) => {
      if (late) await turn()
      this.see(name, request)
    })
  }
}

/** Asks many times, some at once over kept connections, each with an `x-id` of its own; gives the statuses that came. */
async function ask (url: string, path: string): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: TOGETHER })
  const statuses = await Promise.all(Array.from({ length: REQUESTS }, (_, id) => new Promise<number>((resolve, reject) => {
    get(`${url}${path}`, { agent, headers: { 'x-id': String(id) } }, (response) => {
      response.resume().on('end', () => { resolve(response.statusCode!) })
    }).on('error', reject)
  })))
  agent.destroy()
  return [...new Set(statuses)]
}

/** Answers with so many bytes as the path says, a turn later: in chunks, or not at all, where it says that. */
const sizes = (t: Parameters<typeof upstream>[0]): Promise<{ url: string }> => upstream(t, (request, response) => {
  const [size, how] = request.url!.slice(1).split('-')
  setImmediate(() => {
    if (how === 'broken') return request.socket.destroy()
    if (how === 'chunked') response.write('x')
    response.end('x'.repeat(Number(size)))
  })
})
const routes = [{ prefix: '/', pool: 'web' }]

for (const path of ['/0', '/100', '/100-chunked', '/20000', '/300000']) {
  for (const late of [false, true]) {
    t.test(`onSend and onResponse are in their own request's context: ${path.slice(1)}${late ? ', hooks that take their time' : ''}`, async (t) => {
      const { url: to } = await sizes(t)
      const watch = new Watch()
      const { url } = await proxy(t, { pools: { web: [to] }, routes }, (app) => {
        watch.fill(app)
        watch.listen(app, 'onSend', late)
        watch.listen(app, 'onResponse')
      })
      t.same(await ask(url, path), [200])
      await until(() => watch.count('onResponse') === REQUESTS)
      t.equal(watch.count('onSend'), REQUESTS)
      t.same(watch.wrong, [])
    })
  }
  for (const hook of ['onSend', 'onResponse'] as const) {
    t.test(`so is ${hook} alone: ${path.slice(1)}`, async (t) => {
      const { url: to } = await sizes(t)
      const watch = new Watch()
      const { url } = await proxy(t, { pools: { web: [to] }, routes }, (app) => {
        watch.fill(app)
        watch.listen(app, hook)
      })
      t.same(await ask(url, path), [200])
      await until(() => watch.count(hook) >= REQUESTS)
      t.equal(watch.count(hook), REQUESTS)
      t.same(watch.wrong, [])
    })
  }
}

t.test('so are the lines of the log', async (t) => {
  const { url: to } = await sizes(t)
  const watch = new Watch()
  const found: unknown[] = []
  const stream = new Writable({
    write (line: Buffer, _encoding, done) {
      const { msg, stored } = JSON.parse(String(line)) as { msg: string; stored?: string }
      if (msg === 'request completed') found.push(stored)
      done()
    }
  })
  const { url } = await proxy(t, { pools: { web: [to] }, routes }, (app) => { watch.fill(app) }, { logger: { level: 'info', stream, mixin: () => ({ stored: watch.storage.getStore() }) } })
  t.same(await ask(url, '/100'), [200])
  await until(() => found.length === REQUESTS)
  t.same(found.map(Number).sort((a, b) => a - b), Array.from({ length: REQUESTS }, (_, id) => id))
})

const failures = {
  'an upstream that cannot be reached': { status: 502, pool: { upstreams: [] as string[] }, route: {} },
  'an upstream that does not answer in time': { status: 504, pool: {}, route: { headersTimeout: 50 } },
  'a queue in which nothing moves': { status: 503, pool: { maxInFlight: 1, queue: { limit: 1000, timeout: 50 } }, route: {} }
}
for (const [what, { status, pool, route }] of Object.entries(failures)) {
  t.test(`so is what follows from ${what}`, async (t) => {
    const { url: to } = await upstream(t, () => {})
    const watch = new Watch()
    const upstreams = 'upstreams' in pool ? [await refusing()] : [to]
    const { url } = await proxy(t, { pools: { web: { ...pool, upstreams } }, routes: [{ prefix: '/', pool: 'web', retry: false, ...route }] }, (app) => {
      watch.fill(app)
      watch.listen(app, 'onError')
      watch.listen(app, 'onSend')
      watch.listen(app, 'onResponse')
    })
    const asked = ask(url, '/')
    if (status === 503) {
      // The one that holds the pool's only place does not end.
      await until(() => watch.count('onResponse') >= TOGETHER - 1)
    } else {
      t.same(await asked, [status])
      await until(() => watch.count('onResponse') === REQUESTS)
    }
    t.ok(watch.count('onError') >= TOGETHER - 1)
    t.same(watch.wrong, [])
    if (status === 503) asked.catch(() => {})
  })
}

for (const own of [false, true]) {
  t.test(`so is an error handler alone${own ? ", of a route's own" : ''}`, async (t) => {
    const { url: to } = await sizes(t)
    const watch = new Watch()
    const answer = (error: { statusCode: number }, request: FastifyRequest, reply: FastifyReply): void => {
      watch.see('error handler', request)
      void reply.code(error.statusCode).send('failed')
    }
    const { url } = await proxy(t, { pools: { web: [to] }, routes: own ? [] : [{ prefix: '/', pool: 'web', retry: false }] }, (app) => {
      watch.fill(app)
      if (!own) app.setErrorHandler(answer)
      else app.get('/*', { errorHandler: answer as never }, (_request, reply) => reply.forward('web', { retry: false }))
    })
    // So many connections lie there then.
    t.same(await ask(url, '/100'), [200])
    t.same(await ask(url, '/100-broken'), [502])
    t.equal(watch.count('error handler'), REQUESTS)
    t.same(watch.wrong, [])
  })
}

t.test('so is what follows from a connection that breaks, which was opened for another', async (t) => {
  const { url: to } = await sizes(t)
  const watch = new Watch()
  const { url } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', retry: false }] }, (app) => {
    watch.fill(app)
    watch.listen(app, 'onError')
  })
  // So many connections lie there then.
  t.same(await ask(url, '/100'), [200])
  t.same(await ask(url, '/100-broken'), [502])
  t.equal(watch.count('onError'), REQUESTS)
  t.same(watch.wrong, [])
})

t.test('so is an app that is asked when another upstream has failed', async (t) => {
  const { url: to } = await sizes(t)
  const watch = new Watch()
  const inner = Fastify()
  inner.get('/*', async (request) => { watch.see('inner', request) })
  const pools = { web: { upstreams: [{ url: to }, { id: 'inner', app: inner, backup: true }], retryBudget: { ratio: 1 } } }
  const { url } = await proxy(t, { pools, routes }, (app) => { watch.fill(app) })
  t.same(await ask(url, '/100'), [200])
  t.equal(watch.count('inner'), 0)
  t.same(await ask(url, '/100-broken'), [200])
  t.equal(watch.count('inner'), REQUESTS)
  t.same(watch.wrong, [])
})

t.test('so is what waited in a queue, also in an app that is an upstream', async (t) => {
  const watch = new Watch()
  const inner = Fastify()
  inner.get('/', async (request) => {
    watch.see('inner', request)
    await turn()
    return 'x'
  })
  const { url } = await proxy(t, { pools: { web: { upstreams: [{ id: 'inner', app: inner }], maxInFlight: 2 } }, routes }, (app) => {
    watch.fill(app)
    watch.listen(app, 'onSend')
    watch.listen(app, 'onResponse')
  })
  t.same(await ask(url, '/'), [200])
  await until(() => watch.count('onResponse') === REQUESTS)
  t.equal(watch.count('inner'), REQUESTS)
  t.same(watch.wrong, [])
})

t.test('where nobody looks there is none, which costs nothing', async (t) => {
  const { url: to } = await sizes(t)
  const plain = await proxy(t, { pools: { web: [to] }, routes })
  const handled = await proxy(t, { pools: { web: [to] }, routes }, (app) => { app.setErrorHandler(() => {}) })
  let made = 0
  const hook = createHook({ init: (_id, type) => { if (type === 'headgate.exchange') made++ } }).enable()
  t.teardown(() => { hook.disable() })
  await ask(plain.url, '/100')
  t.equal(made, 0)
  await ask(handled.url, '/100')
  t.equal(made, REQUESTS)
})

// Not onResponse: Node tells that a stream has finished in no context at all, also where a route answers by itself.
t.test('so is onSend over HTTP/2', async (t) => {
  const { url: to } = await sizes(t)
  const watch = new Watch()
  const { url } = await proxy(t, { pools: { web: [to] }, routes }, (app) => {
    watch.fill(app)
    watch.listen(app, 'onSend')
  }, { http2: true } as never)
  const client = connect(url)
  t.teardown(() => { client.destroy() })
  await Promise.all(Array.from({ length: REQUESTS }, (_, id) => new Promise((resolve) => {
    client.request({ ':path': '/100', 'x-id': String(id) }).resume().on('close', resolve)
  })))
  t.equal(watch.count('onSend'), REQUESTS)
  t.same(watch.wrong, [])
})
