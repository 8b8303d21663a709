import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { serve } from '../src/index.ts'
import type { ServeOptions } from '../src/serve-options.ts'

type Test = { teardown (action: () => unknown): void }
type Ask = (path: string, headers?: Record<string, string>) => Promise<{ status: number; text: string }>

/** A proxy before one upstream, which answers with the fields that it gets. */
async function start (t: Test, options: Partial<ServeOptions>): Promise<Ask> {
  const server = createServer(({ headers }, response) => { response.end(JSON.stringify(headers)) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const proxy = await serve({
    listen: '127.0.0.1:0', logLevel: 'silent', pools: { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] },
    routes: [{ prefix: '/', rules: [{ match: { client: ['203.0.113.0/24'] }, respond: { status: 403 } }, { pool: 'web' }] }], ...options
  })
  t.teardown(() => proxy.close())
  return (path, headers = {}) => new Promise((resolve, reject) => {
    get(proxy.addresses[0]! + path, { headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).on('end', () => { resolve({ status: response.statusCode!, text }) })
    }).on('error', reject)
  })
}

const forwarded = { 'x-forwarded-for': '203.0.113.7', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'site.example' }

t.test('nobody is believed, unless the options say so', async (t) => {
  const ask = await start(t, {})
  const { status, text } = await ask('/', forwarded)
  t.equal(status, 200, 'the client is this machine')
  t.match(JSON.parse(text), { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
})

for (const trustProxy of ['10.0.0.0/8, loopback', ['127.0.0.0/8']]) {
  t.test(`a trusted proxy says who the client is: ${JSON.stringify(trustProxy)}`, async (t) => {
    const ask = await start(t, { trustProxy })
    t.equal((await ask('/', forwarded)).status, 403, 'the rule sees the client')
    const { text } = await ask('/', { ...forwarded, 'x-forwarded-for': '198.51.100.9' })
    t.match(JSON.parse(text), { 'x-forwarded-for': /^198\.51\.100\.9\b/, 'x-forwarded-proto': 'https', 'x-forwarded-host': 'site.example' })
  })
}

t.test('others are not believed', async (t) => {
  const ask = await start(t, { trustProxy: ['10.0.0.0/8'] })
  t.equal((await ask('/', forwarded)).status, 200)
})

t.test('who may steer is no matter of what a proxy says', async (t) => {
  const ask = await start(t, { trustProxy: 'loopback', admin: {} })
  t.equal((await ask('/headgate/api/pools')).status, 200)
  t.equal((await ask('/headgate/api/pools', { 'x-forwarded-for': '127.0.0.1' })).status, 403)
  t.equal((await ask('/headgate/api/pools', { host: 'elsewhere.example', 'x-forwarded-host': 'localhost' })).status, 403, 'a page whose name was pointed here')
})

t.test('mistakes are named', async (t) => {
  await t.rejects(start(t, { trustProxy: ['10.0.0.0/8', 'everybody'] }), { message: /^options\.trustProxy\[1\]: must be addresses, .*; got 'everybody'/ })
  await t.rejects(start(t, { trustProxy: '10.0.0.0/64' }), { message: /^options\.trustProxy: must be addresses, .*; got '10\.0\.0\.0\/64'/ })
})
