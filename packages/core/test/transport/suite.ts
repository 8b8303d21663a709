import t, { type Test } from 'tap'
import { type Transport, type TransportOptions, systemClock, type Clock, type Target } from '../../src/index.ts'
import { malformed, truncated, valid } from './corpus.ts'
import { type Heard, type Peer, type Wire, certificate, peer } from './peer.ts'
import { type Recorder, send } from './recorder.ts'

/** What is under test, and what it cannot do by its engine's nature. */
export interface Subject {
  readonly name: string
  readonly create: (target: Target, options: TransportOptions, clock: Clock) => Transport
}

const ok = 'HTTP/1.1 200 OK\r\n'
const short = `${ok}Content-Length: 2\r\n\r\nok`
const text = (length: number): string => 'abcdefghijklmnopqrstuvwxyz'.repeat(Math.ceil(length / 26)).slice(0, length)

/** Waits for what must come about, without a guess at how long that takes. */
async function eventually (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

/** The contract of `Transport`, over real sockets. */
export function conformance (subject: Subject, wires: readonly Wire[] = ['tcp', 'tls', 'unix']): void {
  const start = async (
    t: Test, wire: Wire, talk: (heard: Heard) => unknown, options: TransportOptions = {}
  ): Promise<{ transport: Transport; server: Peer }> => {
    const server = await peer(t, wire, talk)
    const transport = subject.create(server.target, { ...(wire === 'tls' ? { tls: { ca: certificate } } : {}), ...options }, systemClock)
    t.teardown(() => { transport.destroy() })
    return { transport, server }
  }
  const fine = (t: Test, recorder: Recorder): void => { t.equal(recorder.violation, '', 'the order of events is kept') }

  for (const wire of wires) {
    t.test(`${subject.name} over ${wire}`, async (t) => {
      t.test('a request goes out byte for byte', async (t) => {
        let head = ''
        const { transport } = await start(t, wire, (heard) => {
          head = heard.head
          heard.write(short)
        })
        const got = await send(transport, { path: '/a%2Fb;x?q=[]|"\'%', headers: ['Host', 'h', 'X-b', 'one', 'x-A', '', 'X-b', '\xe4 \t two'] }).ended
        fine(t, got)
        t.equal(head, 'GET /a%2Fb;x?q=[]|"\'% HTTP/1.1\r\nHost: h\r\nX-b: one\r\nx-A: \r\nX-b: \xe4 \t two\r\nConnection: keep-alive\r\n\r\n')
        t.match(got, { status: 200, reason: 'OK', body: 'ok', length: 2, complete: false, last: true, events: ['onHead', 'onData', 'onComplete'] })
        await send(transport, { method: 'POST' }).ended
        t.match(head, /^POST \/ HTTP\/1\.1\r\n[^]*Content-Length: 0\r\n[^]*$/, 'a method that expects content says that there is none')
        await send(transport, { emptyBody: true }).ended
        t.match(head, /Content-Length: 0\r\n/)
        await send(transport, { method: 'OPTIONS', path: '*' }).ended
        t.match(head, /^OPTIONS \* HTTP\/1\.1\r\n/)
      })

      t.test('bodies: complete, streamed with a length, chunked with trailers', async (t) => {
        let head = ''
        const { transport } = await start(t, wire, async (heard) => {
          head = heard.head
          const body = await heard.until((body) => /END$|(?:^|\r\n)0\r\n([^]*\r\n)?\r\n$/.test(body))
          heard.write(`${ok}Content-Length: ${body.length}\r\n\r\n`)
          heard.write(body)
        })
        for (const size of [3, 1000, 40_000, 300_000]) {
          const body = Buffer.from(text(size - 3) + 'END')
          const got = await send(transport, { method: 'POST', body }).ended
          t.equal(got.size, size, `${size} bytes at once`)
          t.match(head, new RegExp(`Content-Length: ${size}\r\n`))
          t.equal(got.length, size)
        }
        const streamed = await send(transport, { method: 'PUT', body: { length: 9 } }, {
          onSent: ({ attempt }) => {
            attempt.write(Buffer.from('abc'))
            setImmediate(() => {
              attempt.write(Buffer.from('defEND'))
              attempt.end()
            })
          }
        }).ended
        fine(t, streamed)
        t.equal(streamed.body, 'abcdefEND')
        t.match(head, /Content-Length: 9\r\n/)
        t.notMatch(head, /Transfer-Encoding/)
        const chunked = await send(transport, { method: 'PUT', body: { length: undefined }, trailerNames: 'X-Sum' }, {
          onSent: ({ attempt }) => {
            attempt.write(Buffer.from('abc'))
            attempt.write(Buffer.alloc(0))
            attempt.write(Buffer.from('0123456789abcdefg'))
            setImmediate(() => { attempt.end(['X-Sum', '1']) })
          }
        }).ended
        t.equal(chunked.body, '3\r\nabc\r\n11\r\n0123456789abcdefg\r\n0\r\nX-Sum: 1\r\n\r\n')
        t.match(head, /Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n/)
        t.notMatch(head, /Content-Length/)
        const empty = await send(transport, { method: 'PUT', body: { length: undefined } }, { onSent: ({ attempt }) => { attempt.end() } }).ended
        t.equal(empty.body, '0\r\n\r\n')
        t.equal(transport.stats.open, 1, 'all of it on one connection')
      })

      t.test('a large body waits for a slow upstream', async (t) => {
        const { transport } = await start(t, wire, async ({ socket, write, until }) => {
          socket.pause()
          await new Promise((resolve) => { setTimeout(resolve, 20) })
          socket.resume()
          await until((body) => body.length === 8_000_000)
          write(short)
        })
        const piece = Buffer.alloc(64_000, 'x')
        let sent = 0
        let waits = 0
        const pump = ({ attempt }: Recorder): void => {
          while (sent < 125) {
            sent++
            if (!attempt.write(piece)) {
              waits++
              return
            }
          }
          attempt.end()
        }
        const got = await send(transport, { method: 'POST', body: { length: 8_000_000 } }, { onSent: pump, onDrain: pump }).ended
        fine(t, got)
        t.equal(got.status, 200)
        t.ok(waits > 0, `held ${waits} times`)
      })

      t.test('a body that does not keep to its length never reaches the next request', async (t) => {
        const { transport, server } = await start(t, wire, () => {})
        const longer = await send(transport, { method: 'POST', body: { length: 3 } }, { onSent: ({ attempt }) => { attempt.write(Buffer.from('four')) } }).ended
        t.equal(longer.failure, 'request-too-long request')
        const shorter = await send(transport, { method: 'POST', body: { length: 5 } }, {
          onSent: ({ attempt }) => {
            attempt.write(Buffer.from('four'))
            attempt.end()
          }
        }).ended
        t.equal(shorter.failure, 'truncated request')
        await eventually(() => server.sockets.size === 0 && transport.stats.open === 0)
      })

      t.test('what would break the framing is never sent', async (t) => {
        const { transport } = await start(t, wire, ({ write }) => { write(short) })
        for (const request of [
          { headers: ['Host', 'h', 'X', 'a\r\nEvil: 1'] }, { headers: ['X\r\nY', 'a'] }, { headers: ['', 'a'] }, { headers: ['X', 'a\0'] }, { headers: ['X:', 'a'] },
          { headers: ['X', '\u0100'] }, { path: '/ HTTP/1.1\r\nX: y' }, { path: '/a b' }, { path: '' }, { path: '/\u00e4' }, { method: 'GET /' }, { method: '' },
          { headers: ['Content-Length', '1'] }, { headers: ['transfer-encoding', 'chunked'] }, { headers: ['Connection', 'close'] }
        ]) {
          const got = await send(transport, request).ended
          t.equal(got.failure, 'malformed connect', JSON.stringify(request))
        }
      })

      t.test('responses with and without a body', async (t) => {
        const { transport } = await start(t, wire, ({ head, write, drip, socket }) => {
          const path = head.split(' ')[1]!
          const answer = valid[Number(path.split('/')[2])]!
          // Those without a length end with the connection.
          const end = (): void => { if (!/^content-length|^transfer-encoding|^HTTP\/1.1 204/im.test(answer)) socket.end() }
          if (path.startsWith('/drip')) return void drip([...Buffer.from(answer, 'latin1')].map((byte) => Buffer.from([byte]))).then(end)
          write(answer)
          end()
        })
        for (const [index, answer] of valid.entries()) {
          if (answer.length > 5000) continue
          const whole = await send(transport, { path: `/whole/${index}` }).ended
          const drip = await send(transport, { path: `/drip/${index}` }).ended
          fine(t, whole)
          fine(t, drip)
          const of = (got: Recorder): unknown => [got.status, got.reason, got.headers, got.body, got.trailers, got.interim, got.length, got.complete]
          t.ok(whole.status >= 200 && whole.error === undefined, `${JSON.stringify(answer.slice(0, 50))} ${whole.failure}`)
          t.same(of(drip), of(whole), 'the same byte by byte')
        }
      })

      t.test('HEAD, 204 and 304 end with their head, and the connection goes on', async (t) => {
        const answers = ['HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'HTTP/1.1 304 N\r\nContent-Length: 9\r\nETag: "x"\r\n\r\n', 'HTTP/1.1 204 N\r\n\r\n']
        const { transport, server } = await start(t, wire, ({ request, write }) => { write(answers[request - 1]!) })
        for (const [index, status] of [200, 200, 304, 204].entries()) {
          const got = await send(transport, { method: index < 2 ? 'HEAD' : 'GET' }).ended
          fine(t, got)
          t.match(got, { status, length: 0, complete: true, body: '', events: ['onHead', 'onComplete'] })
        }
        t.equal(server.count(), 1)
      })

      t.test('interim responses are told one by one; a flood of them is cut', async (t) => {
        let flood = false
        const { transport } = await start(t, wire, ({ write, drip }) => {
          if (flood) void drip(Array.from({ length: 2000 }, () => 'HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n'))
          else write(`HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: </a>\r\nLink: </b>\r\n\r\n${short}`)
        })
        const got = await send(transport).ended
        fine(t, got)
        t.same(got.interim, [[102, []], [103, ['Link', '</a>', 'Link', '</b>']]])
        t.equal(got.status, 200)
        flood = true
        t.equal((await send(transport).ended).failure, 'malformed head')
      })

      t.test(`${malformed.length} malformed responses are refused, also in two packets`, async (t) => {
        const { transport, server } = await start(t, wire, ({ head, write, drip }) => {
          const [, kind, index] = head.split(' ')[1]!.split('/')
          const answer = malformed[Number(index)]!
          if (kind === 'whole') write(answer)
          else void drip([answer.slice(0, 20), answer.slice(20)])
        })
        for (const index of malformed.keys()) {
          for (const kind of ['whole', 'split']) {
            const got = await send(transport, { path: `/${kind}/${index}` }).ended
            t.match(got.failure, /^(malformed|head-too-large) (head|body)$/, JSON.stringify(malformed[index]!.slice(0, 80)))
            fine(t, got)
          }
        }
        await eventually(() => server.sockets.size === 0)
        t.equal(transport.stats.open, 0, 'no such connection is kept')
      })

      t.test('truncated bodies are never complete', async (t) => {
        const { transport } = await start(t, wire, ({ head, write, socket }) => {
          write(truncated[Number(head.split(' ')[1]!.slice(1))]!)
          socket.end()
        })
        for (const [index, answer] of truncated.entries()) {
          const got = await send(transport, { path: `/${index}` }).ended
          fine(t, got)
          t.equal(got.failure, 'truncated body', JSON.stringify(answer))
        }
      })

      t.test('each way of breaking off has its code and phase', async (t) => {
        const reset = (socket: Heard['socket']): void => {
          if (wire === 'tcp') socket.resetAndDestroy()
          else socket.destroy()
        }
        const acts: Record<string, (heard: Heard) => void> = {
          'closed request': ({ socket }) => { socket.end() },
          'reset request': ({ socket }) => { reset(socket) },
          'closed head': ({ socket }) => { socket.end('HTTP/1.1 200 OK\r\nA: ') },
          'truncated body': ({ socket, write }) => {
            // A reset is no end of a body that ends with the connection.
            write(`${ok}X: y\r\n\r\npart`)
            setTimeout(() => { reset(socket) }, 20)
          }
        }
        for (const [failure, act] of Object.entries(acts)) {
          const { transport } = await start(t, wire, act)
          const got = await send(transport).ended
          fine(t, got)
          if (wire !== 'tcp' && failure === 'reset request') t.match(got.failure, /^(reset|closed) request$/)
          // Without a reset the end looks clean: a Unix socket has none, and Node does not tell a TLS end without its alert from one with.
          else if (wire !== 'tcp' && failure === 'truncated body') t.match(got.failure, /^$|^truncated body$/)
          else t.equal(got.failure, failure)
        }
      })

      t.test('connections are used again, but never after bytes that nobody asked for', async (t) => {
        const clean = await start(t, wire, ({ request, write }) => { write(`${ok}Content-Length: 1\r\n\r\n${request}`) })
        for (const expected of ['1', '2', '3']) t.equal((await send(clean.transport).ended).body, expected)
        const poisoned = await start(t, wire, ({ request, write }) => { write(`${ok}Content-Length: 1\r\n\r\n${request}${ok}Content-Length: 4\r\n\r\nevil`) })
        for (let i = 0; i < 3; i++) t.equal((await send(poisoned.transport).ended).body, '1', 'a new connection each time')
        const later = await start(t, wire, ({ request, write }) => {
          write(`${ok}Content-Length: 1\r\n\r\n${request}`)
          setTimeout(() => { write(`${ok}Content-Length: 4\r\n\r\nevil`) }, 5)
        })
        t.equal((await send(later.transport).ended).body, '1')
        await eventually(() => later.transport.stats.open === 0)
        t.equal((await send(later.transport).ended).body, '1')
        const bodiless = await start(t, wire, ({ request, write }) => { write(request === 1 ? 'HTTP/1.1 304 N\r\nContent-Length: 4\r\n\r\nevil' : short) })
        t.equal((await send(bodiless.transport).ended).status, 304)
        t.equal((await send(bodiless.transport).ended).status, 304, 'what follows a 304 is no answer')
      })

      t.test('a connection that must close is not used again', async (t) => {
        for (const answer of [`${ok}Connection: close\r\nContent-Length: 1\r\n\r\n1`, `${ok}Connection: x, Close\r\nContent-Length: 1\r\n\r\n1`, 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1']) {
          const { transport, server } = await start(t, wire, ({ write }) => { write(answer) })
          t.equal((await send(transport).ended).body, '1')
          t.equal((await send(transport).ended).body, '1')
          t.equal(server.count(), 2, JSON.stringify(answer))
        }
        const one = await start(t, wire, ({ write }) => { write('HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n1') })
        for (let i = 0; i < 3; i++) t.equal((await send(one.transport).ended).body, '1')
        t.equal(one.server.count(), 1, 'HTTP/1.0 that asks for it is')
      })

      t.test('an answer before the request body is complete ends the connection with it', async (t) => {
        const { transport, server } = await start(t, wire, ({ write }) => { write('HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno') })
        const got = await send(transport, { method: 'POST', body: { length: 1_000_000 } }, { onSent: ({ attempt }) => { attempt.write(Buffer.from('some')) } }).ended
        fine(t, got)
        t.match(got, { status: 413, body: 'no' })
        await eventually(() => server.sockets.size === 0)
        t.equal((await send(transport).ended).status, 413)
      })

      t.test('the keep-alive race is told apart from a failure', async (t) => {
        const { transport } = await start(t, wire, ({ request, write, socket }) => {
          if (request === 1) write(short)
          else socket.destroy()
        })
        t.equal((await send(transport).ended).status, 200)
        t.match((await send(transport).ended).failure, /^(closed|reset) request stale$/)
        const cut = await start(t, wire, ({ request, write, socket }) => {
          if (request === 1) write(short)
          else socket.end('HTTP/1.1 2')
        })
        await send(cut.transport).ended
        t.equal((await send(cut.transport).ended).failure, 'closed head', 'not with a byte of the answer')
      })

      t.test('an idle connection that the upstream closes is not used again', async (t) => {
        const { transport, server } = await start(t, wire, ({ write }) => { write(short) })
        await send(transport).ended
        for (const socket of server.sockets) socket.end()
        await eventually(() => transport.stats.open === 0)
        t.equal((await send(transport).ended).status, 200)
        t.equal(server.count(), 2)
      })

      t.test('abort at every point: no further call, and the connection is gone', async (t) => {
        const server = await start(t, wire, ({ head, write, drip }) => {
          const path = head.split(' ')[1]!
          if (path === '/nothing') return
          if (path === '/interim') return write('HTTP/1.1 103 E\r\n\r\n')
          if (path === '/head') return write(`${ok}Content-Length: 9\r\n\r\n`)
          void drip([`${ok}Content-Length: 900\r\n\r\n`, text(300), text(300), text(300)])
        })
        const { transport } = server
        const quiet = async (recorder: Recorder): Promise<void> => {
          recorder.attempt.abort()
          recorder.close()
          await eventually(() => transport.stats.open === 0 && transport.stats.connecting === 0 && server.server.sockets.size === 0)
          recorder.attempt.resume()
          recorder.attempt.write(Buffer.from('x'))
          recorder.attempt.end()
          recorder.attempt.abort()
          fine(t, recorder)
        }
        await quiet(send(transport))
        const connecting = send(transport, { path: '/nothing' })
        await new Promise(setImmediate)
        await quiet(connecting)
        const waiting = send(transport, { path: '/nothing' })
        await eventually(() => transport.stats.open === 1)
        await quiet(waiting)
        for (const [path, event] of [['/interim', 'onInformational'], ['/head', 'onHead'], ['/body', 'onHead'], ['/body', 'onData'], ['/body', 'onSent']] as const) {
          let inside!: Recorder
          await new Promise<void>((resolve) => {
            inside = send(transport, { path, ...(event === 'onSent' ? { method: 'POST', body: { length: undefined } } : {}) }, {
              [event]: (recorder: Recorder) => {
                recorder.attempt.abort()
                recorder.close()
                resolve()
                return true
              }
            })
          })
          await quiet(inside)
          t.equal(inside.events.at(-1), event, `from within ${event}`)
        }
        let held!: Recorder
        await new Promise<void>((resolve) => {
          held = send(transport, { path: '/body' }, {
            onData: () => {
              setImmediate(resolve)
              return false
            }
          })
        })
        await quiet(held)
      })

      t.test('abort from the last event leaves the connection to others', async (t) => {
        const { transport, server } = await start(t, wire, ({ write }) => { write(short) })
        const old = await send(transport, {}, { onComplete: ({ attempt }) => { attempt.abort() } }).ended
        const next = send(transport)
        old.attempt.abort()
        old.attempt.write(Buffer.from('x'))
        old.attempt.end()
        t.equal((await next.ended).status, 200)
        t.equal(server.count(), 1)
      })

      t.test('many at once, each with its own answer', async (t) => {
        const { transport } = await start(t, wire, ({ head, write }) => {
          const path = head.split(' ')[1]!
          setImmediate(() => { write(`${ok}Content-Length: ${path.length}\r\n\r\n${path}`) })
        })
        for (let round = 0; round < 3; round++) {
          const all = await Promise.all(Array.from({ length: 60 }, (_, i) => send(transport, { path: `/${round}/${i}` }).ended))
          for (const [i, got] of all.entries()) if (got.body !== `/${round}/${i}` || got.violation !== '') t.fail(`${i}: ${got.body} ${got.failure} ${got.violation}`)
        }
        t.ok(transport.stats.open <= 60)
      })

      t.test('a new request from within the last event of another', async (t) => {
        const { transport, server } = await start(t, wire, ({ request, write }) => { write(`${ok}Content-Length: 1\r\n\r\n${request}`) })
        const bodies = await new Promise<string[]>((resolve) => {
          const seen: string[] = []
          const next = (): void => {
            send(transport, {}, {
              onComplete: ({ body }) => {
                seen.push(body)
                if (seen.length === 4) resolve(seen)
                else next()
              }
            })
          }
          next()
        })
        t.same(bodies, ['1', '2', '3', '4'])
        t.equal(server.count(), 1)
      })

      t.test('a held piece is never overwritten, whatever comes meanwhile', async (t) => {
        for (const framing of ['length', 'chunked', 'close']) {
          const blocks = Array.from({ length: 12 }, (_, i) => Buffer.alloc(50_000, 97 + i))
          const { transport } = await start(t, wire, async ({ drip, socket }) => {
            const chunk = (block: Buffer): Buffer => framing === 'chunked' ? Buffer.concat([Buffer.from(`${block.length.toString(16)}\r\n`), block, Buffer.from('\r\n')]) : block
            const head = framing === 'length' ? 'Content-Length: 600000\r\n' : framing === 'chunked' ? 'Transfer-Encoding: chunked\r\n' : 'X: y\r\n'
            await drip([`${ok}${head}\r\n`, ...blocks.map(chunk), ...(framing === 'chunked' ? ['0\r\n\r\n'] : [])])
            if (framing === 'close') socket.end()
          })
          const whole = Buffer.concat(blocks)
          let at = 0
          let broken = 0
          const got = await send(transport, {}, {
            onData: ({ attempt }, chunk) => {
              const from = at
              at += chunk.length
              setTimeout(() => {
                if (whole.compare(chunk, 0, chunk.length, from, from + chunk.length) !== 0) broken++
                attempt.resume()
              }, 3)
              return false
            }
          }).ended
          fine(t, got)
          t.equal(got.failure, '', framing)
          t.equal(at, 600_000)
          t.equal(broken, 0, 'each piece as it was until it was let go')
        }
      })

      t.test('many pieces held at once stay as they are, also on connections that were used before', async (t) => {
        const { transport } = await start(t, wire, ({ head, write }) => {
          const mark = head.split(' ')[1]!.slice(1)
          write(`${ok}Content-Length: 4000\r\n\r\n${mark.repeat(4000).slice(0, 4000)}`)
        })
        for (let round = 0; round < 4; round++) {
          let held = 0
          let broken = 0
          const all = Array.from({ length: 90 }, (_, i) => {
            const mark = `${round}-${i}.`
            return send(transport, { path: `/${mark}` }, {
              onData: ({ attempt, size }, chunk) => {
                const expected = mark.repeat(4000).slice(size - chunk.length, size)
                held++
                setTimeout(() => {
                  if (chunk.toString('latin1') !== expected) broken++
                  attempt.resume()
                }, 5 + i % 7)
                return false
              }
            })
          })
          for (const { violation, error } of await Promise.all(all.map(({ ended }) => ended))) if (violation !== '' || error !== undefined) t.fail(violation || String(error))
          t.ok(held >= 90 && broken === 0, `${broken} of ${held} pieces were written over`)
        }
      })

      t.test('a reader that does not read holds the upstream back', async (t) => {
        let written = 0
        const { transport } = await start(t, wire, ({ socket }) => {
          const block = Buffer.alloc(65_536, 'x')
          socket.write(`${ok}Content-Length: ${65_536 * 800}\r\n\r\n`)
          const pump = (): void => {
            while (written < 800) {
              written++
              if (!socket.write(block)) return
            }
          }
          socket.on('drain', pump)
          pump()
        })
        let hold: (() => void) | undefined
        const recorder = send(transport, {}, { onData: ({ pieces, attempt }) => {
          if (pieces !== 1) return true
          hold = () => { attempt.resume() }
          return false
        } })
        await eventually(() => hold !== undefined)
        // Until nothing moves any more: the kernel's buffers are full.
        for (let before = -1; before !== written;) {
          before = written
          await new Promise((resolve) => { setTimeout(resolve, 30) })
        }
        t.ok(written < 400, `${written} of 800 blocks were taken`)
        t.equal(recorder.pieces, 1)
        hold!()
        const got = await recorder.ended
        t.equal(got.size, 65_536 * 800)
      })

      t.test('resume from within onData, twice, and after the end', async (t) => {
        const { transport } = await start(t, wire, ({ drip }) => { void drip([`${ok}Content-Length: 6\r\n\r\n`, 'ab', 'cd', 'ef']) })
        const got = await send(transport, {}, { onData: ({ attempt }) => {
          process.nextTick(() => {
            attempt.resume()
            attempt.resume()
          })
          return false
        } }).ended
        fine(t, got)
        t.match(got, { body: 'abcdef', status: 200 })
        got.attempt.resume()
        t.equal((await send(transport).ended).status, 200)
      })

      t.test('trailers of a response', async (t) => {
        const { transport, server } = await start(t, wire, ({ write }) => { write(`${ok}Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n`) })
        for (let i = 0; i < 2; i++) t.match(await send(transport).ended, { body: 'ab', trailers: ['X-Sum', '1', 'X-Sum', '2'], length: -1 })
        t.equal(server.count(), 1)
      })

      t.test('tunnels: what follows the 101 is there, both directions work, also half-closed', async (t) => {
        const { transport } = await start(t, wire, ({ head, write, socket }) => {
          if (!/Connection: Upgrade\r\nUpgrade: echo\r\n/.test(head)) return write(short)
          const path = head.split(' ')[1]!
          if (path === '/no') return write('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno')
          if (path === '/other') return write('HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n')
          write('HTTP/1.1 103 E\r\n\r\nHTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: Echo\r\n\r\nfirst')
          socket.on('data', (chunk: Buffer) => { write(`<${chunk.toString()}>`) })
          socket.on('end', () => {
            write('bye')
            socket.end()
          })
        })
        const got = await send(transport, { upgrade: 'echo' }).ended
        fine(t, got)
        t.same(got.events, ['onInformational', 'onUpgrade'])
        t.same(got.headers, ['Connection', 'Upgrade', 'Upgrade', 'Echo'])
        let heard = got.upgradeHead
        const socket = got.socket!
        socket.on('data', (chunk: Buffer) => { heard += chunk.toString() })
        socket.write('hello')
        await eventually(() => heard.includes('<hello>'))
        socket.end()
        await new Promise((resolve) => { socket.once('end', resolve) })
        t.equal(heard, 'first<hello>bye')
        socket.destroy()
        await eventually(() => transport.stats.open === 0)
        t.match(await send(transport, { upgrade: 'echo', path: '/no' }).ended, { status: 403, body: 'no' })
        t.equal((await send(transport, { upgrade: 'echo', path: '/other' }).ended).failure, 'malformed head')
      })

      t.test('close lets exchanges end, destroy breaks them', async (t) => {
        let answer = (): void => {}
        const { transport, server } = await start(t, wire, ({ head, write }) => {
          if (head.startsWith('GET /wait')) answer = () => { write(short) }
          else write(short)
        })
        await send(transport).ended
        const running = send(transport, { path: '/wait' })
        await eventually(() => server.count() > 0 && running.attempt !== undefined && transport.stats.idle === 0)
        await new Promise((resolve) => { setTimeout(resolve, 10) })
        let closed = false
        const closing = transport.close().then(() => { closed = true })
        t.equal((await send(transport).ended).failure, 'destroyed connect')
        t.notOk(closed)
        answer()
        t.equal((await running.ended).status, 200)
        await closing
        t.equal(transport.stats.open, 0)
        const broken = await start(t, wire, () => {})
        const torn = send(broken.transport)
        await eventually(() => broken.server.count() === 1)
        broken.transport.destroy()
        const got = await torn.ended
        fine(t, got)
        t.match(got.failure, /^destroyed (connect|request)$/)
        await eventually(() => broken.server.sockets.size === 0)
      })
    })
  }

  t.test(`${subject.name}: connections that cannot be had`, async (t) => {
    const gone = await peer(t, 'tcp', () => {})
    gone.stop()
    const refused = subject.create(gone.target, {}, systemClock)
    const got = await send(refused).ended
    fine(t, got)
    t.equal(got.failure, 'connect-refused connect')
    t.equal((await send(refused, { method: 'POST', body: { length: 3 } }).ended).failure, 'connect-refused connect')
    const secure = await peer(t, 'tls', ({ write }) => { write(short) })
    const unverified = subject.create(secure.target, {}, systemClock)
    t.equal((await send(unverified).ended).failure, 'tls connect', 'an issuer that nobody knows')
    const plain = await peer(t, 'tcp', () => {})
    const mixed = subject.create({ ...secure.target, port: plain.target.port }, { tls: { ca: certificate }, connectTimeout: 300 }, systemClock)
    t.match((await send(mixed).ended).failure, /^(tls|connect-timeout) connect$/, 'no TLS at the other end')
    const renamed = subject.create({ ...secure.target, hostname: '127.0.0.1', serverName: '' }, { tls: { ca: certificate } }, systemClock)
    t.equal((await send(renamed).ended).failure, 'tls connect', 'a name that the certificate does not have')
    const lost = subject.create({ ...plain.target, hostname: 'nowhere.invalid' }, { connectTimeout: 20_000 }, systemClock)
    t.equal((await send(lost).ended).failure, 'dns connect')
    const missing = subject.create({ ...plain.target, protocol: 'unix:', socketPath: '/nonexistent/x.sock' }, {}, systemClock)
    t.equal((await send(missing).ended).failure, 'connect-refused connect')
    for (const transport of [refused, unverified, mixed, renamed, lost, missing]) {
      t.same({ ...transport.stats }, { open: 0, idle: 0, connecting: 0 })
      await transport.close()
    }
  })
}
