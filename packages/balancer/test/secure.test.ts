import { readFileSync } from 'node:fs'
import { createServer as createPlain } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { pinOf } from '@headgate/core'
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

t.test('HTTPS upstreams: files, client certificates, names and pins', async (t) => {
  const file = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))
  const [cert, key] = [read('cert.pem'), read('key.pem')]
  let handshakes = 0
  const server = createServer({ key, cert, ca: cert, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    response.end(String((request.socket as TLSSocket).getPeerX509Certificate() !== undefined))
  })
  server.on('secureConnection', (socket: TLSSocket) => { if (!socket.isSessionReused()) handshakes++ })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const to = (name: string): string => `https://${name}:${(server.address() as AddressInfo).port}`
  const good = pinOf(cert)
  const bad = `sha256/${Buffer.alloc(32).toString('base64')}`
  const pools = {
    files: { upstreams: [to('localhost')], connection: { tls: { ca: file('cert.pem'), cert: file('cert.pem'), key: file('key.pem') } } },
    anonymous: { upstreams: [to('localhost')], connection: { keepAliveTimeout: 0, tls: { ca: cert } } },
    named: { upstreams: [to('127.0.0.1')], connection: { tls: { ca: cert, servername: 'localhost' } } },
    pinned: { upstreams: [to('localhost')], connection: { tls: { ca: cert, pins: [bad, good] } } },
    other: { upstreams: [to('localhost')], connection: { tls: { ca: cert, pins: [bad] } } }
  }
  const { url } = await proxy(t, { pools, routes: Object.keys(pools).map((name) => ({ prefix: `/${name}`, pool: name as 'files' })) })
  const get = async (path: string): Promise<string> => {
    const response = await fetch(`${url}/${path}`)
    return response.ok ? response.text() : String(response.status)
  }
  t.equal(await get('files'), 'true', 'our certificate was shown')
  handshakes = 0
  t.same([await get('anonymous'), await get('anonymous'), await get('anonymous')], ['false', 'false', 'false'])
  t.equal(handshakes, 1, 'sessions are resumed')
  t.equal(await get('named'), 'false')
  t.equal(await get('pinned'), 'false')
  t.equal(await get('other'), '502')
  const wrong = async (tls: object, message: RegExp): Promise<void> => {
    await t.rejects(proxy(t, { pools: { web: { upstreams: [to('localhost')], connection: { tls } } }, routes: [{ prefix: '/', pool: 'web' }] }), { code: 'HG_POOL_INVALID_OPTION', message })
  }
  await wrong({ ca: 'missing.pem' }, /options\.pools\.web\.connection\.tls\.ca: must be PEM, or the path of a file with it \(ENOENT/)
  await wrong({ cert, key: 'x-----BEGIN ' }, /options\.pools\.web\.connection\.tls: must be what tls\.connect takes/)
  await wrong({ pins: ['sha256/x'] }, /connection\.tls\.pins\[0\]: must be 'sha256\/'/)
  await wrong({ pins: [good], rejectUnauthorized: false }, /connection\.tls\.pins: need verification/)
})
