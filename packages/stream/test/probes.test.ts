import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Deadlines, Pool, systemClock, type Upstream } from '@headgate/core'
import t from 'tap'
import { connectCheck, dnsCheck, mysqlCheck, postgresCheck, redisCheck, sendExpectCheck, smtpCheck, type StreamCheck, tlsHandshakeCheck } from '../src/index.ts'
import { tcpPool } from '../src/transport.ts'
import { type Test, until, upstream } from './helpers.ts'

// Redis, PostgreSQL, TLS and DNS meet their real servers elsewhere; here are those that misbehave, and protocols by their text.

/** A server that says the given things: the first at once, each further one after it heard something. */
async function saying (t: Test, ...lines: (string | Buffer)[]): Promise<{ member: Upstream; heard: () => string; sockets: Set<Socket> }> {
  let heard = ''
  const server = await upstream(t, (socket) => {
    const rest = [...lines]
    const next = (): void => {
      const line = rest.shift()
      if (line !== undefined) socket.write(line)
    }
    next()
    socket.on('end', () => { socket.end() })
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1')
      next()
    })
  })
  const environment = { clock: systemClock, random: Math.random }
  const pool = new Pool('p', { upstreams: [server.url] }, 'p', environment, new Deadlines(systemClock), tcpPool)
  return { member: pool.upstreams[0]!, heard: () => heard, sockets: server.sockets }
}

async function result (t: Test, check: StreamCheck, ...lines: (string | Buffer)[]): Promise<{ ok: boolean; reason: string; heard: string }> {
  const { member, heard } = await saying(t, ...lines)
  return { ...await check(member, AbortSignal.timeout(10_000)), heard: heard() }
}

