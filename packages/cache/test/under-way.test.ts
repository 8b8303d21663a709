import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { channels, type CacheOptions, type Purge, type StoreMessage } from '../src/index.ts'
import { app, eventually, type Test, TestClock } from './helpers.ts'

const headers = { host: 'a.example' }
const URL_X = 'http://a.example/x'

/** Purges that all concern `/x`, which has the tag `x` and the group `g`. */
const purges: Readonly<Record<string, Purge>> = {
  url: { urls: [URL_X] },
  prefix: { prefixes: ['http://a.example/'] },
  tag: { tags: ['x'] },
  group: { groups: [{ origin: 'http://a.example', name: 'g' }] },
  everything: { all: true },
  'a tag, softly': { tags: ['x'], soft: true }
}
const fields = { 'cache-control': 'max-age=60', 'cache-tag': 'x', 'cache-groups': '"g"', etag: '"1"' }

interface Gate {
  readonly reached: Promise<void>
  readonly opened: Promise<void>
  reach (): void
  open (): void
}

function gate (): Gate {
  let [reach, open] = [(): void => {}, (): void => {}]
  const reached = new Promise<void>((resolve) => { reach = resolve })
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { reached, opened, reach, open }
}

/** What is said of `/x` by what is stored alone. */
async function stored (instance: FastifyInstance, more: Record<string, string> = {}): Promise<string> {
  const { headers: found } = await instance.inject({ url: '/x', headers: { ...headers, 'cache-control': 'only-if-cached', ...more } })
  return /; (hit|fwd=[a-z-]+)/.exec(String(found['cache-status']))![1]!
}

async function make (t: Test, routes: (app: FastifyInstance) => void, options: CacheOptions = {}): Promise<FastifyInstance> {
  const { app: instance } = await app(t, { clock: new TestClock(), ...options }, routes)
  return instance
}

for (const [what, purge] of Object.entries(purges)) {
  for (const when of ['before its head', 'amid its body']) {
    t.test(`a purge by ${what} while a POST's answer is under way, ${when}: it is not stored for later GETs`, async (t) => {
      const hold = gate()
      const instance = await make(t, (app) => {
        app.get('/x', (_request, reply) => reply.headers(fields).send('got'))
        app.post('/x', async (_request, reply) => {
          if (when === 'before its head') {
            hold.reach()
            await hold.opened
            return reply.headers({ ...fields, 'content-location': '/x' }).send('posted')
          }
          reply.hijack()
          reply.raw.writeHead(200, { ...fields, 'content-location': '/x' })
          reply.raw.write('pos')
          hold.reach()
          await hold.opened
          reply.raw.end('ted')
        })
      })
      const post = instance.inject({ method: 'POST', url: '/x', headers })
      await hold.reached
      await instance.cache.purge(purge)
      hold.open()
      t.equal((await post).body, 'posted')
      t.equal(await stored(instance), 'fwd=uri-miss')
      t.equal((await instance.inject({ url: '/x', headers })).body, 'got')
    })
  }
}

t.test('a POST\'s answer is stored when what is purged meanwhile is something else', async (t) => {
  const hold = gate()
  const instance = await make(t, (app) => {
    app.get('/x', (_request, reply) => reply.headers(fields).send('got'))
    app.post('/x', async (_request, reply) => {
      hold.reach()
      await hold.opened
      return reply.headers({ ...fields, 'content-location': '/x' }).send('posted')
    })
  })
  const post = instance.inject({ method: 'POST', url: '/x', headers })
  await hold.reached
  await instance.cache.purge({ tags: ['y'], urls: ['http://a.example/y'], prefixes: ['http://b.example/'] })
  hold.open()
  await post
  t.equal(await stored(instance), 'hit')
})

t.test('a HEAD that was asked before a soft purge makes nothing fresh again, one that was asked after it does', async (t) => {
  const hold = gate()
  const instance = await make(t, (app) => {
    app.get('/x', { exposeHeadRoute: false }, (_request, reply) => reply.headers(fields).send('got'))
    app.head('/x', async (_request, reply) => {
      hold.reach()
      await hold.opened
      return reply.headers({ ...fields, 'content-length': '3' }).send()
    })
  })
  await instance.inject({ url: '/x', headers })
  t.equal(await stored(instance), 'hit')
  const head = instance.inject({ method: 'HEAD', url: '/x', headers: { ...headers, 'cache-control': 'no-cache' } })
  await hold.reached
  await instance.cache.purge({ tags: ['x'], soft: true })
  hold.open()
  await head
  t.equal(await stored(instance), 'fwd=stale')
  await instance.inject({ method: 'HEAD', url: '/x', headers: { ...headers, 'cache-control': 'no-cache' } })
  t.equal(await stored(instance), 'hit')
})

for (const [what, purge] of Object.entries(purges)) {
  t.test(`a purge by ${what} while each fetches for itself: nothing of that is stored`, async (t) => {
    const hold = gate()
    const instance = await make(t, (app) => app.get('/x', async (_request, reply) => {
      hold.reach()
      await hold.opened
      return reply.headers(fields).send('old')
    }), { collapse: false })
    const answer = instance.inject({ url: '/x', headers })
    await hold.reached
    await instance.cache.purge(purge)
    hold.open()
    t.equal((await answer).body, 'old')
    t.equal(await stored(instance), 'fwd=uri-miss')
  })
}

