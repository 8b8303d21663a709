import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readConfig } from '../src/config/read.ts'
import { type ServeOptions, serve } from '../src/index.ts'

async function upstream (t: Test): Promise<string> {
  const server = createServer((_, response) => response.end('ok')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Statuses of requests, one after the other. */
async function ask (url: string, count: number): Promise<number[]> {
  const statuses: number[] = []
  for (let i = 0; i < count; i++) statuses.push((await fetch(url)).status)
  return statuses
}

t.test('requests per time: for all routes, for one, and none for another', async (t) => {
  const to = await upstream(t)
  const folder = mkdtempSync(join(tmpdir(), 'headgate-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const file = join(folder, 'headgate.config.yaml')
  writeFileSync(file, `
listen: 127.0.0.1:0
logLevel: silent
pools: { web: ['${to}'] }
rateLimit: { max: 4, timeWindow: 10m }
admin: { prefix: /steer }
routes:
  - { prefix: /, pool: web }
  - { prefix: /login, pool: web, config: { rateLimit: { max: 1, timeWindow: 1h } }, errorPages: { 429: { body: 'slowly' } } }
  - { prefix: /files, pool: web, config: { rateLimit: false } }
`)
  const options = await readConfig(file)
  t.match(options, { rateLimit: { timeWindow: 600_000 }, routes: [{}, { config: { rateLimit: { timeWindow: 3_600_000 } } }] })
  const proxy = await serve(options)
  t.teardown(() => proxy.close())
  const [url] = proxy.addresses as [string]
  t.same(await ask(`${url}/login`, 2), [200, 429])
  const refused = await fetch(`${url}/login`, { headers: { accept: 'text/html' } })
  t.equal(await refused.text(), 'slowly')
  t.ok(Number(refused.headers.get('retry-after')) > 3000)
  t.same(await ask(`${url}/files`, 6), [200, 200, 200, 200, 200, 200])
  t.same(await ask(url, 5), [200, 200, 200, 200, 429])
  t.same(await ask(`${url}/steer/api/pools`, 6), [200, 200, 200, 200, 200, 200], 'operators are not counted')
})

t.test('a route alone', async (t) => {
  const proxy = await serve({
    listen: '127.0.0.1:0', logLevel: 'silent', health: false, pools: { web: [await upstream(t)] },
    routes: [{ prefix: '/', pool: 'web' }, { prefix: '/login', pool: 'web', config: { rateLimit: { max: 1, timeWindow: 600_000 } } }]
  })
  t.teardown(() => proxy.close())
  const [url] = proxy.addresses as [string]
  t.same(await ask(`${url}/login`, 2), [200, 429])
  t.same(await ask(url, 3), [200, 200, 200])
})

t.test('a prefix has one limit, whatever the method and what stands behind it, and a reload does not begin anew', async (t) => {
  const to = await upstream(t)
  const options = (max: number): ServeOptions => ({
    listen: '127.0.0.1:0', logLevel: 'silent', health: false, pools: { web: [to] },
    routes: [{ prefix: '/', pool: 'web', config: { rateLimit: { max: 2, timeWindow: 600_000 } } }, { prefix: '/login', pool: 'web', config: { rateLimit: { max, timeWindow: 600_000 } } }]
  })
  const proxy = await serve(options(3))
  t.teardown(() => proxy.close())
  const [url] = proxy.addresses as [string]
  const statuses: number[] = []
  for (const [method, path] of [['GET', '/login'], ['POST', '/login'], ['GET', '/login/x'], ['POST', '/login/y'], ['HEAD', '/login'], ['GET', '/'], ['POST', '/z'], ['PUT', '/']] as const) {
    statuses.push((await fetch(url + path, { method })).status)
  }
  t.same(statuses, [200, 200, 200, 429, 429, 200, 200, 429])
  await proxy.reload(options(6))
  t.same(await ask(`${url}/login`, 2), [200, 429])
})

t.test('mistakes are named', async (t) => {
  const start = (more: object, config?: object) => async () => serve({
    listen: '127.0.0.1:0', logLevel: 'silent', pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web', ...config && { config } }], ...more
  } as ServeOptions)
  for (const [run, message] of [
    [start({ rateLimit: { maximum: 1 } }), /options\.rateLimit\.maximum: unknown option/],
    [start({ rateLimit: { max: 0 } }), /options\.rateLimit\.max/],
    [start({ rateLimit: { global: false } }), /options\.rateLimit\.global: unknown option/],
    [start({}, { rateLimit: { max: 'many' } }), /options\.routes\[0\]\.config\.rateLimit/],
    [start({}, { rateLimit: true }), /options\.routes\[0\]\.config\.rateLimit/]
  ] as const) await t.rejects(run, { code: 'HG_POOL_INVALID_OPTION', message }, String(message))
})
