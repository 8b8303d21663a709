import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as tlsConnect, createServer as createTls, type TLSSocket } from 'node:tls'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { parseProxyHeader, tlvTypes, writeProxyV1, writeProxyV2 } from '@headgate/core'
import { FakeClock } from '../../core/test/clock.ts'
import { exchange, firstLine, named, proxy, type Test, until, upstream } from './helpers.ts'

const read = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
const pair = { key: read('key.pem'), cert: read('cert.pem') }

async function tlsUpstream (t: Test, name: string): Promise<string> {
  const server = createTls({ ...pair, allowHalfOpen: true, ALPNProtocols: ['h2', 'one'] }, (socket) => {
    socket.on('error', () => {})
    socket.write(`${name} ${String(socket.servername)} ${String(socket.alpnProtocol)}\n`)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Speaks TLS: the first line that comes, then what is echoed. */
async function speak (port: number, servername: string, alpn?: string[], text = 'echo'): Promise<string> {
  const options = { port, host: '127.0.0.1', servername, ca: pair.cert, checkServerIdentity: () => undefined, ...(alpn === undefined ? {} : { ALPNProtocols: alpn }), allowHalfOpen: true }
  const socket: TLSSocket = tlsConnect(options)
  let got = ''
  socket.on('data', (chunk: Buffer) => { got += chunk.toString('latin1') })
  socket.on('error', (error: NodeJS.ErrnoException) => { got += `error ${error.code}` })
  socket.end(text)
  await once(socket, 'close').catch(() => {})
  return got
}

t.test('TLS passes through, routed by server name and ALPN', async (t) => {
  const [a, b, other] = [await tlsUpstream(t, 'a'), await tlsUpstream(t, 'b'), await tlsUpstream(t, 'other')]
  const { port, stream } = await proxy(t, {
    listeners: [{
      name: 'tls', listen: '127.0.0.1:0',
      routes: [
        { match: { serverName: 'a.example', alpn: 'one' }, pool: [`tcp://${other}`] },
        { match: { serverName: ['a.example', 'www.a.example'] }, pool: [`tcp://${a}`] },
        { match: { serverName: '*.b.example' }, pool: [`tcp://${b}`] }
      ]
    }]
  })
  t.equal(await speak(port('tls'), 'a.example'), 'a a.example false\necho')
  t.equal(await speak(port('tls'), 'A.Example', ['h2']), 'a A.Example h2\necho')
  t.equal(await speak(port('tls'), 'a.example', ['one']), 'other a.example one\necho')
  t.equal(await speak(port('tls'), 'x.b.example'), 'b x.b.example false\necho')
  t.match(await speak(port('tls'), 'b.example'), /^error/, 'the wildcard is for one label, no less')
  t.match(await speak(port('tls'), 'x.y.b.example'), /^error/, 'and no more')
  t.equal(stream.listener('tls').counters.ends.get('no-route'), 2)
})

t.test('ssh, HTTP, TLS and what a function knows, on one port', async (t) => {
  const up = async (name: string) => [(await named(t, name)).url]
  const { port } = await proxy(t, {
    listeners: [{
      name: 'all', listen: '127.0.0.1:0', pool: await up('default'),
      routes: [
        { match: { protocol: 'ssh' }, pool: await up('ssh') },
        { match: { protocol: 'http' }, pool: await up('http') },
        { match: { protocol: 'tls' }, pool: [`tcp://${await tlsUpstream(t, 'tls')}`] },
        { match: (bytes) => bytes.length < 2 ? undefined : bytes[0] === 42 && bytes[1] === 42, pool: await up('stars') },
        { match: (bytes) => { if (bytes[0] === 43) throw new Error('a mistake'); return false }, pool: await up('never') }
      ]
    }]
  })
  const p = port('all')
  t.equal(String(await exchange(p, 'SSH-2.0-x\r\n')), 'ssh\nSSH-2.0-x\r\n')
  t.equal(String(await exchange(p, 'OPTIONS * HTTP/1.1\r\n')), 'http\nOPTIONS * HTTP/1.1\r\n')
  t.equal(String(await exchange(p, 'PRI * HTTP/2.0\r\n')), 'http\nPRI * HTTP/2.0\r\n')
  t.equal(await speak(p, 'x'), 'tls x false\necho')
  t.equal(String(await exchange(p, '**')), 'stars\n**')
  t.equal(String(await exchange(p, '+x')), 'default\n+x')
  t.equal(String(await exchange(p, 'other')), 'default\nother')
  t.equal(String(await exchange(p)), 'default\n', 'nothing at all, and no more to come')
  const slow = connect(p, '127.0.0.1')
  slow.setNoDelay()
  for (const byte of 'SSH-') {
    slow.write(byte)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const [line] = await once(slow, 'data') as [Buffer]
  t.match(String(line), /^ssh\n/)
  slow.destroy()
})

t.test('first bytes that do not come, do not end, or are garbage', async (t) => {
  const clock = new FakeClock()
  const a = await named(t, 'a')
  const tls = { match: { protocol: 'tls' as const }, pool: [a.url] }
  const { port, stream } = await proxy(t, {
    clock,
    listeners: [
      { name: 'strict', listen: '127.0.0.1:0', routes: [tls] },
      { name: 'open', listen: '127.0.0.1:0', routes: [tls, { match: () => undefined, pool: [a.url] }], pool: [a.url] }
    ]
  })
  const { counters } = stream.listener('strict')
  const closed = async (send: Buffer | string, reason: string, advance = 0): Promise<void> => {
    const socket = connect(port('strict'), '127.0.0.1')
    socket.on('error', () => {})
    const gone = new Promise((resolve) => { socket.on('close', resolve) })
    if (send.length > 0) socket.write(send)
    const before = counters.ends.get(reason) ?? 0
    await until(() => counters.active === 1 || (counters.ends.get(reason) ?? 0) > before)
    // The bytes have to be there first.
    if (advance > 0) await new Promise((resolve) => setTimeout(resolve, 50))
    clock.advance(advance)
    await gone
    t.equal(counters.ends.get(reason), before + 1, reason)
  }
  await closed('garbage', 'no-route')
  await closed(Buffer.from([22, 3, 1, 0, 0]), 'client-hello-malformed')
  await closed(Buffer.from([22, 3, 1, 0, 9, 1, 0, 255, 255, 0, 0, 0, 0, 0]), 'client-hello-too-long')
  await closed(Buffer.from([22, 3, 1, 1]), 'client-hello-timeout', 6000)
  await closed('', 'preread-timeout', 6000)
  // One who says nothing may be waiting for the server to speak first.
  const silent = firstLine(port('open'))
  await until(() => stream.listener('open').counters.active === 1)
  clock.advance(6000)
  const { line, socket } = await silent
  t.equal(line, 'a')
  socket.destroy()
  const endless = connect(port('open'), '127.0.0.1')
  endless.on('error', () => {})
  const gone = new Promise((resolve) => { endless.on('close', resolve) })
  endless.write(Buffer.alloc(20_000, 'x'))
  await gone
  t.equal(stream.listener('open').counters.ends.get('preread-too-long'), 1)
  await until(() => a.sockets.size === 0)
})

t.test('TLS ends here: clear upstreams, encrypted ones, and routes by what was agreed on', async (t) => {
  const clear = await named(t, 'clear')
  const secure = await tlsUpstream(t, 'secure')
  const ca = { connection: { tls: { ca: pair.cert, checkServerIdentity: () => undefined, servername: 'inner.example' } } }
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'clear', listen: '127.0.0.1:0', pool: [clear.url], tls: pair },
      { name: 'again', listen: '127.0.0.1:0', pool: { upstreams: [`tls://${secure}`], ...ca }, tls: pair },
      { name: 'only up', listen: '127.0.0.1:0', pool: { upstreams: [`tls://${secure}`], ...ca } },
      { name: 'unverified', listen: '127.0.0.1:0', pool: [`tls://${secure}`], retries: 0 },
      { name: 'routed', listen: '127.0.0.1:0', tls: { ...pair, ALPNProtocols: ['one', 'two'] }, routes: [{ match: { alpn: 'two' }, pool: [(await named(t, 'two')).url] }, { match: { serverName: 'n.example' }, pool: [(await named(t, 'name')).url] }] },
      { name: 'mixed', listen: '127.0.0.1:0', routes: [{ match: { serverName: 'end.example' }, pool: [(await named(t, 'ended')).url], tls: pair }, { match: { protocol: 'tls' }, pool: [`tcp://${secure}`] }] }
    ]
  })
  t.equal(await speak(port('clear'), 'x'), 'clear\necho')
  const bulk = 'x'.repeat(3_000_000)
  t.ok(await speak(port('clear'), 'x', undefined, bulk) === `clear\n${bulk}`, 'bulk')
  t.equal(await speak(port('again'), 'x'), 'secure inner.example false\necho')
  t.ok(await speak(port('again'), 'x', undefined, bulk) === `secure inner.example false\n${bulk}`, 'bulk, encrypted on both sides')
  t.equal(String(await exchange(port('only up'), 'plain')), 'secure inner.example false\nplain')
  t.match(await firstLine(port('unverified')), { line: /closed|error/ })
  t.same([...stream.listener('unverified').counters.failures], [['tls', 1]])
  t.equal(await speak(port('routed'), 'x', ['two']), 'two\necho')
  t.equal(await speak(port('routed'), 'n.example', ['one']), 'name\necho')
  t.equal(await speak(port('routed'), 'other', ['one']), '')
  t.equal(await speak(port('mixed'), 'end.example'), 'ended\necho')
  t.equal(await speak(port('mixed'), 'else.example'), 'secure else.example false\necho')
  t.match(await firstLine(port('clear'), 'no TLS at all\r\n\r\n'), { line: /closed|error/ })
  await until(() => stream.listener('clear').counters.active === 0)
  t.equal(stream.listener('clear').counters.ends.get('tls'), 1)
})

