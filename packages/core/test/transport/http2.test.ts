import { createHash } from 'node:crypto'
import type { ServerHttp2Stream } from 'node:http2'
import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { AutoTransport, Http2Transport, NativeTransport, type Transport, type TransportOptions, createTransport, parseTarget, systemClock } from '../../src/index.ts'
import { FakeClock } from '../clock.ts'
import { data, ERROR, FLAG, frame, goaway, headers, reset, settings, TYPE, uint32 } from './frames.ts'
import { certificate, framePeer, type FramePeer, http2Peer, type Http2Peer } from './http2-peer.ts'
import { peer as http1Peer } from './peer.ts'
import { type Recorder, send } from './recorder.ts'

/** Waits for what must come about, without a guess at how long that takes. */
async function eventually (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

function over (t: Test, { target }: Pick<Http2Peer | FramePeer, 'target'>, options: TransportOptions = {}, clock = systemClock): Http2Transport {
  const transport = new Http2Transport(target, { ...(target.protocol === 'https:' ? { tls: { ca: certificate } } : {}), ...options }, clock)
  t.teardown(() => { transport.destroy() })
  return transport
}

const fine = (t: Test, recorder: Recorder): void => { t.equal(recorder.violation, '', 'the order of events is kept') }
const ok = (stream: number, body = 'ok'): Buffer => Buffer.concat([headers(stream, [':status', '200']), data(stream, body, FLAG.endStream)])
const pump = (size: number, piece: Buffer): { hook: (recorder: Recorder) => void; waits: () => number } => {
  let left = size
  let waits = 0
  return {
    waits: () => waits,
    hook: ({ attempt }) => {
      while (left > 0) {
        left -= piece.length
        if (!attempt.write(piece)) {
          waits++
          return
        }
      }
      attempt.end()
    }
  }
}

for (const wire of ['tcp', 'tls', 'unix'] as const) {
  t.test(`http2 over ${wire}`, async (t) => {
    t.test('fields, bodies and trailers both ways, many at once on one connection', async (t) => {
      let seen: string[] = []
      let trailers: string[] = []
      const server = await http2Peer(t, wire, (stream, fields, raw) => {
        if (fields[':path']!.startsWith('/fields')) seen = raw
        stream.on('trailers', (_fields: unknown, _flags: number, list: string[]) => { trailers = list })
        if (fields[':path'] === '/bodiless') return stream.respond({ ':status': 204 }, { endStream: true })
        stream.respond({ ':status': 200, 'set-cookie': ['a=1', 'b=2'], 'x-latin': 'ä' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => { stream.sendTrailers({ 'x-sum': '7', 'x-end': 'yes' }) })
        stream.pipe(stream)
      })
      const transport = over(t, server)
      const got = await send(transport, { path: '/fields?q=%2F', headers: ['Host', 'site.example', 'X-A', '1', 'x-a', '2', 'TE', 'trailers', 'User-Agent', 'one', 'user-agent', 'two'] }).ended
      fine(t, got)
      t.same(seen, [':method', 'GET', ':scheme', wire === 'tls' ? 'https' : 'http', ':path', '/fields?q=%2F', ':authority', 'site.example', 'x-a', '1, 2', 'te', 'trailers', 'user-agent', 'one, two'])
      t.match(got, { status: 200, reason: 'OK', size: 0, trailers: ['x-sum', '7', 'x-end', 'yes'] })
      t.same(got.headers.slice(0, 6), ['set-cookie', 'a=1', 'set-cookie', 'b=2', 'x-latin', 'ä'])

      const whole = await send(transport, { method: 'POST', body: Buffer.from('all at once') }).ended
      t.match(whole, { body: 'all at once', trailers: ['x-sum', '7', 'x-end', 'yes'] })
      const streamed = await send(transport, { method: 'POST', body: { length: undefined } }, {
        onSent: ({ attempt }) => {
          attempt.write(Buffer.from('abc'))
          attempt.write(Buffer.alloc(0))
          setImmediate(() => {
            attempt.write(Buffer.from('def'))
            attempt.end(['X-Up', '1'])
          })
        }
      }).ended
      fine(t, streamed)
      t.equal(streamed.body, 'abcdef')
      t.same(trailers, ['x-up', '1'])
      const bodiless = await send(transport, { path: '/bodiless', method: 'DELETE' }).ended
      t.match(bodiless, { status: 204, complete: true, length: 0, events: ['onHead', 'onComplete'] })

      const many = await Promise.all(Array.from({ length: 60 }, async (_, i) => await send(transport, { method: 'PUT', body: Buffer.from(`number ${i}`) }).ended))
      t.same(many.map(({ body }) => body), many.map((_, i) => `number ${i}`))
      t.equal(server.count, 1)
      await eventually(() => transport.stats.idle === 1)
      t.same(transport.stats, { open: 1, idle: 1, connecting: 0 })
    })

    t.test('large bodies wait for slow readers, both ways, and stay whole', async (t) => {
      const size = 4_000_000
      const digests: string[] = []
      const server = await http2Peer(t, wire, (stream, fields) => {
        if (fields[':method'] === 'GET') {
          stream.respond({ ':status': 200, 'content-length': size })
          return stream.end(Buffer.alloc(size, 'y'))
        }
        const hash = createHash('sha256')
        stream.on('data', (chunk: Buffer) => {
          hash.update(chunk)
          stream.pause()
          setImmediate(() => { stream.resume() })
        })
        stream.on('end', () => {
          digests.push(hash.digest('hex'))
          stream.respond({ ':status': 200 }, { endStream: true })
        })
      })
      const transport = over(t, server, { http2: { windowSize: 65_535 } })
      const { hook, waits } = pump(size, Buffer.alloc(50_000, 'x'))
      const up = await send(transport, { method: 'POST', body: { length: size } }, { onSent: hook, onDrain: hook }).ended
      fine(t, up)
      t.equal(up.status, 200)
      t.ok(waits() > 0, `held ${waits()} times`)
      t.same(digests, [createHash('sha256').update(Buffer.alloc(size, 'x')).digest('hex')])

      const down = await send(transport, {}, {
        onData: ({ attempt }) => {
          setImmediate(() => { attempt.resume() })
          return false
        }
      }).ended
      fine(t, down)
      t.match(down, { size, length: size, digest: createHash('sha256').update(Buffer.alloc(size, 'y')).digest('hex') })
    })
  })
}

t.test('a reader that does not read is given one window, and the others go on', async (t) => {
  let written = 0
  const server = await http2Peer(t, 'tcp', (stream, fields) => {
    stream.respond({ ':status': 200 })
    if (fields[':path'] !== '/large') return stream.end('quick')
    const more = (): void => {
      while (!stream.destroyed) {
        written += 16_384
        if (!stream.write(Buffer.alloc(16_384))) return
      }
    }
    stream.on('drain', more)
    more()
  })
  const transport = over(t, server, { http2: { windowSize: 100_000 } })
  const slow = send(transport, { path: '/large' }, { onData: () => false })
  await eventually(() => slow.pieces > 0)
  let last = -1
  while (last !== written) {
    last = written
    for (let i = 0; i < 20; i++) t.equal((await send(transport).ended).body, 'quick')
  }
  t.ok(written < 400_000, `${written} bytes were taken of a body without end`)
  t.equal(slow.pieces, 1, 'nothing is told while it is held')
  slow.attempt.abort()
})

t.test('limits: streams of the upstream and of ours, connections, and the wait for a place', async (t) => {
  const held: ServerHttp2Stream[] = []
  const answerAll = (): void => {
    for (const stream of held.splice(0)) {
      stream.respond({ ':status': 200 })
      stream.end()
    }
  }
  const server = await http2Peer(t, 'tcp', (stream) => { held.push(stream) }, { settings: { maxConcurrentStreams: 3 } })
  const transport = over(t, server, { http2: { maxConnections: 2 } })
  const all = Array.from({ length: 10 }, () => send(transport))
  await eventually(() => held.length === 6)
  t.equal(server.count, 2, 'no third connection')
  all[9]!.attempt.abort()
  all[9]!.close()
  let most = 0
  while (all.some(({ status, violation }, i) => i < 9 && status === 0 && violation === '')) {
    most = Math.max(most, held.length)
    answerAll()
    await new Promise(setImmediate)
  }
  await Promise.all(all.map(async ({ ended }) => await ended))
  t.equal(most, 6, 'never more at once')
  t.same(all.slice(0, 9).map(({ status }) => status), Array.from({ length: 9 }, () => 200))
  t.equal(all[9]!.status, 0)

  const own = over(t, server, { http2: { maxStreams: 1, maxConnections: 8 } })
  const before = server.count
  const four = Array.from({ length: 4 }, () => send(own))
  await eventually(() => held.length === 4)
  t.equal(server.count - before, 4, 'one each')
  answerAll()
  await Promise.all(four.map(async ({ ended }) => await ended))
  await eventually(() => own.stats.idle === 4)
})

t.test('a limit that is lowered while connections are open holds', async (t) => {
  const held: number[] = []
  const server = await framePeer(t, (socket, stream, connection) => {
    if (connection > 1) return socket.write(ok(stream))
    if (held.push(stream) === 1) socket.write(settings(3, 1))
  })
  const transport = over(t, server, { http2: { maxConnections: 1 } })
  const first = send(transport)
  await eventually(() => server.heard.filter(({ type, flags }) => type === TYPE.settings && flags === 1).length === 2)
  const second = send(transport)
  await new Promise(setImmediate)
  t.same(held, [1])
  for (const socket of server.sockets) socket.write(ok(1))
  await first.ended
  await eventually(() => held.length === 2)
  for (const socket of server.sockets) socket.write(ok(3))
  t.equal((await second.ended).body, 'ok')
})

t.test('what would break the framing is never sent', async (t) => {
  const server = await http2Peer(t, 'tcp', (stream) => { stream.respond({ ':status': 200 }, { endStream: true }) })
  const transport = over(t, server)
  for (const request of [
    { headers: ['Host', 'h', 'X', 'a\r\nEvil: 1'] }, { headers: ['X\r\nY', 'a'] }, { headers: ['', 'a'] }, { headers: ['X', 'a\0'] }, { headers: [':path', '/x'] },
    { headers: ['X', '\u0100'] }, { path: '/ HTTP/1.1\r\nX: y' }, { path: '/a b' }, { path: '' }, { path: '/\u00e4' }, { method: 'GET /' }, { method: '' },
    { headers: ['Content-Length', '1'] }, { headers: ['transfer-encoding', 'chunked'] }, { headers: ['Connection', 'close'] }, { headers: ['HTTP2-Settings', 'a'] },
    { headers: ['Keep-Alive', 'a'] }, { headers: ['Proxy-Connection', 'a'] }, { headers: ['Upgrade', 'h2c'] }
  ]) t.equal((await send(transport, request).ended).failure, 'malformed connect', JSON.stringify(request))
  const longer = await send(transport, { method: 'POST', body: { length: 3 } }, { onSent: ({ attempt }) => { attempt.write(Buffer.from('four')) } }).ended
  t.equal(longer.failure, 'request-too-long request')
  const shorter = await send(transport, { method: 'POST', body: { length: 5 } }, {
    onSent: ({ attempt }) => {
      attempt.write(Buffer.from('four'))
      attempt.end()
    }
  }).ended
  t.match(shorter.failure, /^truncated (?:request|body)$/)
  t.equal((await send(transport).ended).status, 200, 'the connection goes on')
  t.equal(server.count, 1)
})

t.test('each way of breaking off has its code and phase', async (t) => {
  const head = (stream: number): Buffer => headers(stream, [':status', '200'])
  const acts: [failure: string, act: (socket: { write (bytes: Buffer): unknown; destroy (): unknown; end (): unknown }, stream: number) => unknown][] = [
    ['refused connect', (socket, stream) => socket.write(reset(stream, ERROR.refused))],
    ['refused connect', (socket) => socket.write(goaway(0, ERROR.none))],
    ['refused connect', (socket) => socket.write(goaway(0, ERROR.internal))],
    ['closed request', (socket, stream) => socket.write(goaway(stream, ERROR.internal))],
    ['reset request', (socket, stream) => socket.write(reset(stream, ERROR.internal))],
    ['reset request', (socket, stream) => socket.write(reset(stream, ERROR.cancel))],
    ['reset request', (socket, stream) => socket.write(reset(stream, ERROR.none))],
    ['malformed request', (socket, stream) => socket.write(headers(stream, [':status', '200', 'Upper', 'case']))],
    ['malformed request', (socket, stream) => socket.write(headers(stream, [':status', '200', 'connection', 'close']))],
    ['malformed request', (socket, stream) => socket.write(headers(stream, [':status', '101']))],
    ['malformed head', (socket, stream) => socket.write(Buffer.concat(Array.from({ length: 200 }, () => headers(stream, [':status', '103']))))],
    ['closed request', (socket) => socket.end()],
    // A reset without an error code looks like the end in Node.
    ['truncated body', (socket, stream) => socket.write(Buffer.concat([head(stream), data(stream, 'part'), reset(stream, ERROR.none)]))],
    ['truncated body', (socket, stream) => socket.write(Buffer.concat([head(stream), data(stream, 'part'), reset(stream, ERROR.cancel)]))],
    ['malformed body', (socket, stream) => socket.write(Buffer.concat([headers(stream, [':status', '200', 'content-length', '9']), data(stream, 'part', FLAG.endStream)]))]
  ]
  for (const [failure, act] of acts) {
    const server = await framePeer(t, (socket, stream) => { act(socket, stream) })
    const transport = over(t, server)
    const got = await send(transport).ended
    fine(t, got)
    t.equal(got.failure, failure, String(act))
  }
  const broken = await framePeer(t, (socket, stream) => { socket.write(Buffer.concat([head(stream), data(stream, 'part')])) })
  const got = await send(over(t, broken), {}, { onData: () => { for (const socket of broken.sockets) socket.resetAndDestroy() } }).ended
  t.equal(got.failure, 'truncated body')
  t.equal(got.body, 'part')
})

t.test('GOAWAY: what was looked at ends well, the rest may go elsewhere, the next goes to a new connection', async (t) => {
  for (const graceful of [true, false]) {
    const streams: number[] = []
    const server = await framePeer(t, (socket, stream, connection) => {
      if (connection > 1 || stream === 1) return socket.write(ok(stream))
      streams.push(stream)
      if (streams.length < 3) return
      // RFC 9113 6.8: first that it will go, then which streams it has looked at.
      if (graceful) socket.write(goaway(0x7fffffff, ERROR.none))
      socket.write(goaway(streams[0]!, ERROR.none))
      socket.write(ok(streams[0]!, 'looked at'))
    })
    const transport = over(t, server)
    await send(transport).ended
    const [first, second, third] = Array.from({ length: 3 }, (_, i) => send(transport, { method: 'POST', body: Buffer.from(`body ${i}`) }))
    t.equal((await first!.ended).body, 'looked at')
    t.equal((await second!.ended).failure, 'refused connect stale')
    t.equal((await third!.ended).failure, 'refused connect stale')
    t.equal((await send(transport).ended).body, 'ok')
    t.equal(server.count, 2)
    await eventually(() => transport.stats.open === 1)
  }
})

t.test('a connection that dies under requests: what may be the keep-alive race is told apart', async (t) => {
  const server = await framePeer(t, (socket, stream, connection) => {
    if (stream === 1 && connection === 1) socket.write(ok(stream))
    else socket.destroy()
  })
  const transport = over(t, server)
  await send(transport).ended
  t.match((await send(transport).ended).failure, /^(?:closed|reset) request stale$/)
  t.match((await send(transport).ended).failure, /^(?:closed|reset) request$/, 'not on a new connection')
})

t.test('abort at every point: no further call, RST_STREAM(CANCEL) to the upstream, the connection goes on', async (t) => {
  const server = await framePeer(t, (socket, stream) => {
    if (stream === 3) socket.write(headers(stream, [':status', '103']))
    if (stream === 5) socket.write(headers(stream, [':status', '200']))
    if (stream === 7) socket.write(Buffer.concat([headers(stream, [':status', '200']), data(stream, 'part')]))
    if (stream >= 9) socket.write(ok(stream))
  })
  const transport = over(t, server)
  const points: ((recorder: Recorder) => boolean)[] = [
    () => server.heard.some(({ type, stream }) => type === TYPE.headers && stream === 1), ({ interim }) => interim.length === 1,
    ({ status }) => status === 200, ({ size }) => size > 0
  ]
  for (const [index, reached] of points.entries()) {
    const recorder = send(transport)
    await eventually(() => reached(recorder))
    recorder.attempt.abort()
    recorder.close()
    recorder.attempt.abort()
    recorder.attempt.resume()
    const cancelled = (number: number): boolean =>
      server.heard.some(({ type, stream, payload }) => type === TYPE.rst && stream === number && payload.equals(uint32(ERROR.cancel)))
    await eventually(() => cancelled(index * 2 + 1))
    fine(t, recorder)
  }
  t.equal((await send(transport).ended).body, 'ok')
  t.equal(server.count, 1)
  const waiting = over(t, server, { http2: { maxConnections: 1 } })
  const early = send(waiting)
  early.attempt.abort()
  early.close()
  await eventually(() => waiting.stats.idle === 1)
  fine(t, early)
})

t.test('an answer before the end of the request body: the rest is not sent', async (t) => {
  const server = await framePeer(t, (socket, stream) => { socket.write(ok(stream, 'early')) })
  const transport = over(t, server)
  const got = await send(transport, { method: 'POST', body: { length: undefined } }, { onSent: ({ attempt }) => { attempt.write(Buffer.from('some')) } }).ended
  fine(t, got)
  t.equal(got.body, 'early')
  await eventually(() => server.heard.some(({ type, stream }) => type === TYPE.rst && stream === 1))
  t.equal((await send(transport).ended).body, 'early')
  t.equal(server.count, 1)
})

t.test('interim responses; Expect', async (t) => {
  const server = await http2Peer(t, 'tcp', () => {})
  const transport = over(t, server)
  const seen: unknown[] = []
  // Node answers an expectation by itself unless somebody listens.
  const frames = await framePeer(t, (socket, stream) => {
    socket.write(Buffer.concat([headers(stream, [':status', '100']), headers(stream, [':status', '103', 'link', '</a>']), ok(stream)]))
  })
  transport.destroy()
  const got = await send(over(t, frames), { method: 'POST', body: { length: 2 }, expectContinue: true }, {
    onInformational: ({ attempt }, status, list) => {
      seen.push(status, list)
      if (status === 100) {
        attempt.write(Buffer.from('ab'))
        attempt.end()
      }
    }
  }).ended
  fine(t, got)
  t.same(seen, [100, [], 103, ['link', '</a>']])
  t.equal(got.body, 'ok')
})

t.test('connections that cannot be had', async (t) => {
  const nobody = createTcpServer()
  await new Promise<void>((resolve) => { nobody.listen(0, '127.0.0.1', resolve) })
  const { port } = nobody.address() as AddressInfo
  await new Promise((resolve) => { nobody.close(resolve) })
  const transport = new Http2Transport(parseTarget(`http://127.0.0.1:${port}`, 'url'), {}, systemClock)
  const all = await Promise.all(Array.from({ length: 3 }, async () => await send(transport).ended))
  t.same(all.map(({ failure }) => failure), ['connect-refused connect', 'connect-refused connect', 'connect-refused connect'])
  t.same(transport.stats, { open: 0, idle: 0, connecting: 0 })

  const silent = await http1Peer(t, 'tcp', () => {})
  t.equal((await send(over(t, silent, { connectTimeout: 50 })).ended).failure, 'connect-timeout connect', 'a server that never sends SETTINGS')
  const text = await http1Peer(t, 'tcp', ({ write }) => { write('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n') })
  t.match((await send(over(t, text, { connectTimeout: 500 })).ended).failure, / connect$/, 'a server that speaks HTTP/1.1')
  const http1 = await http1Peer(t, 'tls', () => {})
  t.equal((await send(over(t, http1)).ended).failure, 'tls connect', 'a TLS server without h2')
  const strange = await http2Peer(t, 'tls', () => {})
  t.equal((await send(over(t, strange, { tls: {} })).ended).failure, 'tls connect', 'a certificate that nobody vouches for')
})

t.test('PING: a silent peer is asked; one that does not answer is dead, one that does is not asked again for five minutes', async (t) => {
  for (const mute of [true, false]) {
    const clock = new FakeClock()
    const server = await framePeer(t, () => {}, {
      // In one write with something that the test can see.
      onPing: (socket, payload) => { if (!mute) socket.write(Buffer.concat([frame(TYPE.ping, FLAG.ack, 0, payload), headers(1, [':status', '103'])])) }
    })
    const transport = over(t, server, { http2: { pingInterval: 5000, pingTimeout: 2000 } }, clock)
    const pings = (): number => server.heard.filter(({ type, flags }) => type === TYPE.ping && flags === 0).length
    const lone = send(transport)
    await eventually(() => server.heard.some(({ type }) => type === TYPE.headers))
    clock.advance(3000)
    t.equal(pings(), 0)
    clock.advance(4000)
    await eventually(() => pings() === 1)
    if (mute) {
      clock.advance(4000)
      t.equal((await lone.ended).failure, 'closed request')
      t.equal(transport.stats.open, 0)
      continue
    }
    await eventually(() => lone.interim.length === 1)
    clock.advance(200_000)
    t.equal(transport.stats.open, 1)
    for (let i = 0; i < 110 && pings() === 1; i++) {
      clock.advance(1000)
      await new Promise(setImmediate)
    }
    await eventually(() => lone.interim.length === 2)
    t.equal(pings(), 2)
    lone.attempt.abort()
  }
})

t.test('a request that is given up without a sign of the upstream makes it prove that it is there', async (t) => {
  const clock = new FakeClock()
  const server = await framePeer(t, (socket, stream) => { socket.write(headers(stream, [':status', '103'])) }, { onPing: () => {} })
  const transport = over(t, server, {}, clock)
  const lone = send(transport)
  await eventually(() => lone.interim.length === 1)
  clock.advance(2000)
  lone.attempt.abort()
  lone.close()
  await eventually(() => server.heard.some(({ type }) => type === TYPE.ping))
  clock.advance(12_000)
  t.equal(transport.stats.open, 0)
})

t.test('idle connections end in time, old ones take no more requests', async (t) => {
  const clock = new FakeClock()
  const server = await framePeer(t, (socket, stream) => { socket.write(ok(stream)) })
  const transport = over(t, server, { keepAliveTimeout: 5000 }, clock)
  await send(transport).ended
  await eventually(() => transport.stats.idle === 1)
  clock.advance(3000)
  await send(transport).ended
  t.equal(server.count, 1)
  await eventually(() => transport.stats.idle === 1)
  clock.advance(7000)
  t.equal(transport.stats.open, 0)
  const limited = over(t, server, { maxRequestsPerConnection: 2 }, clock)
  for (let i = 0; i < 4; i++) await send(limited).ended
  t.equal(server.count, 3)
})

t.test('close lets requests end, destroy breaks them', async (t) => {
  const held: ServerHttp2Stream[] = []
  const server = await http2Peer(t, 'tcp', (stream) => { held.push(stream) })
  const transport = over(t, server)
  const running = send(transport)
  await eventually(() => held.length === 1)
  const closed = transport.close()
  t.equal((await send(transport).ended).failure, 'destroyed connect')
  held[0]!.respond({ ':status': 200 })
  held[0]!.end('late')
  t.equal((await running.ended).body, 'late')
  await closed
  t.same(transport.stats, { open: 0, idle: 0, connecting: 0 })

  const other = over(t, server)
  const cut = send(other)
  await eventually(() => held.length === 2)
  const waiting = over(t, server)
  const early = send(waiting)
  waiting.destroy()
  other.destroy()
  t.equal((await cut.ended).failure, 'destroyed request')
  t.equal((await early.ended).failure, 'destroyed connect')
  await other.close()
})

t.test('WebSocket by extended CONNECT (RFC 8441), where the upstream offers it', async (t) => {
  const seen: unknown[] = []
  const server = await http2Peer(t, 'tcp', (stream, fields) => {
    seen.push(fields[':method'], fields[':protocol'], fields[':path'], fields['sec-websocket-key'], fields['sec-websocket-version'])
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat' })
    stream.pipe(stream)
  }, { settings: { enableConnectProtocol: true } })
  const transport = over(t, server)
  const upgrade = { path: '/ws', upgrade: 'websocket', headers: ['Host', 'h', 'Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version', '13'] }
  const got = await send(transport, upgrade).ended
  t.same(seen, ['CONNECT', 'websocket', '/ws', undefined, '13'])
  t.ok(got.headers.includes('s3pPLMBiTxaQ9kYGzzhZRbK+xOo='), 'the accept key of RFC 6455 1.3')
  got.socket!.write('ping')
  const [echo] = await new Promise<Buffer[]>((resolve) => { got.socket!.once('data', (...args: Buffer[]) => { resolve(args) }) })
  t.equal(echo!.toString(), 'ping')
  got.socket!.end()
  got.socket!.resume()
  await eventually(() => transport.stats.idle === 1)
  const plain = await http2Peer(t, 'tcp', () => {})
  t.equal((await send(over(t, plain), upgrade).ended).failure, 'connect-failed connect')
})

t.test('auto: what the upstream chooses in the handshake', async (t) => {
  const auto = (target: Http2Peer['target']): Transport => {
    const transport = createTransport(undefined, target, { tls: { ca: certificate } }, systemClock, undefined, 'auto')
    t.teardown(() => { transport.destroy() })
    return transport
  }
  const two = await http2Peer(t, 'tls', (stream) => {
    stream.respond({ ':status': 200 })
    stream.end('two')
  }, { allowHTTP1: true } as never)
  const h2 = auto(two.target)
  t.ok(h2 instanceof AutoTransport)
  t.equal((await send(h2).ended).body, 'two')
  const one = await http1Peer(t, 'tls', ({ write }) => { write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none') })
  const h1 = auto(one.target)
  const both = await Promise.all([send(h1).ended, send(h1, { method: 'PUT', body: { length: 0 } }, { onSent: ({ attempt }) => { attempt.end() } }).ended])
  t.same(both.map(({ body, violation }) => body + violation), ['one', 'one'])
  const count = one.count()
  t.equal((await send(h1).ended).body, 'one')
  t.equal(one.count(), count, 'it is not asked again')
  const early = auto(one.target)
  const given = send(early)
  given.attempt.abort()
  given.close()
  const kept = send(early)
  t.equal((await kept.ended).body, 'one')
  fine(t, given)
  t.ok(createTransport(undefined, parseTarget('http://127.0.0.1:1', 'url'), {}, systemClock, undefined, 'auto') instanceof NativeTransport, 'without TLS nobody can be asked')
  await Promise.all([h1.close(), h2.close()])
  t.equal(h1.stats.open + h2.stats.open, 0)
})