t.test('SMTP: the whole greeting is waited for', async (t) => {
  t.match(await result(t, smtpCheck(), '220-mail.example\r\n220 ready\r\n'), { ok: true, reason: 'greets' })
  t.match(await result(t, smtpCheck(), '554 no service\r\n'), { ok: false, reason: 'greets with 554' })
  t.match(await result(t, smtpCheck(), 'hello\r\n'), { ok: false, reason: /^answered "hello/ })
  t.match(await result(t, smtpCheck({ ehlo: 'lb.example' }), '220 x\r\n', '250-mail\r\n250 SIZE\r\n'), { ok: true, heard: /^EHLO lb\.example\r\n/ })
  t.match(await result(t, smtpCheck({ ehlo: 'lb.example' }), '220 x\r\n', '421 closing\r\n'), { ok: false, reason: 'answers EHLO with 421' })
  t.throws(() => smtpCheck({ ehlo: 'a\r\nb' }), RangeError)
})

t.test('MySQL: greeting, login and errors as in the protocol’s text', async (t) => {
  const packet = (sequence: number, ...payload: (string | number)[]): Buffer => {
    const body = Buffer.concat(payload.map((part) => typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from([part])))
    return Buffer.concat([Buffer.from([body.length & 255, body.length >> 8, 0, sequence]), body])
  }
  const greeting = packet(0, 10, '8.0.36\0', 1, 0, 0, 0, 'abcdefgh\0', 0xff, 0xff)
  t.match(await result(t, mysqlCheck(), greeting), { ok: true, reason: 'greets' })
  t.match(await result(t, mysqlCheck(), packet(0, 0xff, 0x10, 4, 'Too many connections')), { ok: false, reason: '1040 Too many connections' })
  t.match(await result(t, mysqlCheck(), 'HTTP/1.1 400 Bad Request\r\n'), { ok: false, reason: /^answered "HTTP/ })
  t.match(await result(t, mysqlCheck({ user: 'lb' }), greeting, packet(2, 0, 0, 0, 2, 0, 0, 0)), { ok: true, reason: 'lets in', heard: /\0lb\0\0mysql_native_password\0/ })
  t.match(await result(t, mysqlCheck({ user: 'lb' }), greeting, packet(2, 0xff, 0x15, 4, '#28000Access denied')), { ok: true, reason: 'answers: 1045 Access denied' })
})

t.test('an upstream of an HTTP pool, which a check for all pools meets too', async (t) => {
  const environment = { clock: systemClock, random: Math.random }
  const found = async (member: string | { id: string; app: { inject: () => never } }): Promise<unknown> => {
    const { upstreams } = new Pool('p', { upstreams: [member as string] }, 'p', environment, new Deadlines(systemClock))
    return redisCheck()(upstreams[0]!, AbortSignal.timeout(10_000))
  }
  const server = await upstream(t, (socket) => { socket.once('data', () => { socket.write('HTTP/1.1 400 Bad Request\r\n\r\n') }) })
  t.match(await found(server.url.replace('tcp:', 'http:')), { ok: false, reason: /^answered "HTTP/ })
  t.match(await found({ id: 'inside', app: { inject: () => { throw new Error('unused') } } }), { ok: false, reason: 'has no socket' })
})

t.test('send and expect; a connection', async (t) => {
  t.match(await result(t, sendExpectCheck({ send: 'ruok', expect: 'imok' }), '', 'imok'), { ok: true, heard: 'ruok' })
  t.match(await result(t, sendExpectCheck({ expect: /^ready \d/, refuse: /busy/ }), 'ready 5'), { ok: true })
  t.match(await result(t, sendExpectCheck({ expect: 'ready', refuse: /busy/ }), 'busy'), { ok: false, reason: 'answered "busy"' })
  t.match(await result(t, connectCheck()), { ok: true, reason: 'connected' })
  t.throws(() => sendExpectCheck({ expect: /x/g }), RangeError)
})

t.test('servers that misbehave: silence, floods, garbage, an end, nobody; nothing is left open', async (t) => {
  const checks: Record<string, StreamCheck> = {
    redis: redisCheck(), role: redisCheck({ role: 'replica' }), auth: redisCheck({ password: 'x' }), postgres: postgresCheck(), primary: postgresCheck({ role: 'primary' }),
    mysql: mysqlCheck(), smtp: smtpCheck(), expect: sendExpectCheck({ expect: 'x' }), tls: tlsHandshakeCheck({ tls: { rejectUnauthorized: false } })
  }
  for (const [name, check] of Object.entries(checks)) {
    const silent = await saying(t)
    const controller = new AbortController()
    const waiting = check(silent.member, controller.signal)
    await until(() => silent.sockets.size === 1)
    controller.abort()
    t.match(await waiting, { ok: false, reason: 'took too long' }, name)
    await until(() => silent.sockets.size === 0)
    for (const garbage of [Buffer.alloc(20_000, 0xfe), Buffer.alloc(20_000), Buffer.from('\r\n'.repeat(10_000))]) {
      const loud = await saying(t, garbage)
      const { ok, reason } = await check(loud.member, AbortSignal.timeout(10_000))
      t.equal(ok, false, `${name}: ${reason.slice(0, 60)}`)
      await until(() => loud.sockets.size === 0)
    }
    for (const socket of silent.sockets) socket.destroy()
  }
  const gone = await saying(t)
  const aborted = new AbortController()
  aborted.abort()
  t.match(await connectCheck()(gone.member, aborted.signal), { ok: false })
})

t.test('DNS: only the answer to the very question counts', async (t) => {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => socket.close())
  let answer = (query: Buffer): Buffer[] => [query]
  socket.on('message', (query, { port, address }) => { for (const datagram of answer(query)) socket.send(datagram, port, address) })
  const member = { target: { hostname: '127.0.0.1', port: socket.address().port } } as unknown as Upstream
  const reply = (query: Buffer, code: number): Buffer => {
    const bytes = Buffer.from(query)
    bytes[2]! |= 0x80
    bytes[3] = code
    return bytes
  }
  answer = (query) => {
    const other = reply(query, 2)
    other[0]! ^= 1
    return [Buffer.alloc(3), other, query, reply(query, 0)]
  }
  t.same(await dnsCheck()(member, AbortSignal.timeout(10_000)), { ok: true, reason: 'NOERROR' })
  answer = (query) => [reply(query, 2)]
  t.same(await dnsCheck({ name: 'a.example', record: 'A' })(member, AbortSignal.timeout(10_000)), { ok: false, reason: 'SERVFAIL' })
  t.same(await dnsCheck({ codes: ['SERVFAIL'] })(member, AbortSignal.timeout(10_000)), { ok: true, reason: 'SERVFAIL' })
  answer = () => []
  t.same(await dnsCheck()(member, AbortSignal.timeout(50)), { ok: false, reason: 'no answer in time' })
  t.throws(() => dnsCheck({ name: '.'.repeat(10) }), RangeError)
})
