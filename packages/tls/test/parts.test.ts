import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { FakeClock } from '../../core/test/clock.ts'
import type { Certificate } from '../src/certificate.ts'
import { choose } from '../src/choice.ts'
import { HostIndex, hostName, isHostPattern } from '../src/host-index.ts'
import { fileTicketStore, type TicketStore } from '../src/index.ts'
import { profileOptions } from '../src/profiles.ts'
import { TicketKeys } from '../src/tickets.ts'
import { Authority } from './certificates.ts'
import { ask, handshake, site, until } from './helpers.ts'

const label = fc.stringMatching(/^[a-z]{1,3}$/)
const host = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'))
const pattern = fc.oneof(host, host.map((name) => `*.${name}`))

t.test('hosts are found as RFC 6125 says: exactly, else by a wildcard for one label', async (t) => {
  fc.assert(fc.property(fc.uniqueArray(pattern, { maxLength: 12 }), host, (patterns, asked) => {
    const index = new HostIndex<string>()
    for (const one of patterns) index.add(one, one)
    const expected = patterns.find((one) => one === asked) ??
      patterns.find((one) => one.startsWith('*.') && asked.split('.').length === one.split('.').length && asked.endsWith(one.slice(1)))
    return index.find(asked) === expected
  }))
  const index = new HostIndex<number>()
  t.equal(index.add('a.example', 1), true)
  t.equal(index.add('a.example', 2), false)
  t.equal(index.find('a.example'), 1, 'the first one stays')
  t.equal(hostName('A.Example.'), 'a.example')
  for (const wrong of ['', 'a b', 'a..b', '-a', 'a/b', '*.a', `${'a'.repeat(64)}.b`, 'a.'.repeat(130)]) t.equal(hostName(wrong), '', wrong.slice(0, 20))
  t.same(['*.a', 'a', '*.', '*', 'a.*', '*a.b', 'a.'].map(isHostPattern), [true, true, false, false, false, false, false])
})

t.test('the post-quantum group where OpenSSL has it', async (t) => {
  t.match(profileOptions('intermediate', '3.5.0').ecdhCurve, /^X25519MLKEM768:X25519:/)
  t.match(profileOptions('intermediate', '3.0.19').ecdhCurve, /^X25519:/)
})

t.test('keys of tickets: one per time span, shared through a store, the last one stays when it fails', async (t) => {
  const clock = new FakeClock()
  clock.time = 1_000_000
  const kept = new Map<string, Buffer>()
  let broken = false
  const store: TicketStore = {
    claim (name, value) {
      if (broken) throw new Error('the store is gone')
      if (!kept.has(name)) kept.set(name, value)
      return kept.get(name)!
    }
  }
  const [a, b, alone] = [new TicketKeys(60_000, store, clock), new TicketKeys(60_000, store, clock), new TicketKeys(60_000, undefined, clock)]
  for (const keys of [a, b, alone]) t.equal(await keys.renew(), true)
  t.equal(await a.renew(), false, 'not twice in one span')
  t.equal(a.key('').length, 48)
  t.same(a.key(''), b.key(''))
  t.notSame(a.key(''), alone.key(''))
  t.notSame(a.key(''), a.key('another trust'))
  const before = a.key('')
  let [renewed, failed] = [0, 0]
  a.start(() => { renewed++ }, () => { failed++ })
  const turn = async (ms: number): Promise<void> => {
    clock.advance(ms)
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  await turn(60_000)
  t.equal(renewed, 1)
  t.notSame(a.key(''), before)
  broken = true
  const last = a.key('')
  await turn(60_000)
  t.equal(failed, 1)
  t.same(a.key(''), last)
  broken = false
  await turn(10_000)
  t.equal(renewed, 2)
  a.stop()
  await turn(600_000)
  t.equal(renewed, 2)
})

t.test('a folder as store: whoever comes first decides, and old keys go', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-tickets-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const stores = Array.from({ length: 10 }, () => fileTicketStore(join(folder, 'inner')))
  const answers = await Promise.all(stores.map((store, i) => Promise.resolve(store.claim('one', Buffer.alloc(48, i), 60_000))))
  t.equal(new Set(answers.map(String)).size, 1)
  t.same(readdirSync(join(folder, 'inner')), ['one.key'])
  t.equal(statSync(join(folder, 'inner/one.key')).mode & 0o777, 0o600)
  utimesSync(join(folder, 'inner/one.key'), 1, 1)
  await stores[0]!.claim('two', Buffer.alloc(48), 60_000)
  t.same(readdirSync(join(folder, 'inner')), ['two.key'])
})

