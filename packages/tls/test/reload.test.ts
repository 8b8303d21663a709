import { rmSync, symlinkSync, renameSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Agent, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { channels, type CertificateMessage } from '@headgate/core'
import fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { FakeClock } from '../../core/test/clock.ts'
import { type Edge, type TlsOptions, createTls, keptOptions } from '../src/index.ts'
import { Authority, type Pair } from './certificates.ts'
import { ask, handshake, shown, site, until } from './helpers.ts'

const skip = skipWithout('openssl')

t.test('files that change are loaded; a broken one leaves what was before, and says so once', { skip }, async (t) => {
  const authority = new Authority(t)
  const [first, second] = [authority.issue(['a.example'], { subject: '/CN=first' }), authority.issue(['a.example'], { subject: '/CN=second' })]
  const files = { cert: authority.path('live.pem'), key: authority.path('live.key') }
  const write = ({ cert, key }: Pair): void => {
    writeFileSync(files.cert, cert)
    writeFileSync(files.key, key)
  }
  write(first)
  const messages: CertificateMessage[] = []
  const listener = (message: unknown): void => { if ((message as CertificateMessage).name === 'live') messages.push(message as CertificateMessage) }
  channels.certificate.subscribe(listener)
  t.teardown(() => channels.certificate.unsubscribe(listener))
  const lines: { level: number; msg: string; err?: { message: string } }[] = []
  const { port, tls } = await site(t, { certificates: [{ name: 'live', ...files }] }, undefined, {
    logger: { level: 'warn', stream: { write: (line) => { lines.push(JSON.parse(line) as never) } } }
  })
  const kept = await handshake(port, { servername: 'a.example', ca: authority.ca })
  write(second)
  await until(async () => await shown(port, 'a.example', authority.ca) === 'second')
  t.equal(await shown(port, '', authority.ca), 'second', 'the default one too')
  t.match(await ask(kept), /^HTTP\/1\.1 200/, 'connections from before go on')
  t.match(messages, [{ change: 'loaded' }, { change: 'loaded', hosts: ['a.example'], fingerprint: /^([\dA-F]{2}:){31}/ }])

  for (const [text, reason] of [['x', /no PEM certificate/], [first.cert, /the key is not that of/]] as const) {
    lines.length = messages.length = 0
    writeFileSync(files.cert, text)
    t.match(await tls.reload(), [{ name: 'live', result: 'failed', reason }])
    await tls.reload()
    t.match(lines, [{ level: 50, err: { message: reason } }])
    t.equal(lines.length, 1)
    t.match(messages, [{ change: 'failed', reason, notAfter: Number }])
    t.equal(await shown(port, 'a.example', authority.ca), 'second')
  }
  rmSync(files.cert)
  t.match(await tls.reload(), [{ result: 'failed', reason: /ENOENT/ }])
  write(second)
  t.same(await tls.reload(), [{ name: 'live', result: 'unchanged', reason: '' }])
})

t.test('a folder that is swapped behind a link, as Kubernetes does it', { skip }, async (t) => {
  const authority = new Authority(t)
  const put = (folder: string, subject: string): void => {
    const pair = authority.issue(['a.example'], { subject: `/CN=${subject}` })
    mkdirSync(authority.path(`mount/${folder}`), { recursive: true })
    writeFileSync(authority.path(`mount/${folder}/tls.crt`), pair.cert)
    writeFileSync(authority.path(`mount/${folder}/tls.key`), pair.key)
  }
  put('..1', 'first')
  symlinkSync('..1', authority.path('mount/..data'))
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(`..data/${name}`, authority.path(`mount/${name}`))
  const { port } = await site(t, { certificates: [{ cert: authority.path('mount/tls.crt'), key: authority.path('mount/tls.key') }] })
  t.equal(await shown(port, 'a.example', authority.ca), 'first')
  put('..2', 'second')
  symlinkSync('..2', authority.path('mount/..tmp'))
  renameSync(authority.path('mount/..tmp'), authority.path('mount/..data'))
  await until(async () => await shown(port, 'a.example', authority.ca) === 'second')
  t.pass('loaded')
})

t.test('at run time: set, replace, remove; and the provider', { skip }, async (t) => {
  const authority = new Authority(t)
  const pairs = new Map(['a', 'b', 'p'].map((name) => [name, authority.issue([`${name}.example`], { subject: `/CN=${name}` })]))
  const asked: string[] = []
  const { port, tls } = await site(t, {
    certificates: [{ name: 'a', ...pairs.get('a')! }],
    provider: {
      find: async (host) => {
        asked.push(host)
        if (host === 'broken.example') throw new Error('no connection to the vault')
        return host === 'p.example' ? pairs.get('p') : host === 'wrong.example' ? { cert: pairs.get('a')!.cert, key: pairs.get('b')!.key } : undefined
      }
    }
  })
  t.same(await Promise.all(Array.from({ length: 5 }, () => shown(port, 'P.example', authority.ca))), ['p', 'p', 'p', 'p', 'p'])
  for (const host of ['unknown.example', 'broken.example', 'wrong.example']) for (let i = 0; i < 2; i++) t.equal(await shown(port, host, authority.ca), 'a')
  t.same(asked, ['p.example', 'unknown.example', 'broken.example', 'wrong.example'], 'each host is asked for once')
  tls.forget('p.example')
  await shown(port, 'p.example', authority.ca)
  t.equal(asked.length, 5)

  await tls.set('b', pairs.get('b')!)
  t.equal(await shown(port, 'b.example', authority.ca), 'b')
  await tls.set('b', { ...authority.issue(['b.example'], { subject: '/CN=next' }) })
  t.equal(await shown(port, 'b.example', authority.ca), 'next')
  await t.rejects(tls.set('b', { cert: pairs.get('a')!.cert, key: pairs.get('b')!.key }), { code: 'HG_TLS_CERTIFICATE', message: /'b'.*the key is not that of the certificate of CN=a/ })
  t.equal(await shown(port, 'b.example', authority.ca), 'next')
  tls.remove('b')
  t.equal(await shown(port, 'b.example', authority.ca), 'a')
  t.throws(() => { tls.remove('b') }, { code: 'HG_TLS_UNKNOWN_CERTIFICATE', message: /there are: a/ })
})

t.test('what was set and removed at run time outlives other options, unless these say something else of it', { skip }, async (t) => {
  const authority = new Authority(t)
  const issue = (name: string): Pair => authority.issue([`${name}.example`], { subject: `/CN=${name}` })
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(issue) as [Pair, Pair, Pair, Pair]
  const options = (more: object[] = []): TlsOptions => ({ certificates: [{ name: 'a', ...a }, { name: 'b', ...b }, ...more as []] })
  const edge = await createTls(options())
  const app = fastify({ forceCloseConnections: true, ...edge.server }) as FastifyInstance
  await app.register(edge.plugin)
  app.get('/', async () => 'yes')
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const port = (app.server.address() as AddressInfo).port
  let last: Edge = edge
  const change = async (next: TlsOptions, meanwhile: () => unknown = () => {}): Promise<void> => {
    const before = last
    last = await createTls(keptOptions(before.tls.options, next).options, before)
    const holder = fastify({ serverFactory: (handler) => createServer(handler) }) as FastifyInstance
    await holder.register(last.plugin)
    await holder.ready()
    t.teardown(() => holder.close())
    await meanwhile()
    last.tls.takeOver()
  }
  await edge.tls.set('c', c)
  await edge.tls.set('a', { ...authority.issue(['a.example'], { subject: '/CN=anew' }) })
  edge.tls.remove('b')
  await change({ ...options(), hsts: true }, () => edge.tls.set('d', d))
  t.equal(await shown(port, 'c.example', authority.ca), 'c')
  t.equal(await shown(port, 'd.example', authority.ca), 'd', 'set when the other options were being read')
  t.equal(await shown(port, 'a.example', authority.ca), 'anew')
  t.equal(await shown(port, 'b.example', authority.ca), 'anew', 'removed it stays')
  t.same(last.tls.certificates.map(({ name }) => name).toSorted(), ['a', 'c', 'd'])
  await last.tls.reload()
  t.equal(await shown(port, 'a.example', authority.ca), 'anew')

  const newer = authority.issue(['a.example', 'c.example'], { subject: '/CN=newer' })
  await change({ ...options([{ name: 'c', ...newer }]), hsts: false })
  t.equal(await shown(port, 'c.example', authority.ca), 'newer', 'the options name it by now')
  t.equal(await shown(port, 'd.example', authority.ca), 'd', 'through two changes')
  await change({ certificates: [{ name: 'a', ...newer }, { name: 'b', ...b, hosts: ['b.example'] }] })
  t.equal(await shown(port, 'a.example', authority.ca), 'newer')
  t.equal(await shown(port, 'b.example', authority.ca), 'b')
})

t.test('certificates change under load and not one request fails', { skip }, async (t) => {
  const authority = new Authority(t)
  const names = Array.from({ length: 8 }, (_, i) => `v${i}`)
  const pairs = names.map((name) => authority.issue(['a.example'], { subject: `/CN=${name}` }))
  const { port, tls } = await site(t, { certificates: [{ name: 'live', ...pairs[0]! }] })
  const agents = [new Agent({ keepAlive: true, maxSockets: 4 }), new Agent({ keepAlive: false, maxCachedSessions: 0 })]
  t.teardown(() => { for (const agent of agents) agent.destroy() })
  const seen = new Set<string>()
  let [done, failed, running] = [0, 0, true]
  const request = (agent: Agent): Promise<void> => new Promise((resolve) => {
    get({ host: '127.0.0.1', port, agent, servername: 'a.example', ca: authority.ca, checkServerIdentity: (_host, { subject }) => void seen.add(String(subject.CN)) }, (response) => {
      if (response.statusCode !== 200) failed++
      response.resume()
      response.on('close', () => {
        if (!response.complete) failed++
        done++
        resolve()
      })
    }).on('error', () => {
      failed++
      resolve()
    })
  })
  const clients = Array.from({ length: 8 }, async (_, i) => { while (running) await request(agents[i % 2]!) })
  for (const [i, pair] of pairs.entries()) {
    await tls.set('live', pair)
    const before = done
    await until(() => done > before + 10 && seen.has(names[i]!))
  }
  running = false
  await Promise.all(clients)
  t.equal(failed, 0)
  t.same([...seen].sort(), names, 'each was shown')
})

t.test('certificates that end soon are told of each day', { skip }, async (t) => {
  const authority = new Authority(t)
  const clock = new FakeClock()
  clock.time = Date.now() + 60_000
  const lines: { level: number; msg: string; certificate: string; daysLeft?: number }[] = []
  const messages: string[] = []
  const listener = (message: unknown): void => { messages.push(`${(message as CertificateMessage).name} ${(message as CertificateMessage).change}`) }
  channels.certificate.subscribe(listener)
  t.teardown(() => channels.certificate.unsubscribe(listener))
  const { app } = await site(t, {
    clock, certificates: [{ name: 'long', ...authority.issue(['a.example'], { days: 300 }) }, { name: 'short', ...authority.issue(['b.example'], { days: 22 }) }]
  }, undefined, { logger: { level: 'warn', stream: { write: (line) => { lines.push(JSON.parse(line) as never) } } } })
  t.same(lines, [])
  t.same(messages, ['long loaded', 'short loaded'])
  clock.advance(86_400_000 + 5000)
  t.match(lines, [{ level: 40, certificate: 'short', daysLeft: 20, msg: 'a certificate expires soon' }])
  t.equal(messages.at(-1), 'short expiring')
  for (let day = 0; day < 22; day++) clock.advance(86_400_000)
  t.equal(lines.length, 23)
  t.match(lines.at(-1), { level: 50, certificate: 'short', msg: 'a certificate has expired' })
  t.equal(messages.at(-1), 'short expired')
  await app.close()
  clock.advance(10 * 86_400_000)
  t.equal(lines.length, 23, 'and no more when the app is closed')
})

t.test('what cannot be used is refused at the start, by name', { skip }, async (t) => {
  const authority = new Authority(t)
  const [a, b] = [authority.issue(['a.example'], { subject: '/CN=a' }), authority.issue(['b.example'])]
  const clock = new FakeClock()
  const refuses = async (options: object, message: RegExp, code = 'HG_TLS_CERTIFICATE'): Promise<void> => {
    await t.rejects(createTls(options), { code, message }, String(message))
  }
  await refuses({ certificates: [{ name: 'site', cert: a.cert, key: b.key }] }, /certificate 'site' cannot be used: the key is not that of the certificate of CN=a/)
  await refuses({ certificates: [{ cert: a.cert + authority.ca, key: authority.read('ca.key') }] }, /the key belongs to certificate number 2 of the chain, CN=Test CA: put that one first/)
  await refuses({ certificates: [{ cert: 'missing.pem', key: a.key }] }, /'certificates\[0\]'.*ENOENT.*missing\.pem/)
  await refuses({ certificates: [{ cert: a.cert, key: a.cert }] }, /the key is not readable/)
  await refuses({ certificates: [{ cert: a.cert.replace(/\n.{9}/, '\n'), key: a.key }] }, /certificate number 1 in it is malformed/)
  clock.time = Date.now() + 366 * 86_400_000
  await refuses({ certificates: [a], clock }, /CN=a expired at 20/)
  clock.time = Date.now() - 86_400_000
  await refuses({ certificates: [a], clock }, /CN=a is not valid before 20/)
  await refuses({ certificates: [a], clientCertificates: { verify: 'require', ca: 'none.pem' } }, /none\.pem/, 'ENOENT')
  const option = 'HG_POOL_INVALID_OPTION'
  await refuses({}, /options: needs 'certificates', a 'provider' or 'acme'/, option)
  await refuses({ certificates: [a], profile: 'old' }, /options\.profile: must be one of 'intermediate', 'modern'; got 'old'/, option)
  await refuses({ certificates: [{ ...a, hosts: ['a b'] }] }, /options\.certificates\[0\]\.hosts\[0\]: must be a host name/, option)
  await refuses({ certificates: [a], default: 'x' }, /options\.default: must be one of certificates\[0\]/, option)
  await refuses({ certificates: [a, { name: 'certificates[0]', ...b }] }, /options\.certificates\[1\]\.name/, option)
  await refuses({ certificates: [a], hsts: { preload: true } }, /options\.hsts\.preload: needs includeSubDomains/, option)
  await refuses({ certificates: [a], proxyProtocol: { from: ['10.0.0.0/99'] } }, /options\.proxyProtocol\.from\[0\]/, option)
})