t.test('client certificates, where they are asked for', async (t) => {
  const { port, stream } = await proxy(t, { listeners: [{ name: 'm', listen: '127.0.0.1:0', pool: [(await named(t, 'a')).url], tls: { ...pair, ca: pair.cert, requestCert: true, rejectUnauthorized: true } }] })
  t.notMatch(await speak(port('m'), 'x'), /^a/)
  const socket = tlsConnect({ port: port('m'), host: '127.0.0.1', ...pair, ca: pair.cert, checkServerIdentity: () => undefined })
  const [data] = await once(socket, 'data') as [Buffer]
  t.equal(String(data), 'a\n')
  socket.destroy()
  await until(() => stream.listener('m').counters.active === 0)
})

t.test('a handshake that is never finished is cut off', async (t) => {
  const clock = new FakeClock()
  const { port, stream } = await proxy(t, { clock, listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [(await named(t, 'a')).url], tls: pair }] })
  const socket = connect(port('x'), '127.0.0.1')
  await until(() => stream.listener('x').counters.active === 1)
  const closed = once(socket, 'close')
  clock.advance(11_000)
  await closed
  t.equal(stream.listener('x').counters.ends.get('tls-timeout'), 1)
  for (const bytes of ['', Buffer.from([22, 3, 1, 2, 0, 1, 0, 1])]) {
    const gone = connect(port('x'), '127.0.0.1')
    gone.end(bytes)
    await once(gone, 'close')
  }
  await until(() => stream.listener('x').counters.active === 0)
  t.equal(stream.listener('x').counters.ends.get('client-closed'), 2, 'and one that ends it itself is over at once')
})

