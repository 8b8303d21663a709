import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectOver } from 'node:tls'
import helmet from '@fastify/helmet'
import type { FastifyInstance } from 'fastify'
import { systemClock, writeProxyV1, writeProxyV2 } from '@headgate/core'
import t from 'tap'
import { FLAG, type Frame, frame, FrameReader, headers, PREFACE, reset, settings, TYPE } from '../../core/test/transport/frames.ts'
import { skipWithout } from '../../../tools/system.mjs'
import { Authority, type Pair } from './certificates.ts'
import { ask, bodyOf, handshake, plain, run, shown, site } from './helpers.ts'

const skip = skipWithout('openssl', 'curl')

t.test('certificates by host: exact, wildcard, default, and none', { skip }, async (t) => {
  const authority = new Authority(t)
  const [a, wild, other] = [authority.issue(['a.example', 'b.example'], { subject: '/CN=a' }), authority.issue(['*.example'], { subject: '/CN=wild' }), authority.issue([], { subject: '/CN=other' })]
  const certificates = [{ name: 'other', ...other, hosts: ['Named.Elsewhere'] }, a.files, wild]
  const { port, tls } = await site(t, { certificates, default: 'other' })
  t.equal(await shown(port, 'a.example', authority.ca), 'a')
  t.equal(await shown(port, 'B.Example', authority.ca), 'a')
  t.equal(await shown(port, 'c.example', authority.ca), 'wild')
  t.equal(await shown(port, 'named.elsewhere', authority.ca), 'other')
  t.equal(await shown(port, 'x.c.example', authority.ca), 'other', 'a wildcard is for one label')
  t.equal(await shown(port, '', authority.ca), 'other')
  t.same(tls.certificates.map(({ name, hosts }) => ({ name, hosts })), [
    { name: 'other', hosts: ['named.elsewhere'] }, { name: 'certificates[1]', hosts: ['a.example', 'b.example'] }, { name: 'certificates[2]', hosts: ['*.example'] }
  ])
  const strict = await site(t, { certificates: [a], unknownHost: 'refuse' })
  t.equal(await shown(strict.port, 'a.example', authority.ca), 'a')
  t.equal(await shown(strict.port, '', authority.ca), 'a', 'who names nobody gets the default')
  await t.rejects(shown(strict.port, 'c.example', authority.ca), { code: 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME' })
})

t.test('an RSA certificate beside an ECDSA one: what the client can check decides', { skip }, async (t) => {
  // What a client cannot check in the certificate it can hardly check in the chain: each kind has its own authority.
  const authorities = { ec: new Authority(t), rsa: new Authority(t, 'RSA CA', { rsa: true }) }
  writeFileSync(authorities.ec.path('all.pem'), authorities.ec.ca + authorities.rsa.ca)
  const issue = (name: string, kind: 'ec' | 'rsa', extensions: string[] = []): Pair =>
    authorities[kind].issue([`${name}.example`, ...name === 'b' ? ['*.b.example'] : []], { rsa: kind === 'rsa', subject: `/CN=${name}-${kind}`, extensions })
  const both = (name: string): object[] => (['ec', 'rsa'] as const).map((kind) => ({ name: `${name}-${kind}`, ...issue(name, kind) }))
  const lines: object[] = []
  const { port, tls } = await site(t, { certificates: [...both('a'), ...both('b')] as [] }, undefined, {
    logger: { level: 'warn', stream: { write: (line) => { lines.push(JSON.parse(line) as object) } } }
  })
  const shows = async (host: string, ...args: string[]): Promise<string> => {
    const name = host === '' ? ['-noservername'] : ['-servername', `${host}.example`]
    const out = await run('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...name, '-CAfile', authorities.ec.path('all.pem'), ...args])
    t.match(out, /Verify return code: 0/)
    return /subject=.*CN ?= ?([\w-]+)/.exec(out)?.[1] ?? out
  }
  const EC = ['-sigalgs', 'ecdsa_secp256r1_sha256']
  const RSA = ['-sigalgs', 'rsa_pss_rsae_sha256']
  for (const host of ['a', 'b', 'x.b']) {
    const name = host.at(-1)!
    t.equal(await shows(host, ...EC), `${name}-ec`, host)
    t.equal(await shows(host, ...RSA), `${name}-rsa`, host)
    t.equal(await shows(host, '-sigalgs', 'ECDSA+SHA256:RSA-PSS+SHA256'), `${name}-ec`, 'the first that the client names')
    t.equal(await shows(host, '-sigalgs', 'RSA-PSS+SHA256:ECDSA+SHA256'), `${name}-rsa`)
    t.equal(await shows(host, '-tls1_2', ...EC, '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'), `${name}-ec`, 'before TLS 1.3 ciphers decide as well')
    t.equal(await shows(host, '-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'), `${name}-rsa`)
  }
  t.equal(await shows('', ...RSA), 'a-rsa', 'the default too')
  t.equal(await shows('nobody', ...EC), 'a-ec')

  await tls.set('late', { ...authorities.rsa.issue(['a.example'], { rsa: true, subject: '/CN=late' }) })
  t.equal(await shows('a', ...RSA), 'a-rsa', 'of one kind the first')
  t.match(lines, [{ certificate: 'late', hosts: ['a.example'], msg: 'an earlier certificate is shown for these hosts' }])
  tls.remove('a-rsa')
  t.equal(await shows('a', ...RSA), 'late')
  t.equal(await shows('a', ...EC), 'a-ec')

  // Clients that insist on a staple would not take one that is another certificate's.
  lines.length = 0
  await tls.set('staple', issue('s', 'ec', ['tlsfeature=status_request']))
  await tls.set('beside', issue('s', 'rsa'))
  t.equal(await shows('s', ...EC), 's-ec')
  t.match(lines.at(-1), { certificate: 'beside', hosts: ['s.example'] }, 'it stands alone')
})

t.test("openssl's client: versions, ciphers, groups, protocols", { skip }, async (t) => {
  const authority = new Authority(t)
  const pair = authority.issue(['a.example'], { rsa: true })
  const intermediate = await site(t, { certificates: [pair] })
  const modern = await site(t, { certificates: [pair], profile: 'modern', http2: false })
  const client = (port: number, ...args: string[]): Promise<string> =>
    run('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'a.example', '-CAfile', authority.path('ca.pem'), ...args])
  const good = await client(intermediate.port, '-alpn', 'h2,http/1.1')
  t.match(good, /Verify return code: 0/)
  t.match(good, /New, TLSv1\.3, Cipher is TLS_/)
  t.match(good, /ALPN protocol: h2/)
  t.match(good, /Server Temp Key: (X25519|.*MLKEM)/)
  t.match(await client(intermediate.port, '-tls1_2'), /New, TLSv1\.2, Cipher is ECDHE-RSA-(AES|CHACHA)/)
  t.match(await client(intermediate.port, '-tls1_2', '-cipher', 'AES256-SHA:DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-SHA@SECLEVEL=0'), /Cipher is \(NONE\)/)
  t.match(await client(intermediate.port, '-tls1_1', '-cipher', 'ALL@SECLEVEL=0'), /Cipher is \(NONE\)/)
  t.match(await client(modern.port, '-tls1_2'), /Cipher is \(NONE\)/)
  const last = await client(modern.port, '-alpn', 'h2,http/1.1')
  t.match(last, /New, TLSv1\.3/)
  t.match(last, /ALPN protocol: http\/1\.1/)
})

t.test('HTTP/2 and HTTP/1.1, from curl and from Node, and kept sessions end with the app', { skip }, async (t) => {
  const authority = new Authority(t)
  const { app, port } = await site(t, { certificates: [authority.issue(['a.example'])] }, undefined, { forceCloseConnections: false })
  const curl = (...args: string[]): Promise<string> => run('curl', ['-sS', '--cacert', authority.path('ca.pem'), '--resolve', `a.example:${port}:127.0.0.1`, ...args, `https://a.example:${port}/`])
  t.match(await curl('--http2'), /"version":"2\.0","protocol":"https"/)
  t.match(await curl('--http1.1'), /"version":"1\.1","protocol":"https"/)
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: authority.ca, servername: 'a.example' })
  const stream = session.request({ ':path': '/' })
  const [headers] = await once(stream, 'response') as [Record<string, unknown>]
  t.equal(headers[':status'], 200)
  stream.resume()
  await once(stream, 'end')
  const closed = once(session, 'close')
  await app.close()
  await closed
  t.pass('a session without streams does not hold the app')
})

t.test('plain HTTP on the port for TLS is told so', { skip }, async (t) => {
  const authority = new Authority(t)
  const { port } = await site(t, { certificates: [authority.issue(['a.example'])] })
  for (const head of ['GET / HTTP/1.1\r\nHost: a.example\r\n\r\n', 'OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']) {
    const answer = await ask(plain(port), head)
    t.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/)
    t.match(JSON.parse(bodyOf(answer)), { status: 400, code: 'HG_TLS_PLAIN_HTTP', detail: /https:\/\// })
  }
  t.match(await run('curl', ['-sS', `http://127.0.0.1:${port}/`]), /speaks HTTPS/)
  t.notMatch(await ask(plain(port), 'SSH-2.0-x\r\n'), 'HTTP', 'what is neither is just closed')
  t.match(bodyOf(await ask(await handshake(port, { servername: 'a.example', ca: authority.ca }))), '127.0.0.1', 'others are served')
})

t.test('PROXY headers, v1 and v2, from trusted peers alone', { skip }, async (t) => {
  const authority = new Authority(t)
  const certificates = [authority.issue(['a.example'])]
  const tell = (app: { get: (path: string, handler: (request: never) => unknown) => unknown }): unknown => app.get('/', async (request: { ip: string; socket: { localPort: number; remotePort: number }; raw: { socket: { remoteAddress: string } } }) =>
    `${request.ip} ${request.raw.socket.remoteAddress} ${request.socket.remotePort} ${request.socket.localPort}`)
  const trusted = await site(t, { certificates, proxyProtocol: { from: ['127.0.0.0/8'] } }, tell as never)
  const ends = { source: { address: '192.0.2.7', port: 4711 }, destination: { address: '192.0.2.1', port: 443 } }
  const six = { source: { address: '2001:db8::7', port: 4712 }, destination: { address: '2001:db8::1', port: 8443 } }
  const over = async (port: number, pieces: readonly Buffer[]): Promise<string> => {
    const carrier = plain(port)
    for (const piece of pieces) {
      carrier.write(piece)
      await new Promise((resolve) => { setImmediate(resolve) })
    }
    const secure = connectOver({ socket: carrier, servername: 'a.example', ca: authority.ca })
    return bodyOf(await ask(secure))
  }
  t.equal(await over(trusted.port, [writeProxyV1(ends)]), '192.0.2.7 192.0.2.7 4711 443')
  t.equal(await over(trusted.port, [writeProxyV2(ends, { checksum: true })]), '192.0.2.7 192.0.2.7 4711 443')
  const whole = writeProxyV2(six)
  t.equal(await over(trusted.port, [whole.subarray(0, 9), whole.subarray(9, 20), whole.subarray(20)]), '2001:db8::7 2001:db8::7 4712 8443', 'in pieces')
  t.match(await over(trusted.port, [writeProxyV1(undefined)]), /^127\.0\.0\.1 127\.0\.0\.1/, 'UNKNOWN leaves the real ones')
  const session = connectHttp2('https://a.example', { createConnection: () => {
    const carrier = plain(trusted.port)
    carrier.write(writeProxyV2(ends))
    return connectOver({ socket: carrier, servername: 'a.example', ca: authority.ca, ALPNProtocols: ['h2'] })
  } })
  const stream = session.request({ ':path': '/' })
  stream.setEncoding('utf8')
  t.equal((await stream.toArray()).join(''), '192.0.2.7 192.0.2.7 4711 443', 'HTTP/2 too')
  session.close()

  await t.rejects(handshake(trusted.port, { servername: 'a.example', ca: authority.ca }), 'a header is missing')
  await t.rejects(over(trusted.port, [Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.1 99999 443\r\n')]), 'malformed')
  t.match(await ask(plain(trusted.port), `${writeProxyV1(ends).toString('latin1')}GET / HTTP/1.1\r\n\r\n`), /^HTTP\/1\.1 400/, 'plain HTTP behind a header')
  const strict = await site(t, { certificates, proxyProtocol: { from: ['192.0.2.0/24'] } })
  await t.rejects(over(strict.port, [writeProxyV1(ends)]), 'from a peer that may not')
  const lenient = await site(t, { certificates, proxyProtocol: { from: ['192.0.2.0/24'], others: 'plain' } }, tell as never)
  t.match(bodyOf(await ask(await handshake(lenient.port, { servername: 'a.example', ca: authority.ca }))), /^127\.0\.0\.1/)
  await t.rejects(over(lenient.port, [writeProxyV1(ends)]), 'who is not trusted does not get a header through')
})

t.test('HSTS, beside helmet too, and the redirect of plain HTTP', { skip }, async (t) => {
  const authority = new Authority(t)
  const certificates = [authority.issue(['a.example'])]
  const { port, tls } = await site(t, {
    certificates, hsts: { maxAge: 31_536_000, includeSubDomains: true, preload: true },
    redirect: { listen: '127.0.0.1:0', challenge: (token) => token === 'known' ? 'known.key' : undefined }
  })
  const reply = await ask(await handshake(port, { servername: 'a.example', ca: authority.ca }))
  t.match(reply, /\r\nstrict-transport-security: max-age=31536000; includeSubDomains; preload\r\n/)
  const withHelmet = await site(t, { certificates, hsts: true }, (app) => app.register(helmet, { hsts: false }))
  const both = await ask(await handshake(withHelmet.port, { servername: 'a.example', ca: authority.ca }))
  t.match(both, /\r\nstrict-transport-security: max-age=63072000\r\n/)
  t.match(both, /\r\nx-content-type-options: nosniff\r\n/i)

  const to = Number(new URL(tls.redirectAddress!).port)
  const location = async (head: string): Promise<string> => {
    const answer = await ask(plain(to), head.replace('\n', '\r\nConnection: close\r\n') + '\r\n\r\n')
    return `${answer.slice(9, 12)} ${/\r\nlocation: (.*)\r\n/i.exec(answer)?.[1] ?? bodyOf(answer)}`
  }
  t.equal(await location('GET /x?y=1 HTTP/1.1\nHost: a.example'), `308 https://a.example:${port}/x?y=1`)
  t.equal(await location('POST / HTTP/1.1\nHost: a.example:80'), `308 https://a.example:${port}/`)
  t.equal(await location('GET http://b.example:8080/z HTTP/1.1\nHost: a.example'), `308 https://b.example:${port}/z`)
  t.equal(await location('GET / HTTP/1.1\nHost: [::1]:80'), `308 https://[::1]:${port}/`)
  t.equal(await location('GET //evil.example HTTP/1.1\nHost: a.example'), `308 https://a.example:${port}//evil.example`)
  t.match(await location('GET / HTTP/1.1\nHost: a.example/evil'), /^400/)
  t.match(await location('GET / HTTP/1.1\nHost: a@evil.example'), /^400/)
  t.equal(await location('GET /.well-known/acme-challenge/known HTTP/1.1\nHost: a.example'), '200 known.key')
  t.match(await location('GET /.well-known/acme-challenge/other HTTP/1.1\nHost: a.example'), /^404/)
  t.match(await location('GET /.well-known/acme-challenge/../x HTTP/1.1\nHost: a.example'), /^404/)
})

t.test('HTTP/2 is bounded by default, and by options', { skip }, async (t) => {
  const authority = new Authority(t)
  const certificates = [authority.issue(['a.example'])]
  const lines: Record<string, unknown>[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } }
  interface Client { frames: Frame[]; closed: Promise<unknown>; send (...frames: Buffer[]): void; first (type: number): Promise<Frame> }
  const open = async (port: number): Promise<Client> => {
    const socket = await handshake(port, { servername: 'a.example', ca: authority.ca, ALPNProtocols: ['h2'] })
    const frames: Frame[] = []
    const reader = new FrameReader()
    socket.removeAllListeners('error')
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => { frames.push(...reader.push(chunk)) })
    const closed = once(socket, 'close')
    socket.write(PREFACE)
    socket.write(settings())
    return {
      frames, closed, send: (...frames) => { if (!socket.destroyed) socket.write(Buffer.concat(frames)) },
      first: async (type) => { for (;;) {
        const found = frames.find((frame) => frame.type === type)
        if (found !== undefined) return found
        await once(socket, 'data')
      } }
    }
  }
  const setting = ({ payload }: Frame, id: number): number | undefined => {
    for (let at = 0; at < payload.length; at += 6) if (payload.readUInt16BE(at) === id) return payload.readUInt32BE(at + 2)
    return undefined
  }
  const clock = { ...systemClock, now: () => 0 }
  const { port } = await site(t, { certificates, clock }, (app) => { app.get('/hang', () => new Promise(() => {})) }, { logger })
  const one = await open(port)
  t.equal(setting(await one.first(TYPE.settings), 3), 128, 'streams at once')
  for (let id = 1; id < 1600; id += 2) one.send(headers(id, [':method', 'GET', ':scheme', 'https', ':path', '/hang', ':authority', 'a.example'], FLAG.endHeaders | FLAG.endStream), reset(id, 8))
  await one.closed
  t.equal(one.frames.find(({ type }) => type === TYPE.goaway)?.payload.readUInt32BE(4), 11)
  t.match(lines.filter(({ reason }) => reason !== undefined), [{ reason: 'resets', closed: true, remoteAddress: '127.0.0.1' }])

  const http2 = { settings: { maxConcurrentStreams: 7 }, limits: { pings: { burst: 3, rate: 0 } } }
  const own = await site(t, { certificates, clock, http2 }, undefined, { logger })
  const two = await open(own.port)
  t.equal(setting(await two.first(TYPE.settings), 3), 7)
  for (let i = 0; i < 10; i++) two.send(frame(TYPE.ping, 0, 0, Buffer.alloc(8)))
  await two.closed
  t.match(lines.at(-1), { reason: 'pings', closed: true })
  await t.rejects(site(t, { certificates, http2: { limits: { pings: { burst: 0, rate: 0 } } } }), { code: 'HG_POOL_INVALID_OPTION', message: /options\.http2\.limits\.pings\.burst/ })
})

t.test('421 for a request on the connection of another host, where that has a certificate of its own', { skip }, async (t) => {
  const authority = new Authority(t)
  const [ab, c, wild] = [authority.issue(['a.example', 'b.example']), authority.issue(['c.example']), authority.issue(['*.wild.example', 'wild.example'])]
  const certificates = [ab, c, wild, authority.issue(['own.wild.example'])]
  const app = (app: FastifyInstance): void => {
    app.get('/', async () => 'served')
    app.setErrorHandler(async (error, _request, reply) => reply.code((error as { statusCode: number }).statusCode).send((error as { code: string }).code))
  }
  const one = async (port: number, servername: string, host: string): Promise<string> => {
    const text = await ask(await handshake(port, { servername, ca: authority.ca, checkServerIdentity: () => undefined }), `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    return `${text.slice(9, 12)} ${bodyOf(text)}`
  }
  const two = async (port: number, servername: string, ...hosts: string[]): Promise<string[]> => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { servername, ca: authority.ca, checkServerIdentity: () => undefined })
    const answers = await Promise.all(hosts.map(async (host) => {
      const stream = session.request({ ':path': '/', ':authority': host })
      const [fields] = await once(stream, 'response') as [{ ':status': number }]
      stream.setEncoding('utf8')
      return `${fields[':status']} ${(await stream.toArray()).join('')}`
    }))
    session.close()
    return answers
  }
  const [good, bad] = ['200 served', '421 HG_TLS_MISDIRECTED']
  const { port } = await site(t, { certificates }, app)
  t.same(await two(port, 'a.example', 'a.example', 'b.example:8443', 'c.example', 'A.EXAMPLE', 'b.example.', 'elsewhere.example', '127.0.0.1'),
    [good, good, bad, good, good, good, good], "what the certificate is for may share a connection; who is nobody's is served as on a new one")
  t.same(await two(port, 'x.wild.example', 'y.wild.example', 'own.wild.example', 'a.example'), [good, good, bad], 'a certificate may cover what has one of its own')
  t.same(await two(port, 'elsewhere.example', 'elsewhere.example', 'a.example', 'c.example'), [good, good, bad], 'who got the default one')
  t.same(await two(port, '', 'a.example', 'c.example'), [good, good], 'who named nobody is not judged')
  t.equal(await one(port, 'a.example', 'b.example'), good)
  t.equal(await one(port, 'a.example', 'c.example'), bad, 'HTTP/1.1 too')

  const strict = await site(t, { certificates, unknownHost: 'refuse' }, app)
  t.same(await two(strict.port, 'a.example', 'elsewhere.example', 'b.example'), [bad, good], 'whom a new connection would refuse')
  const lax = await site(t, { certificates, misdirected: 'serve' }, app)
  t.same(await two(lax.port, 'a.example', 'c.example'), [good])
  const provided = await site(t, { certificates: [c], provider: { find: (host) => host === 'a.example' ? ab : undefined } }, app)
  t.same(await two(provided.port, 'a.example', 'b.example', 'c.example'), [good, good], "a provider's certificate is not judged")
})
