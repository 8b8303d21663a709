import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { type DiscoveryOptions, type PoolOptions, type Upstream } from '../../src/index.ts'
import { FakeClock } from '../clock.ts'
import { GET, Recorder } from '../transport/recorder.ts'
import { type DnsReply, dnsServer, pool, until } from './helpers.ts'

const a = (data: string, ttl = 60, name = 'web.example'): object => ({ type: 'A', name, ttl, data })
const aaaa = (data: string, ttl = 60, name = 'web.example'): object => ({ type: 'AAAA', name, ttl, data })
const srv = (target: string, port: number, priority = 0, weight = 0, ttl = 60): object =>
  ({ type: 'SRV', name: '_http._tcp.web.example', ttl, data: { target, port, priority, weight } })

function options (servers: string[], more: object = {}): PoolOptions {
  return { slowStart: 0, discovery: { type: 'dns', name: 'web.example', servers, minTtl: 1, timeout: 2000, ...more } as DiscoveryOptions }
}

t.test('A and AAAA records are members; the answer is asked for again when the shortest TTL is over, and not before', async (t) => {
  let addresses = ['10.0.0.1', '10.0.0.2']
  const { address, asked } = await dnsServer(t, (type) => ({ answers: type === 'A' ? addresses.map((one) => a(one, 7)) : [aaaa('fd00::1', 30)] }))
  const clock = new FakeClock()
  const { pool: web, urls, next } = pool(t, options([address], { port: 8080 }), clock)
  await web.discover()
  t.same(urls(), ['http://10.0.0.1:8080', 'http://10.0.0.2:8080', 'http://[fd00::1]:8080'])
  t.match(await next(), { result: 'changed', kind: 'dns', pool: 'p', added: 3, removed: 0, members: 3 })
  t.equal(web.upstreams[0]!.target.host, 'web.example:8080', 'they go by the name')
  t.same(web.discovery, { kind: 'dns', members: 3, answeredAt: 1000, failedAt: 0, error: '' })
  const kept = web.at('http://10.0.0.2:8080')
  addresses = ['10.0.0.3', '10.0.0.2']
  clock.advance(6999)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(asked.length, 2)
  clock.advance(701)
  t.match(await next(), { result: 'changed', added: 1, removed: 1, members: 3 })
  t.same(urls(), ['http://10.0.0.2:8080', 'http://10.0.0.3:8080', 'http://[fd00::1]:8080'])
  t.equal(web.at('http://10.0.0.2:8080'), kept, 'who stays is the same as before')
})

/** More than anything else waits for. */
const TIMEOUT = 50_000

/** Knows how many questions wait for an answer. */
class QuestionClock extends FakeClock {
  asked = 0
  expired = 0
  readonly #open = new Set<unknown>()