t.test('PROXY headers of trusted peers are read, in pieces and with what follows; of others never', async (t) => {
  const clock = new FakeClock()
  const seen: string[] = []
  const a = await named(t, 'a')
  const hashOn = ((info: { clientAddress: string; clientPort: number }) => {
    seen.push(`${info.clientAddress} ${info.clientPort}`)
    return ''
  }) as never
  const pool = { upstreams: [a.url], policy: 'hash' as const, hashOn }
  const from = ['127.0.0.0/8']
  const { port, stream } = await proxy(t, {
    clock,
    listeners: [
      { name: 'in', listen: '127.0.0.1:0', pool, acceptProxy: { from } },
      { name: 'tls', listen: '127.0.0.1:0', pool, acceptProxy: { from }, tls: pair },
      { name: 'routed', listen: '127.0.0.1:0', acceptProxy: { from }, routes: [{ match: { protocol: 'ssh' }, pool }] },
      { name: 'stranger', listen: '127.0.0.1:0', pool, acceptProxy: { from: ['10.0.0.0/8', 'fd00::1', 'unix'] } },
      { name: 'plain', listen: '127.0.0.1:0', pool, acceptProxy: { from: ['10.0.0.1'], others: 'plain' } }
    ]
  })
  const ends = { source: { address: '192.0.2.7', port: 1234 }, destination: { address: '192.0.2.8', port: 443 } }
  const v2 = writeProxyV2(ends, { checksum: true, tlvs: [{ type: tlvTypes.authority, value: Buffer.from('x') }] })
  t.equal(String(await exchange(port('in'), Buffer.concat([v2, Buffer.from('hello')]))), 'a\nhello')
  t.equal(String(await exchange(port('in'), writeProxyV1(ends))), 'a\n')
  t.equal(String(await exchange(port('routed'), Buffer.concat([v2, Buffer.from('SSH-2')]))), 'a\nSSH-2')
  const slow = connect({ port: port('in'), host: '127.0.0.1', noDelay: true })
  for (const byte of v2) {
    slow.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await once(slow, 'data')
  slow.destroy()
  t.same(seen, Array.from({ length: 4 }, () => '192.0.2.7 1234'))
  t.equal(stream.listener('in').counters.sent, 5, 'the header is none of the bytes')

  const under = connect(port('tls'), '127.0.0.1')
  under.write(v2)
  const over = tlsConnect({ socket: under, ca: pair.cert, checkServerIdentity: () => undefined })
  over.write('inside')
  let text = ''
  over.on('data', (chunk: Buffer) => { text += String(chunk) })
  await until(() => text === 'a\ninside')
  over.destroy()

  t.match(await firstLine(port('stranger'), writeProxyV1(ends).toString()), { line: /closed|error/ })
  t.equal(stream.listener('stranger').counters.ends.get('proxy-untrusted'), 1)
  t.equal(String(await exchange(port('plain'), writeProxyV1(ends))), `a\n${String(writeProxyV1(ends))}`, 'a header of a stranger is only bytes')
  t.match(seen.at(-1), /^127\.0\.0\.1 /)

  const broken = Buffer.from(v2)
  broken[20]! ^= 1
  for (const bytes of ['GET / HTTP/1.1\r\n', broken, 'PROXY TCP4 1.2.3.4\r\n', `PROXY UNKNOWN ${'x'.repeat(100)}`]) t.match(await firstLine(port('in'), bytes as string), { line: /closed|error/ })
  t.equal(stream.listener('in').counters.ends.get('proxy-malformed'), 4)
  const late = connect(port('in'), '127.0.0.1')
  late.write('PROXY TCP4')
  await until(() => stream.listener('in').counters.active === 1)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const closed = once(late, 'close')
  clock.advance(4000)
  await closed
  t.equal(stream.listener('in').counters.ends.get('proxy-timeout'), 1)
})

t.test('upstreams are told of the client: v1, v2 with fields and checksum, before TLS too, and on every attempt', async (t) => {
  const heard: object[] = []
  const told = async (reset: boolean) => upstream(t, (socket) => {
    let bytes = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      const read = parseProxyHeader(bytes)
      if (read === undefined) return
      if (reset) return void socket.resetAndDestroy()
      const { version, ends, tlvs } = read.header
      heard.push({ version, source: ends?.source.address, tlvs: tlvs.map(({ type, value }) => [type, value.toString('latin1')]) })
      socket.end(JSON.stringify(heard.at(-1)))
    })
  })
  const [good, bad] = [await told(false), await told(true)]
  const inner = await tlsUpstream(t, 'inner')
  const front = await upstream(t, (socket) => {
    // What stands before a TLS server that takes PROXY headers.
    let over: ReturnType<typeof connect> | undefined
    socket.on('data', (chunk: Buffer) => {
      if (over !== undefined) return void over.write(chunk)
      const { header, length } = parseProxyHeader(chunk)!
      if (header.ends?.source.address !== '127.0.0.1') return void socket.destroy()
      over = connect(Number(inner.split(':')[1]), '127.0.0.1')
      over.write(chunk.subarray(length))
      over.pipe(socket)
    })
  })
  const pool = { upstreams: [good.url] }
  const { port } = await proxy(t, {
    listeners: [
      { name: 'v1', listen: '127.0.0.1:0', pool, sendProxy: 'v1' },
      { name: 'v2', listen: '127.0.0.1:0', pool, sendProxy: { version: 2, uniqueId: true }, acceptProxy: { from: ['127.0.0.1'] } },
      { name: 'sni', listen: '127.0.0.1:0', sendProxy: 'v2', routes: [{ match: { protocol: 'tls' }, pool }] },
      { name: 'retry', listen: '127.0.0.1:0', pool: { upstreams: [bad.url, good.url], policy: 'first' }, sendProxy: 'v1' },
      { name: 'tls', listen: '127.0.0.1:0', pool: { upstreams: [front.url.replace('tcp:', 'tls:')], connection: { tls: { ca: pair.cert, checkServerIdentity: () => undefined } } }, sendProxy: 'v2' }
    ]
  })
  const told1 = JSON.parse(String(await exchange(port('v1'), 'hello'))) as object
  t.match(told1, { version: 1, source: '127.0.0.1' })
  const header = writeProxyV2({ source: { address: '2001:db8::1', port: 5 }, destination: { address: '2001:db8::2', port: 6 } }, { tlvs: [{ type: tlvTypes.uniqueId, value: Buffer.from('id-1') }] })
  t.match(JSON.parse(String(await exchange(port('v2'), header))), { version: 2, source: '2001:db8::1', tlvs: [[tlvTypes.uniqueId, 'id-1']] })
  const over = tlsConnect({ port: port('sni'), host: '127.0.0.1', servername: 'n.example', ALPNProtocols: ['h2', 'x'] })
  await once(over, 'error')
  t.match(heard.at(-1), { version: 2, source: '127.0.0.1', tlvs: [[tlvTypes.authority, 'n.example'], [tlvTypes.alpn, 'h2']] })
  t.match(JSON.parse(String(await exchange(port('retry')))), { version: 1, source: '127.0.0.1' })
  const { line, socket } = await firstLine(port('tls'))
  t.match(line, /^inner/)
  socket.destroy()
})
