import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import t from 'tap'
import { serve } from '../src/index.ts'

t.test('a request that comes while it closes, over a connection that was there, is answered as any other', async (t) => {
  const server = createServer((_, response) => { response.end('answered') })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const proxy = await serve({ listen: '127.0.0.1:0', logLevel: 'silent', pools: { web: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web' }] })
  const { port } = new URL(proxy.addresses[0]!)
  const ask = 'GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n'
  const [first, second] = [connect(Number(port), '127.0.0.1'), connect(Number(port), '127.0.0.1')]
  // The second has been accepted when the first, which came before it or after, is answered by the same process.
  await Promise.all([once(first, 'connect'), once(second, 'connect')])
  first.write(ask)
  t.match(Buffer.concat(await first.toArray() as Buffer[]).toString(), /^HTTP\/1\.1 200 /)
  const closed = proxy.close()
  // As long as it takes an app without requests to close.
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => { setImmediate(resolve) })
  second.write(ask)
  t.match(Buffer.concat(await second.toArray() as Buffer[]).toString(), /^HTTP\/1\.1 200 [^]*answered$/)
  await closed
})

t.test('idle connections of clients are kept as long as in any Fastify app', async (t) => {
  const proxy = await serve({ listen: '127.0.0.1:0', logLevel: 'silent', health: false, pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web' }] })
  t.teardown(() => proxy.close())
  t.equal((await fetch(proxy.addresses[0]!)).headers.get('keep-alive'), 'timeout=72')
})
