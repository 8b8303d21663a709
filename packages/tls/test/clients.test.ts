import { createServer } from 'node:http'
import { type AddressInfo, createServer as createEcho } from 'node:net'
import { writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { once } from 'node:events'
import balancer from '@headgate/balancer'
import stream from '@headgate/stream'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { FakeClock } from '../../core/test/clock.ts'
import { fileTicketStore } from '../src/index.ts'
import { Authority } from './certificates.ts'
import { ask, bodyOf, handshake, shown, site, until } from './helpers.ts'

const skip = skipWithout('openssl')

/** Tells what it sees of a client, and what an upstream behind it gets. */
async function behind (t: Test): Promise<(app: FastifyInstance) => Promise<void>> {
  const server = createServer((request, response) => {
    response.end(JSON.stringify(request.rawHeaders.filter((_, i, all) => /^client.cert/i.test(all[i - (i % 2)]!))))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return async (app) => {
    app.get('/', async ({ clientCertificate: shown }) => shown === null ? 'none' : `${shown.authorized} ${shown.reason} ${shown.commonName} ${shown.hosts.join()}`)
    await app.register(balancer, { pools: { web: [`http://127.0.0.1:${port}`] }, routes: [{ prefix: '/up', pool: 'web' }] })
  }
}

const UP = 'GET /up HTTP/1.1\r\nHost: a.example\r\nClient-Cert: :Zm9yZ2Vk:\r\nClient_Cert: x\r\nclient-cert-chain: :eA==:\r\nX-Other: y\r\nConnection: close\r\n\r\n'

t.test('who has to show a certificate, who may, and what becomes of it', { skip }, async (t) => {
  const authority = new Authority(t)
  const stranger = new Authority(t, 'Other CA')
  const certificates = [authority.issue(['a.example']), authority.issue(['b.example'])]
  const alice = authority.issue(['alice.example'], { subject: '/O=Example/CN=alice', extensions: ['extendedKeyUsage=clientAuth'] })
  const eve = stranger.issue(['eve.example'], { subject: '/CN=eve' })
  const prepare = await behind(t)
  const at = async (verify: 'require' | 'optional' | 'any'): Promise<(pair?: object, head?: string, servername?: string) => Promise<string>> => {
    const { port } = await site(t, { certificates, clientCertificates: { verify, ca: authority.path('ca.pem') } }, prepare)
    // By TLS 1.3 a client learns only after its handshake that it was refused.
    return async (pair = {}, head = 'GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n', servername = 'b.example') =>
      handshake(port, { servername, ca: authority.ca, ...pair }).then((socket) => ask(socket, head.replace('a.example', servername))).then(bodyOf, () => '')
  }
  const [require, optional, any] = [await at('require'), await at('optional'), await at('any')]
  t.equal(await require(alice), 'true  alice alice.example')
  t.equal(await require(alice, undefined, 'a.example'), 'true  alice alice.example', 'for the default certificate too')
  t.equal(await require(), '', 'none')
  t.equal(await require(eve), '', 'from somebody else')
  t.equal(await optional(), 'none')
  t.equal(await optional(alice), 'true  alice alice.example')
  t.equal(await optional(eve), '')
  t.equal(await any(), 'none')
  t.match(await any(eve), /^false (UNABLE_TO_\w+|\w*SIGNATURE\w*) eve eve\.example$/)

  const [name, value, ...more] = JSON.parse(await require(alice, UP)) as string[]
  t.equal(name, 'Client-Cert')
  t.same(more, [], 'what the client sent under these names is gone')
  const der = alice.cert.replace(/-----[^-]+-----|\n/g, '')
  t.equal(value, `:${der}:`)
  t.same(JSON.parse(await optional({}, UP)), [], 'nor does it get through without a certificate')
  t.same(JSON.parse(await any(eve, UP)), [], 'one that is not valid is not passed on')

  const { port } = await site(t, { certificates, clientCertificates: { verify: 'require', ca: authority.ca } }, prepare)
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: authority.ca, servername: 'a.example', ...alice })
  const stream = session.request({ ':path': '/up', 'client-cert': ':Zm9yZ2Vk:' })
  stream.setEncoding('utf8')
  t.same(JSON.parse((await stream.toArray()).join('')), [name, value], 'HTTP/2 too')
  session.close()
  const silent = await site(t, { certificates, forwardClientCertificate: false, clientCertificates: { verify: 'require', ca: authority.ca } }, prepare)
  t.same(JSON.parse(bodyOf(await ask(await handshake(silent.port, { servername: 'a.example', ca: authority.ca, ...alice }), UP))), [])
  const open = await site(t, { certificates }, prepare)
  t.same(JSON.parse(bodyOf(await ask(await handshake(open.port, { servername: 'a.example', ca: authority.ca }), UP))), [], 'without mTLS nothing gets through either')
})

t.test('a ticket from where no certificate was needed is no way in where one is', { skip }, async (t) => {
  const authority = new Authority(t)
  const eve = new Authority(t, 'Other CA').issue([], { subject: '/CN=eve' })
  const common = { certificates: [authority.issue(['a.example'])], tickets: { store: fileTicketStore(authority.path('tickets')) } }
  const prepare = await behind(t)
  const lax = await site(t, { ...common, clientCertificates: { verify: 'any', ca: authority.ca } }, prepare)
  const strict = await site(t, { ...common, clientCertificates: { verify: 'require', ca: authority.ca } }, prepare)
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const pair of [{}, eve]) {
      const options = { servername: 'a.example', ca: authority.ca, maxVersion, ...pair }
      const socket = await handshake(lax.port, options)
      let session = maxVersion === 'TLSv1.2' ? socket.getSession() : undefined
      socket.on('session', (data) => { session = data })
      t.match(await ask(socket), /^HTTP\/1\.1 200/)
      const answer = await handshake(strict.port, { ...options, session: session! }).then((socket) => ask(socket)).catch(() => '')
      t.equal(answer, '', `${maxVersion}, ${pair === eve ? "with a stranger's" : 'without one'}`)
    }
  }
})

