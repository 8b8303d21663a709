import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { proxy, upstream } from './helpers.ts'

async function refusing (): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => { server.close(resolve) })
  return `http://127.0.0.1:${port}`
}

t.test('a dead upstream is not noticed, by POST neither', async (t) => {
  let executed = 0
  const { url: live } = await upstream(t, (request, response) => {
    request.resume().on('end', () => {
      executed++
      response.end('ok')
    })
  })
  const { url } = await proxy(t, { pools: { web: { upstreams: [await refusing(), live], policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }] })
  for (let i = 0; i < 40; i++) t.equal((await fetch(url, i % 2 === 0 ? {} : { method: 'POST', body: 'x' })).status, 200)
  t.equal(executed, 40)
})

t.test('an upstream that closes without an answer: GET goes elsewhere, POST is not repeated', async (t) => {
  let posts = 0
  const rude = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (data) => {
      if (data.toString().startsWith('POST')) posts++
      socket.destroy()
    })
  })
  await new Promise<void>((resolve) => { rude.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => rude.close())
  const { url: live } = await upstream(t, (_request, response) => { response.end('ok') })
  const { url } = await proxy(t, {
    pools: { web: { upstreams: [`http://127.0.0.1:${(rude.address() as AddressInfo).port}`, live], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }]
  })
  t.equal((await fetch(url)).status, 200)
  t.equal((await fetch(url, { method: 'POST', body: 'x' })).status, 502)
  t.equal(posts, 1)
})

t.test('502 with nobody there, 504 when it takes too long, 503 with nobody ready, each with its code', async (t) => {
  const { url: hanging } = await upstream(t, () => {})
  const { url, app } = await proxy(t, {
    pools: { dead: [await refusing()], slow: [hanging] },
    routes: [{ prefix: '/dead', pool: 'dead' }, { prefix: '/slow', pool: 'slow', headersTimeout: 30, retry: false }]
  })
  const ask = async (path: string): Promise<{ status: number; code: string; after: string | null }> => {
    const response = await fetch(url + path)
    return { status: response.status, code: (await response.json() as { code: string }).code, after: response.headers.get('retry-after') }
  }
  t.same(await ask('/dead'), { status: 502, code: 'HG_UPSTREAM_FAILED', after: null })
  t.same(await ask('/slow'), { status: 504, code: 'HG_UPSTREAM_TIMEOUT', after: null })
  const pool = app.balancer.pool('slow')
  await pool.drain(pool.upstreams[0]!.id)
  t.same(await ask('/slow'), { status: 503, code: 'HG_POOL_NONE_READY', after: '1' })
})

t.test('a full pool queues, and sheds what does not fit', async (t) => {
  const waiting: (() => void)[] = []
  let arrived: () => void = () => {}
  const { url: to } = await upstream(t, (_request, response) => {
    waiting.push(() => { response.end('ok') })
    arrived()
  })
  const { url, app } = await proxy(t, {
    pools: { web: { upstreams: [to], maxInFlightPerUpstream: 1, queue: { limit: 1, timeout: 60_000 } } }, routes: [{ prefix: '/', pool: 'web' }]
  })
  const pool = app.balancer.pool('web')
  const first = new Promise<void>((resolve) => { arrived = resolve })
  const one = fetch(url)
  await first
  const two = fetch(url)
  while (pool.queued === 0) await new Promise((resolve) => { setImmediate(resolve) })
  const three = await fetch(url)
  t.equal(three.status, 503)
  t.equal((await three.json() as { code: string }).code, 'HG_POOL_OVERLOADED')
  const second = new Promise<void>((resolve) => { arrived = resolve })
  waiting.shift()!()
  t.equal((await one).status, 200)
  await second
  waiting.shift()!()
  t.equal((await two).status, 200)
})

t.test('backups serve when nobody else is ready; upstreams come, go and change weight at run time', async (t) => {
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const { url, app } = await proxy(t, { pools: { web: [a!.url, `${b!.url};backup`] }, routes: [{ prefix: '/', pool: 'web' }] })
  const ask = async (): Promise<string> => (await fetch(url)).text()
  const pool = app.balancer.pool('web')
  t.equal(await ask(), 'a')
  pool.setWeight(pool.upstreams[0]!.id, 0)
  t.equal(await ask(), 'b')
  const added = pool.add(c!.url)
  t.equal(await ask(), 'c')
  await pool.remove(added.id)
  t.equal(await ask(), 'b')
  await pool.update([`${c!.url};weight=2`])
  t.same(pool.upstreams.map(({ url: at, weight }) => [at, weight > 0]), [[c!.url, true]])
  t.equal(await ask(), 'c')
})

t.test('rules choose among pools, with fallback', async (t) => {
  const [a, b] = await Promise.all(['a', 'b'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const { url, app } = await proxy(t, {
    pools: { stable: [a!.url], canary: [b!.url] },
    routes: [{ prefix: '/', rules: [{ match: { header: { 'x-canary': 'yes' } }, pool: 'canary', fallback: ['stable'] }, { pool: { stable: 1, canary: 0 } }] }]
  })
  t.equal(await (await fetch(url)).text(), 'a')
  t.equal(await (await fetch(url, { headers: { 'x-canary': 'yes' } })).text(), 'b')
  const canary = app.balancer.pool('canary')
  await canary.drain(canary.upstreams[0]!.id)
  t.equal(await (await fetch(url, { headers: { 'x-canary': 'yes' } })).text(), 'a')
})

t.test('closing lets a running request finish and is not held up by its kept connection', async (t) => {
  let answer: () => void = () => {}
  let arrived: () => void = () => {}
  const there = new Promise<void>((resolve) => { arrived = resolve })
  const { url: to } = await upstream(t, (_request, response) => {
    answer = () => { response.end('late') }
    arrived()
  })
  const { url, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, {
    forceCloseConnections: 'idle', keepAliveTimeout: 600_000
  })
  const response = fetch(url)
  await there
  const closed = app.close()
  answer()
  t.equal(await (await response).text(), 'late')
  await closed
})
