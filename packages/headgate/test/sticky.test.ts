import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readConfig } from '../src/config/read.ts'
import { serve } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

async function upstream (t: Test, name: string): Promise<string> {
  const server = createServer((_request, response) => { response.end(name) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('sticky in a configuration file, its mistakes named', async (t) => {
  const file = join(t.testdir({}), 'sticky.yaml')
  const pools = `listen: 127.0.0.1:0\nlogLevel: silent\npools:\n  web: { upstreams: [${await upstream(t, 'a')}, ${await upstream(t, 'b')}], policy: round-robin }\n`
  writeFileSync(file, `${pools}sticky: { by: query, name: user, pools: { web: { by: header, name: x-user, idleTimeout: 1h } } }\n`)
  const proxy = await serve(await readConfig(file))
  t.teardown(() => proxy.close())
  const [url = ''] = proxy.addresses
  const ask = async (user: string): Promise<string> => (await fetch(url, { headers: { 'x-user': user } })).text()
  const homes = [await ask('ada'), await ask('bob')]
  t.not(homes[0], homes[1])
  for (let i = 0; i < 3; i++) t.same([await ask('ada'), await ask('bob')], homes)
  writeFileSync(file, `${pools}sticky: { failover: never }\n`)
  await t.rejects(serve(await readConfig(file)), { message: "options.sticky.failover: must be one of 'rebind', 'borrow', 'strict'; got 'never'" })
})

t.test('without a secret: refused in production, with a word about the environment; made up elsewhere', async (t) => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  const options = { listen: '127.0.0.1:0', logLevel: 'silent', pools: { web: [await upstream(t, 'a')] }, routes: [{ prefix: '/', pool: 'web' }], sticky: {} } as const
  process.env['NODE_ENV'] = 'production'
  await t.rejects(serve(options), {
    code: 'HG_STICKY_NO_KEY', message: /^options\.sticky\.keys, or HEADGATE_STICKY_KEYS in the environment, is required in production: .*32 bytes/
  })
  delete process.env['NODE_ENV']
  const proxy = await serve(options)
  t.teardown(() => proxy.close())
  t.equal((await fetch(proxy.addresses[0]!)).headers.getSetCookie().length, 1)
})