t.test('sessions are resumed by TLS 1.2 and 1.3, on another server with the same store, until the key changes', { skip: skipWithout('openssl') }, async (t) => {
  const authority = new Authority(t)
  const clock = new FakeClock()
  clock.time = Date.now() + 60_000
  const certificates = [authority.issue(['a.example']), authority.issue(['b.example'])]
  const store = fileTicketStore(authority.path('tickets'))
  const shared = { certificates, clock, tickets: { store } }
  const [one, two, other] = [await site(t, shared), await site(t, shared), await site(t, { certificates })]
  const off = await site(t, { certificates, tickets: false })
  const visit = async (port: number, maxVersion: 'TLSv1.2' | 'TLSv1.3', servername: string, session?: Buffer): Promise<{ session: Buffer | undefined; reused: boolean }> => {
    const socket = await handshake(port, { servername, ca: authority.ca, maxVersion, ...session !== undefined && { session } })
    // TLS 1.3 sends its tickets later.
    let latest = maxVersion === 'TLSv1.2' ? socket.getSession() : undefined
    socket.on('session', (data) => { latest = data })
    const reused = socket.isSessionReused()
    await ask(socket)
    return { session: latest, reused }
  }
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const name of ['a.example', 'b.example']) {
      const { session } = await visit(one.port, version, name)
      t.equal((await visit(one.port, version, name, session)).reused, true, `${version} ${name}`)
      t.equal((await visit(two.port, version, name, session)).reused, true, 'on the other one')
      t.equal((await visit(other.port, version, name, session)).reused, false, 'not with another key')
    }
  }
  t.equal((await visit(off.port, 'TLSv1.2', 'a.example', (await visit(off.port, 'TLSv1.2', 'a.example')).session)).reused, false, 'switched off')
  const { session } = await visit(one.port, 'TLSv1.3', 'a.example')
  await one.tls.set('certificates[0]', authority.issue(['a.example']))
  t.equal((await visit(one.port, 'TLSv1.3', 'a.example', session)).reused, true, 'a new certificate does not end sessions')
  clock.advance(28_800_000)
  await until(async () => !(await visit(one.port, 'TLSv1.3', 'a.example', session)).reused)
  t.pass('a new key does')
})

t.test('which of several certificates a client gets', async (t) => {
  const of = (keyType: string, curve = '') => ({ keyType, curve }) as Certificate
  const client = (protocol: string, ...algorithms: string[]) => ({ getProtocol: () => protocol, getSharedSigalgs: () => algorithms }) as unknown as TLSSocket
  const all = [of('ec', 'secp384r1'), of('rsa'), of('ed25519')]
  for (const [place, ...given] of [
    [0, 'TLSv1.3', 'ECDSA+SHA256', 'ECDSA+SHA384', 'RSA-PSS+SHA256'],
    [1, 'TLSv1.3', 'ECDSA+SHA256', 'RSA-PSS+SHA256', 'ECDSA+SHA384'],
    [2, 'TLSv1.3', 'RSA+SHA256', 'Ed25519+UNDEF', 'RSA-PSS+SHA256'],
    [0, 'TLSv1.3', 'RSA+SHA256'],
    [1, 'TLSv1.2', 'ECDSA+SHA384', 'RSA+SHA256'],
    [1, 'TLSv1.2'],
    [0, 'TLSv1.2', 'ECDSA+SHA384']
  ] as const) t.equal(choose(all, client(...given as unknown as [string])), place, given.join(' '))
  t.equal(choose([of('ec', 'secp384r1'), of('ed25519')], client('TLSv1.2', 'RSA+SHA256', 'Ed25519+UNDEF')), 1)
})