  get open (): number { return this.#open.size }

  override setTimeout (callback: () => void, ms: number): number {
    if (ms !== TIMEOUT) return super.setTimeout(callback, ms)
    this.asked++
    const timer = super.setTimeout(() => {
      this.#open.delete(timer)
      this.expired++
      callback()
    }, ms)
    this.#open.add(timer)
    return timer
  }

  override clearTimeout (timer: unknown): void {
    this.#open.delete(timer)
    super.clearTimeout(timer)
  }
}

t.test('what fails or names nobody takes no member out', async (t) => {
  const replies: Record<string, DnsReply | undefined> = { A: { answers: [a('10.0.0.1', 0)] }, AAAA: { answers: [aaaa('fd00::1', 0)] } }
  /** Questions that the server gave no answer to. */
  let silent = 0
  const { address, asked } = await dnsServer(t, (type) => {
    const reply = replies[type]
    if (reply === undefined || reply.raw !== undefined) silent++
    return reply
  })
  const clock = new QuestionClock()
  const { pool: web, urls, messages, next } = pool(t, options([address], { timeout: TIMEOUT }), clock)
  await web.discover()
  t.match(await next(), { result: 'changed', added: 2 })
  t.same(urls(), ['http://10.0.0.1', 'http://[fd00::1]'])
  let seen = 1
  // Time goes on until there is news: a time-out, a delay, the step of a pool. It stands still while an answer is on its way.
  const news = async () => {
    seen++
    while (messages.length < seen) {
      await new Promise((resolve) => { setImmediate(resolve) })
      if (asked.length === clock.asked && clock.open === silent - clock.expired) clock.step()
    }
    return next()
  }
  replies['AAAA'] = { rcode: 2 }
  replies['A'] = { answers: [a('10.0.0.9', 0)] }
  t.match(await news(), { result: 'changed', added: 1, removed: 1 }, 'the other family is still heard')
  t.match(await news(), { result: 'failed', error: /AAAA of web\.example: 127\.0\.0\.1:\d+: answered SERVFAIL/ })
  t.same(urls(), ['http://10.0.0.9', 'http://[fd00::1]'])
  replies['A'] = { raw: Buffer.from('no DNS') }
  replies['AAAA'] = undefined
  t.match(await news(), { result: 'failed', error: /^AAAA of .*within 50000 ms/ })
  t.same(urls(), ['http://10.0.0.9', 'http://[fd00::1]'])
  replies['AAAA'] = { answers: [aaaa('fd00::1', 0)] }
  t.match(await news(), { result: 'failed', error: /^A of .*within 50000 ms/ }, 'what is no answer is not heard')
  t.same(urls(), ['http://10.0.0.9', 'http://[fd00::1]'])
  replies['A'] = { rcode: 3, authorities: [{ type: 'SOA', name: 'example', ttl: 0, data: { mname: 'a', rname: 'b', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 0 } }] }
  replies['AAAA'] = { answers: [] }
  t.match(await news(), { result: 'kept', members: 2 })
  t.same(urls(), ['http://10.0.0.9', 'http://[fd00::1]'])
  replies['A'] = { answers: [a('10.0.0.9', 0)] }
  t.match(await news(), { result: 'changed', added: 0, removed: 1 }, 'a family that is empty by a good answer is gone')
  t.same(urls(), ['http://10.0.0.9'])
})

t.test('SRV records: ports, weights, tiers, and addresses of both families for one server', async (t) => {
  let services = [srv('One.example.', 8001, 10, 30), srv('two.example', 8002, 10, 60), srv('three.example', 8003, 10, 0), srv('spare.example', 9000, 20, 0), srv('gone.example', 1, 20, 1)]
  const { address, asked } = await dnsServer(t, (type, name) => {
    if (type === 'SRV') return { answers: services, additionals: [a('10.0.1.2', 60, 'TWO.example'), aaaa('fd00::2', 60, 'two.example')] }
    const known: Record<string, string> = { 'one.example': '10.0.1.1', 'three.example': '10.0.1.3', 'spare.example': '10.0.1.9' }
    const found = known[name.toLowerCase().replace(/\.$/, '')]
    return { answers: type === 'A' && found !== undefined ? [{ type: 'CNAME', name, ttl: 9, data: 'alias.example' }, a(found, 60, 'alias.example')] : [] }
  })
  const { pool: web, next } = pool(t, { discovery: { type: 'dns', name: '_http._tcp.web.example', servers: [address], minTtl: 1, maxTtl: 150 } })
  await web.discover()
  t.match(await next(), { added: 4 }, 'one of which no address is known is left out')
  t.notOk(asked.some((question) => /^A{1,4} two/i.test(question)), 'addresses that came along are taken')
  const of = (name: string): Upstream => web.upstreams.find(({ target }) => target.hostname === name)!
  t.same(of('one.example').target.addresses, ['10.0.1.1'])
  t.same(of('two.example').target.addresses, ['fd00::2', '10.0.1.2'])
  t.same(['one', 'two', 'three', 'spare'].map((name) => [of(`${name}.example`).url, of(`${name}.example`).configuredWeight, of(`${name}.example`).priority]), [
    ['http://one.example:8001', 30, 0], ['http://two.example:8002', 60, 0], ['http://three.example:8003', 0.3, 0], ['http://spare.example:9000', 0.01, 1]
  ])
  t.equal(web.ready.length, 3, 'the second tier waits')
  const one = of('one.example')
  services = [srv('one.example', 8001, 10, 10), srv('spare.example', 9000, 5)]
  t.match(await next(), { removed: 2, changed: 2 })
  t.equal(of('one.example'), one)
  t.equal(one.configuredWeight, 10)
  t.same(web.ready.map(({ url }) => url), ['http://spare.example:9000'], 'tiers change at run time')
  services = [srv('.', 0)]
  t.match(await next(), { result: 'kept' }, 'a service that says it is not there')
  t.equal(web.ready.length, 1)
})

t.test('answers that do not fit come over TCP; guesses of others are not heard; the next server is asked', async (t) => {
  const dead = await dnsServer(t, () => ({ rcode: 5 }))
  const { address, asked } = await dnsServer(t, (type) => type === 'A'
    ? { truncated: true, answers: Array.from({ length: 300 }, (_, i) => a(`10.1.${i >> 8}.${i & 255}`)) }
    : { forged: [aaaa('fd00::bad')], answers: [aaaa('fd00::1')] })
  const { pool: web } = pool(t, options([dead.address, address]))
  await web.discover()
  t.equal(web.upstreams.length, 301)
  t.notOk(web.upstreams.some(({ url }) => url.includes('bad')))
  t.ok(asked.includes('tcp A web.example'))
  t.ok(dead.asked.length > 0)
})

t.test('a server that has no word for one family is asked for the other as ever, and complained of once', async (t) => {
  let address4 = '10.0.0.1'
  const { address, asked } = await dnsServer(t, (type) => type === 'A' ? { answers: [a(address4, 0)] } : { rcode: 5 })
  const { pool: web, messages, urls } = pool(t, options([address]))
  await web.discover()
  for (const next of ['10.0.0.2', '10.0.0.3']) {
    address4 = next
    await until(() => urls()[0] === `http://${next}`)
  }
  t.same(messages.map(({ result }) => result), ['changed', 'failed', 'changed', 'changed'])
  t.ok(asked.length > 6)
})

t.test('one family, weight, zone, protocol; names are checked with TLS', async (t) => {
  const { address, asked } = await dnsServer(t, () => ({ answers: [aaaa('fd00::1')] }))
  const { pool: web } = pool(t, options([address], { family: 6, weight: 3, zone: 'z', protocol: 'https' }))
  await web.discover()
  t.match(web.upstreams, [{ url: 'https://[fd00::1]', configuredWeight: 3, zone: 'z', target: { port: 443, host: 'web.example', serverName: 'web.example' } }])
  t.same(asked, ['AAAA web.example'])
})

t.test('a datagram that is cut within a record is asked for over TCP; who knows no EDNS is asked without', async (t) => {
  const { address, asked } = await dnsServer(t, (type, _name, _tcp, edns) => {
    if (type === 'AAAA') return edns ? { rcode: 1 } : { answers: [aaaa('fd00::1')] }
    return { cut: 50, answers: [a('10.0.0.1'), a('10.0.0.2')] }
  })
  const { pool: web, urls } = pool(t, options([address], { timeout: 500 }))
  await web.discover()
  t.same(urls(), ['http://10.0.0.1', 'http://10.0.0.2', 'http://[fd00::1]'])
  t.same(asked.sort(), ['A web.example', 'AAAA web.example', 'AAAA web.example', 'tcp A web.example'])
})

t.test('the shortest life holds: of addresses that came along, of an alias that leads nowhere; one of more than 68 years is none', async (t) => {
  const lives = { srv: 60, along: 5, address: 60 }
  const { address, asked } = await dnsServer(t, (type) => type === 'SRV'
    ? { answers: [srv('two.example', 8002, 0, 0, lives.srv)], additionals: [a('10.0.1.2', lives.along, 'two.example')] }
    : type === 'A' ? { answers: [a('10.0.0.1', lives.address)] } : { answers: [{ type: 'CNAME', name: 'web.example', ttl: 3, data: 'nowhere.example' }] })
  const clock = new FakeClock()
  const services = pool(t, { discovery: { type: 'dns', name: '_http._tcp.web.example', servers: [address], family: 4 } }, clock)
  const addresses = pool(t, options([address]), clock)
  const endless = pool(t, options([address], { family: 4 }), clock)
  const asks = async (what: string, after: number): Promise<void> => {
    asked.length = 0
    clock.advance(after - 1)
    await new Promise((resolve) => { setImmediate(resolve) })
    t.notOk(asked.includes(what), `${what} after less than ${after}`)
    clock.advance(1 + after / 10)
    await until(() => asked.includes(what))
  }
  await services.pool.discover()
  await asks('SRV _http._tcp.web.example', 5000)
  await addresses.pool.discover()
  await asks('AAAA web.example', 3000)
  lives.address = 2 ** 31
  await endless.pool.discover()
  await asks('A web.example', 1000)
})

t.test('one server in two tiers is in the first one, in whichever order the answer comes', async (t) => {
  let services = [srv('one.example', 80, 10, 7, 0), srv('one.example', 80, 20, 5, 0), srv('two.example', 80, 10, 7, 0)]
  const { address, asked } = await dnsServer(t, (type) => type === 'SRV' ? { answers: services } : { answers: type === 'A' ? [a('10.0.0.1')] : [] })
  const { pool: web, next } = pool(t, { discovery: { type: 'dns', name: '_http._tcp.web.example', servers: [address], minTtl: 1 } })
  await web.discover()
  await next()
  services = [srv('two.example', 80, 10, 7, 0), srv('one.example', 80, 20, 5, 0), srv('one.example', 80, 10, 7, 0), srv('three.example', 80, 10, 7, 0)]
  t.match(await next(), { added: 1, changed: 0 })
  t.same(web.upstreams.map(({ url, priority }) => `${url} ${priority}`).sort(), ['http://one.example 0', 'http://three.example 0', 'http://two.example 0'])
  t.ok(asked.length > 3)
})

t.test('of very many servers no more than some are asked for at once, and what is missing is asked for again soon', async (t) => {
  const services = Array.from({ length: 300 }, (_, n) => srv(`s${n}.example`, 80))
  let [running, most, broken] = [0, 0, true]
  let enough = (): void => {}
  // The first wait for more than there should be, and a while longer.
  const crowd = new Promise<void>((resolve) => { enough = resolve }).then(() => new Promise((resolve) => { setTimeout(resolve, 50) }))
  const { address } = await dnsServer(t, (type, name) => {
    if (type === 'SRV') return { answers: services }
    return name.startsWith('s7.') && broken ? { rcode: 2 } : { answers: [a('10.0.0.1', 60, name)], wait: async () => {
      most = Math.max(most, ++running)
      if (running === 60) enough()
      await crowd
      running--
    } }
  })
  const { pool: web } = pool(t, { discovery: { type: 'dns', name: '_http._tcp.web.example', servers: [address], family: 4 } })
  await web.discover()
  t.equal(web.upstreams.length, 299)
  t.ok(most <= 64, String(most))
  broken = false
  const alive = setInterval(() => {}, 1000)
  await until(() => web.upstreams.length === 300)
  clearInterval(alive)
})

t.test('wrong options', (t) => {
  const wrong = (discovery: object, message: RegExp): void => {
    t.throws(() => pool(t, { discovery: discovery as DiscoveryOptions }), { code: 'HG_POOL_INVALID_OPTION', message })
  }
  wrong({ type: 'dns' }, /^pool\.discovery\.name: is required/)
  wrong({ type: 'dns', name: 'a b' }, /^pool\.discovery\.name: must match/)
  wrong({ type: 'dns', name: 'a', servers: ['ns.example'] }, /^pool\.discovery\.servers: must be addresses/)
  wrong({ type: 'dns', name: 'a', minTtl: 60_000 }, /^pool\.discovery\.minTtl: must not be above maxTtl; got 60000/)
  wrong({ type: 'dns', name: 'a', ttl: 1 }, /^pool\.discovery\.ttl: unknown option; known are subset, keepWhenEmpty, name/)
  wrong({ type: 'dsn' }, /^pool\.discovery\.type: must be one of dns, file/)
  wrong({ name: 'x', start: 1 }, /^pool\.discovery: must have a 'type', or a name and a start\(\)/)
  t.throws(() => pool(t, {}), { message: /^pool\.upstreams: must name at least one upstream/ })
  t.throws(() => pool(t, { upstreams: [] }), { message: /^pool\.upstreams: must name at least one upstream/ })
  t.end()
})

t.test('of a server with addresses of both families the one that answers is taken', async (t) => {
  const server = createServer((request, response) => { response.end(request.headers.host) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  // Nobody listens at ::1; the system refuses, or has no IPv6 at all.
  const { pool: web } = pool(t, { upstreams: [{ url: `http://one.example:${port}`, addresses: ['::1', '127.0.0.1'] }] })
  const { transport, target } = web.upstreams[0]!
  const recorder = new Recorder()
  recorder.attempt = transport.dispatch({ ...GET, headers: ['Host', target.host] }, recorder)
  const { body } = await recorder.ended
  t.equal(body, `one.example:${port}`)
  t.throws(() => pool(t, { upstreams: [{ url: 'http://a', addresses: ['b'] }] }), { code: 'HG_POOL_INVALID_OPTION', message: /upstreams\[0\]\.addresses: must be IP addresses; got 'b'/ })
  await until(() => transport.stats.idle === 1)
})
