import { readFileSync } from 'node:fs'
import { createServer as createPlain } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { proxy } from './helpers.ts'

const read = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')

t.test('HTTPS upstreams are verified: unknown issuers and wrong names are refused, known ones served', async (t) => {
  const server = createServer({ key: read('key.pem'), cert: read('cert.pem') }, (request, response) => { response.end(`${request.headers.host}`) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const ca = read('cert.pem')
  const { url } = await proxy(t, {
    pools: {
      unknown: [`https://localhost:${port}`],
      wrong: { upstreams: [`https://127.0.0.1:${port}`], connection: { tls: { ca } } },
      known: { upstreams: [`https://localhost:${port}`], connection: { tls: { ca } } }
    },
    routes: ['unknown', 'wrong', 'known'].map((name) => ({ prefix: `/${name}`, pool: name as 'known' }))
  })
  t.equal((await fetch(`${url}/unknown`)).status, 502)
  t.equal((await fetch(`${url}/wrong`)).status, 502)
  for (let i = 0; i < 3; i++) t.equal(await (await fetch(`${url}/known`)).text(), `localhost:${port}`)
})

t.test('Unix sockets are upstreams too', async (t) => {
  const path = join(tmpdir(), `headgate-${process.pid}.sock`)
  const server = createPlain((request, response) => { response.end(request.url) })
  await new Promise<void>((resolve) => { server.listen(path, resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { url } = await proxy(t, { pools: { web: [`unix:${path}`] }, routes: [{ prefix: '/', pool: 'web' }] })
  t.equal(await (await fetch(`${url}/x`)).text(), '/x')
})
