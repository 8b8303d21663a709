import { readdirSync, readFileSync, statSync } from 'node:fs'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { FakeClock } from '../../core/test/clock.ts'
import { createTls, type TlsOptions } from '../src/index.ts'
import { AcmeStorage } from '../src/acme/storage.ts'
import { Authority } from './certificates.ts'
import { ask, handshake, site, until } from './helpers.ts'
import { pebble } from './pebble.ts'

const skip = skipWithout('openssl', 'pebble')

/** Serial number and issuer of what is shown for a host; '' while there is nothing. */
const seen = (port: number, servername: string): Promise<string> => handshake(port, { servername, rejectUnauthorized: false }).then((socket) => {
  const { serialNumber, issuer } = socket.getPeerCertificate()
  socket.destroy()
  return `${serialNumber} ${String(issuer?.CN)}`
}, () => '')

for (const challenge of ['tls-alpn-01', 'http-01'] as const) {
  t.test(`a certificate from pebble by ${challenge}: ordered, served, kept, renewed`, { skip }, async (t) => {
    const authority = new Authority(t)
    const server = await pebble(t, authority)
    const clock = new FakeClock()
    clock.time = Date.now() + 60_000
    const lines: string[] = []
    const options = (storage: string): TlsOptions => ({
      clock, random: () => 0,
      redirect: { listen: '127.0.0.1:0' },
      acme: {
        certificates: [{ hosts: ['One.example', 'two.example'] }], termsOfServiceAgreed: true, email: 'admin@one.example',
        directory: server.directory, ca: authority.path('ca.pem'), storage: authority.path(storage), challenge
      }
    })
    const start = async (storage: string): Promise<Awaited<ReturnType<typeof site>>> => {
      const made = await site(t, options(storage), undefined, { logger: { level: 'info', stream: { write: (line) => { lines.push(line) } } } })
      // By no other way than the one that is meant.
      if (challenge === 'tls-alpn-01') server.tls.to(made.port)
      else server.http.to(Number(new URL(made.tls.redirectAddress!).port))
      return made
    }
    const { app, port } = await start('acme')
    await until(async () => /Pebble/.test(await seen(port, 'one.example')))
    const first = await seen(port, 'two.example')
    t.match(first, /Pebble Intermediate CA/)
    t.match(await ask(await handshake(port, { servername: 'one.example', rejectUnauthorized: false })), /^HTTP\/1\.1 200/)
    const storage = new AcmeStorage(authority.path('acme'))
    const file = storage.certificateFile('one.example')
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.match(readFileSync(file, 'utf8'), /PRIVATE KEY[^]*BEGIN CERTIFICATE[^]*BEGIN CERTIFICATE/)
    t.same([readdirSync(authority.path('acme/challenges')), readdirSync(authority.path('acme/alpn'))], [[], []], 'challenges are cleaned away')
    t.same(readdirSync(authority.path('acme')).filter((name) => name.endsWith('.lock')), [])

    await app.close()
    const orders = (): number => lines.filter((line) => line.includes('ordering a certificate')).length
    t.equal(orders(), 1)
    const again = await start('acme')
    t.equal(await seen(again.port, 'one.example'), first, 'the next start finds it')
    const { notBefore, notAfter } = again.tls.certificates[0]!
    const life = notAfter.getTime() - notBefore.getTime()
    // Timers of an hour each lead there.
    clock.advance(life / 2)
    t.equal(orders(), 1)
    clock.time = notBefore.getTime() + life * 2 / 3 + 1000
    clock.advance(3_600_000)
    await until(async () => ![first, ''].includes(await seen(again.port, 'one.example')))
    t.match(await seen(again.port, 'one.example'), /Pebble Intermediate CA/, 'renewed')
    t.equal(orders(), 2)
    t.equal(readdirSync(authority.path('acme')).filter((name) => name.startsWith('account-')).length, 1)
  })
}