const urls = {
  'that a response turns out to have, by its No-Vary-Search': URL_X,
  'that was asked for, of a response that turns out to have another one': `${URL_X}?utm=1`
}
for (const [what, url] of Object.entries(urls)) {
  t.test(`a purge by the URL ${what}`, async (t) => {
    const hold = gate()
    const instance = await make(t, (app) => app.get('/x', async (_request, reply) => {
      hold.reach()
      await hold.opened
      return reply.headers({ ...fields, 'no-vary-search': 'params' }).send('old')
    }))
    const answer = instance.inject({ url: '/x?utm=1', headers })
    await hold.reached
    await instance.cache.purge({ urls: [url] })
    hold.open()
    t.equal((await answer).body, 'old')
    t.equal(await stored(instance), 'fwd=uri-miss')
  })
}

const changes: Readonly<Record<string, (instance: FastifyInstance) => unknown>> = {
  ...Object.fromEntries(Object.entries(purges).map(([what, purge]) => [`a purge by ${what}`, (instance: FastifyInstance) => instance.cache.purge(purge)])),
  'an unsafe request': (instance) => instance.inject({ method: 'POST', url: '/x', headers })
}
for (const [what, change] of Object.entries(changes)) {
  for (const when of ['before its head', 'amid its body']) {
    t.test(`who asks after ${what} shares nothing that was asked for before it, ${when}`, async (t) => {
      const hold = gate()
      let came = 0
      let asked = 0
      const instance = await make(t, (app) => {
        app.addHook('preHandler', async ({ method }) => { if (method === 'GET') came++ })
        app.get('/x', async (_request, reply) => {
          if (++asked > 1) return reply.headers(fields).send('new')
          if (when === 'before its head') {
            hold.reach()
            await hold.opened
            return reply.headers(fields).send('old')
          }
          reply.hijack()
          reply.raw.writeHead(200, fields)
          reply.raw.write('o')
          hold.reach()
          await hold.opened
          reply.raw.end('ld')
        })
        app.post('/x', (_request, reply) => reply.send('done'))
      })
      const early = instance.inject({ url: '/x', headers }).then(({ body }) => body)
      await hold.reached
      await change(instance)
      const late = instance.inject({ url: '/x', headers }).then(({ body }) => body)
      await eventually(() => came === 2)
      hold.open()
      t.same(await Promise.all([early, late]), ['old', 'new'])
    })
  }
}

t.test('a purge while two parts are joined on a disk: the whole is not stored', async (t) => {
  const [path, body] = [t.testdir(), 'abcdefgh']
  const instance = await make(t, (app) => app.get('/x', (request, reply) => {
    const [, from, to] = /^bytes=(\d)-(\d)$/.exec(request.headers.range!)!
    return reply.code(206).headers({ ...fields, 'content-range': `bytes ${from}-${to}/8` }).send(body.slice(Number(from), Number(to) + 1))
  }), { disk: { path } })
  await instance.inject({ url: '/x', headers: { ...headers, range: 'bytes=0-3' } })
  while (instance.cache.stats.stored < 1) await new Promise((resolve) => { setImmediate(resolve) })
  let purged: Promise<number> | undefined
  const listener = (message: unknown): void => {
    // The second part is there, and is being joined with the first one at the end of this turn.
    if ((message as StoreMessage).stored) queueMicrotask(() => { purged ??= instance.cache.purge({ tags: ['x'] }) })
  }
  channels.store.subscribe(listener)
  t.teardown(() => { channels.store.unsubscribe(listener) })
  await instance.inject({ url: '/x', headers: { ...headers, range: 'bytes=4-7' } })
  while (purged === undefined) await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(await purged, 2, 'both parts')
  while (readdirSync(join(path, 'tmp')).length > 0) await new Promise((resolve) => { setImmediate(resolve) })
  t.same(readdirSync(path).filter((name) => name.endsWith('.entry')), [])
  t.equal(await stored(instance), 'fwd=uri-miss')
})

t.test('parts on a disk are joined one after the other, until they are the whole', async (t) => {
  const body = 'abcdefghi'
  const instance = await make(t, (app) => app.get('/x', (request, reply) => {
    const [, from, to] = /^bytes=(\d)-(\d)$/.exec(request.headers.range!)!
    return reply.code(206).headers({ ...fields, 'content-range': `bytes ${from}-${to}/9` }).send(body.slice(Number(from), Number(to) + 1))
  }), { disk: { path: t.testdir() } })
  for (const [n, range] of ['0-2', '6-8', '3-5'].entries()) {
    await instance.inject({ url: '/x', headers: { ...headers, range: `bytes=${range}` } })
    while (instance.cache.stats.stored <= n) await new Promise((resolve) => { setImmediate(resolve) })
  }
  while (await stored(instance) !== 'hit') await new Promise((resolve) => { setImmediate(resolve) })
  t.equal((await instance.inject({ url: '/x', headers })).body, body)
})