t.test('revoked certificates are refused, from the reload of the list on, and tickets do not help', { skip }, async (t) => {
  const authority = new Authority(t)
  const [alice, bob, carol] = ['alice', 'bob', 'carol'].map((name) => authority.issue([], { subject: `/CN=${name}` }))
  const crl = authority.path('revoked.pem')
  writeFileSync(crl, authority.revoke(carol!))
  const { port, tls } = await site(t, {
    certificates: [authority.issue(['a.example'])], clientCertificates: { verify: 'require', ca: authority.ca, crl }
  }, await behind(t))
  const come = async (pair: object, session?: Buffer): Promise<{ text: string; session: Buffer | undefined; reused: boolean }> => {
    const socket = await handshake(port, { servername: 'a.example', ca: authority.ca, ...pair, ...session !== undefined && { session } })
    let latest: Buffer | undefined
    socket.on('session', (data) => { latest = data })
    const reused = socket.isSessionReused()
    return { text: bodyOf(await ask(socket).catch(() => '')), session: latest, reused }
  }
  t.match((await come(alice!)).text, 'alice')
  t.equal((await come(carol!)).text, '')
  const first = await come(bob!)
  t.match(first.text, 'bob')
  const again = await come(bob!, first.session)
  t.equal(again.reused, true)
  t.match(again.text, 'bob', 'a resumed session still says who it is')
  writeFileSync(crl, authority.revoke(bob!))
  t.match(await tls.reload(), [{ name: 'clientCertificates', result: 'loaded' }])
  t.equal((await come(bob!, first.session)).text, '', 'bob had a ticket')
  t.match((await come(alice!)).text, 'alice')
  writeFileSync(crl, 'nothing')
  t.match(await tls.reload(), [{ result: 'failed', reason: /no PEM revocation list/ }])
  t.equal((await come(bob!)).text, '', 'the last list stays in use')
  t.match((await come(alice!)).text, 'alice')
})

t.test('layer 4: the same certificates end TLS of a TCP listener, and the same clients come in', { skip }, async (t) => {
  const authority = new Authority(t)
  const echo = createEcho((socket) => { socket.pipe(socket) }).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  t.teardown(() => { echo.close() })
  const { tls, app } = await site(t, {
    certificates: [{ name: 'a', ...authority.issue(['a.example'], { subject: '/CN=first' }) }], clientCertificates: { verify: 'require', ca: authority.ca }
  }, async (app) => {
    await app.register(stream, { listeners: [{ name: 'echo', listen: '127.0.0.1:0', tls: app.tls, pool: [`tcp://127.0.0.1:${(echo.address() as AddressInfo).port}`] }] })
  })
  const port = Number(app.stream.listener('echo').address!.split(':').at(-1))
  const alice = authority.issue([], { subject: '/CN=alice' })
  const speak = async (pair: object): Promise<string> => {
    const socket = await handshake(port, { servername: 'a.example', ca: authority.ca, ...pair })
    socket.end('hello')
    socket.setEncoding('utf8')
    const name = String(socket.getPeerCertificate().subject.CN)
    return `${name} ${await socket.toArray().then((chunks) => chunks.join(''), () => '')}`
  }
  t.equal(await speak(alice), 'first hello')
  t.equal(await speak({}), 'first ', 'nobody without a certificate')
  await tls.set('a', authority.issue(['a.example'], { subject: '/CN=second' }))
  t.equal(await speak(alice), 'second hello')
})

t.test('a ticket store that is away keeps nobody from starting, and is asked again', { skip }, async (t) => {
  const authority = new Authority(t)
  let asked = 0
  const store = {
    claim (_name: string, value: Buffer) {
      if (++asked < 3) throw new Error('away')
      return value
    }
  }
  const clock = new FakeClock(Date.now() + 60_000)
  const { port } = await site(t, { clock, certificates: [authority.issue(['a.example'], { subject: '/CN=a.example' })], tickets: { store } })
  t.equal(asked, 1)
  t.equal(await shown(port, 'a.example', authority.ca), 'a.example')
  clock.advance(0)
  await until(() => asked === 2)
  await until(() => { clock.advance(10_000); return asked === 3 })
})