t.test('an authority that says no, and one that is not there, are asked again later', { skip }, async (t) => {
  const authority = new Authority(t)
  const server = await pebble(t, authority)
  const clock = new FakeClock()
  clock.time = Date.now() + 60_000
  const failures: string[] = []
  // Its way to us leads nowhere at first.
  const { port } = await site(t, {
    clock, random: () => 0,
    certificates: [authority.issue(['own.example'], { subject: '/CN=own' })],
    acme: { certificates: [{ name: 'new', hosts: ['a.example'] }], termsOfServiceAgreed: true, directory: server.directory, ca: authority.ca, storage: authority.path('acme') }
  }, undefined, { logger: { level: 'error', stream: { write: (line) => { failures.push((JSON.parse(line) as { err: { message: string } }).err.message) } } } })
  await until(() => failures.length > 0)
  t.match(failures[0], /127\.0\.0\.1|connect|refused|EOF|reset|tls/i)
  t.match(await seen(port, 'a.example'), /Test CA/, 'others are served meanwhile, and this host by the default')
  server.tls.to(port)
  const locked = (): boolean => readdirSync(authority.path('acme')).some((name) => name.endsWith('.lock'))
  await until(async () => {
    // While it is asked, time stands still: connections have deadlines.
    if (!locked()) clock.advance(60_000)
    return /Pebble/.test(await seen(port, 'a.example'))
  })
  await until(() => !locked())
})

t.test('two machines with one store: one orders, the other one answers the authority and takes what was issued', { skip }, async (t) => {
  const authority = new Authority(t)
  const server = await pebble(t, authority)
  const kept = new Map<string, Buffer>()
  const store = {
    get: async (name: string) => kept.get(name),
    set: async (name: string, value: Buffer) => { kept.set(name, value) },
    delete: async (name: string) => kept.delete(name),
    claim: async (name: string, value: Buffer) => { if (!kept.has(name)) kept.set(name, value); return kept.get(name)! }
  }
  const start = (clock: FakeClock): ReturnType<typeof site> => site(t, {
    clock, random: () => 0,
    acme: { certificates: [{ hosts: ['a.example'] }], termsOfServiceAgreed: true, directory: server.directory, ca: authority.ca, storage: store }
  })
  const clocks = [new FakeClock(Date.now() + 60_000), new FakeClock(Date.now() + 60_000)] as const
  kept.set('lock-a.example', Buffer.from('another'))
  const answers = await start(clocks[0])
  server.tls.to(answers.port)
  kept.delete('lock-a.example')
  const orders = await start(clocks[1])
  await until(async () => /Pebble/.test(await seen(orders.port, 'a.example')))
  await until(() => !kept.has('lock-a.example'))
  t.equal(await seen(answers.port, 'a.example'), '')
  clocks[0].advance(60_000)
  await until(async () => await seen(answers.port, 'a.example') === await seen(orders.port, 'a.example'))
  t.same([...kept.keys()].filter((name) => !/^(certificate|account)-/.test(name)), [], 'challenges are cleaned away')
})

t.test('one process orders at a time; the lock of one that died is taken over', async (t) => {
  const authority = skip === false ? new Authority(t) : undefined
  if (authority === undefined) return t.pass('needs openssl')
  const storage = new AcmeStorage(authority.path('acme'))
  await storage.prepare()
  const now = Date.now()
  const unlock = await storage.lock('a', now)
  t.type(unlock, 'function')
  t.equal(await storage.lock('a', now), undefined)
  t.type(await storage.lock('a', now + 700_000), 'function')
  await unlock!()
  t.type(await storage.lock('a', now), 'function')
  for (const wrong of ['../x', '', 'a/b']) t.equal(await storage.token(wrong), undefined)
  await t.rejects(storage.saveToken('../x', 'y'))
})

t.test('options of acme are checked', async (t) => {
  const acme = { certificates: [{ hosts: ['a.example'] }], termsOfServiceAgreed: true as const, storage: '/nowhere' }
  const wrong = async (options: object, message: RegExp): Promise<void> => {
    await t.rejects(createTls({ acme: { ...acme, ...options } }), { code: 'HG_POOL_INVALID_OPTION', message })
  }
  await wrong({ termsOfServiceAgreed: false }, /options\.acme\.termsOfServiceAgreed: must be true/)
  await wrong({ certificates: [{ hosts: ['*.example'] }] }, /options\.acme\.certificates\[0\]\.hosts\[0\]: must not be a wildcard/)
  await wrong({ certificates: [{ hosts: ['a'] }, { hosts: ['a'] }] }, /options\.acme\.certificates\[1\]\.name/)
  await wrong({ challenge: 'http-01' }, /options\.acme\.challenge: http-01 needs 'redirect'/)
  await wrong({ directory: 'http://a' }, /options\.acme\.directory/)
  await wrong({ certificates: [{ name: '../a', hosts: ['a'] }] }, /options\.acme\.certificates\[0\]\.name/)
})
