import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { digest, proxy, until, upstream } from './helpers.ts'

/** Writes pieces with pauses between them, then ends its half. */
async function send (socket: Socket, pieces: readonly Buffer[], pauses: readonly boolean[]): Promise<void> {
  for (const [i, piece] of pieces.entries()) {
    if (socket.destroyed) return
    if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), once(socket, 'close')])
    if (pauses[i % pauses.length]!) await new Promise((resolve) => setImmediate(resolve))
  }
  socket.end()
}

async function collect (socket: Socket): Promise<Buffer> {
  // Not `for await`, which destroys a socket at its end, the half that still writes included.
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  await Promise.race([once(socket, 'end'), once(socket, 'close')])
  return Buffer.concat(chunks)
}

const small = { weight: 5, arbitrary: fc.integer({ min: 1, max: 300 }) }
const size = fc.oneof(small, fc.integer({ min: 4000, max: 4200 }), fc.integer({ min: 60_000, max: 200_000 }))
const sizes = fc.array(size, { maxLength: 25 })
const pauses = fc.array(fc.boolean(), { minLength: 1, maxLength: 5 })

t.test('both ways at once, in any pieces, every byte arrives and each half ends by itself', async (t) => {
  let plan: { pieces: Buffer[]; pauses: boolean[]; after: boolean; got: Promise<Buffer> } | undefined
  const server = await upstream(t, (socket) => {
    const current = plan!
    const got = collect(socket)
    const answer = async (): Promise<Buffer> => {
      if (current.after) await got
      await send(socket, current.pieces, current.pauses)
      return got
    }
    current.got = answer()
  })
  const { port, stream } = await proxy(t, {
    listeners: [
      { name: 'plain', listen: '127.0.0.1:0', pool: [server.url] },
      { name: 'small buffers', listen: '127.0.0.1:0', pool: { upstreams: [server.url] }, readBufferSize: 8192, replayLimit: 0 }
    ]
  })
  let total = 0
  await fc.assert(fc.asyncProperty(sizes, sizes, pauses, pauses, fc.boolean(), fc.constantFrom('plain', 'small buffers'), async (up, down, upPauses, downPauses, after, name) => {
    const upPieces = up.map((size) => randomBytes(size))
    plan = { pieces: down.map((size) => randomBytes(size)), pauses: downPauses, after, got: Promise.resolve(Buffer.alloc(0)) }
    const socket = connect({ port: port(name), host: '127.0.0.1', allowHalfOpen: true })
    const back = collect(socket)
    await send(socket, upPieces, upPauses)
    const received = await back
    if (digest(received) !== digest(Buffer.concat(plan.pieces))) throw new Error(`down: ${received.length} of ${Buffer.concat(plan.pieces).length} bytes`)
    const got = await plan.got
    if (digest(got) !== digest(Buffer.concat(upPieces))) throw new Error(`up: ${got.length} of ${Buffer.concat(upPieces).length} bytes`)
    total += got.length + received.length
  }), { numRuns: 60 })
  await until(() => [...stream.listeners.values()].every(({ counters }) => counters.active === 0))
  t.equal([...stream.listeners.values()].reduce((sum, { counters }) => sum + counters.sent + counters.received, 0), total, 'and every byte is counted once')
})

t.test('memory is bounded: one who does not read holds the other up', async (t) => {
  let written = 0
  const server = await upstream(t, (socket) => {
    const chunk = Buffer.alloc(65_536)
    const more = (): void => {
      while (written < 64 * 1024 * 1024) {
        written += chunk.length
        if (!socket.write(chunk)) return
      }
      socket.end()
    }
    socket.on('drain', more)
    more()
  })
  const { port } = await proxy(t, { listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [server.url] }] })
  const socket = connect({ port: port('x'), host: '127.0.0.1' })
  socket.pause()
  // Standing still is seen by nothing more being written over many turns.
  let before = -1
  let still = 0
  while (still < 20) {
    still = written === before ? still + 1 : 0
    before = written
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  t.ok(written < 40 * 1024 * 1024, `${written} bytes are in the system's buffers and ours`)
  let got = 0
  socket.on('data', (chunk: Buffer) => { got += chunk.length })
  socket.resume()
  await once(socket, 'close')
  t.equal(got, 64 * 1024 * 1024)
})

t.test('small messages for one who does not read: held as well, and none is lost when it does', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hg-stream-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const piece = Buffer.alloc(1000, 'p')
  // More than a Unix socket's buffers hold; less than a read's worth at a time, so that no write reaches the high-water mark.
  const pieces = 2000
  let written = 0
  const server = createServer((socket) => {
    socket.on('error', () => {})
    const more = (): void => {
      if (written++ === pieces) return void socket.end()
      if (socket.write(piece)) setImmediate(more)
      else socket.once('drain', more)
    }
    more()
  })
  server.listen(join(folder, 'up'))
  await once(server, 'listening')
  t.teardown(() => server.close())
  await proxy(t, { listeners: [{ listen: `unix:${join(folder, 'in')}`, pool: [`unix:${join(folder, 'up')}`] }] })
  const socket = connect(join(folder, 'in'))
  socket.pause()
  for (let before = -1; before !== written;) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  t.ok(written < pieces, `${written} messages are on their way`)
  const all = collect(socket)
  socket.resume()
  t.equal((await all).length, pieces * piece.length)
})

t.test('2,000 connections opened and aborted at random points leave nothing behind', async (t) => {
  const server = await upstream(t, (socket) => {
    socket.write('welcome')
    socket.on('data', (chunk: Buffer) => { socket.write(chunk) })
    socket.on('end', () => { socket.end() })
  })
  const { port, stream } = await proxy(t, { listeners: [{ name: 'x', listen: '127.0.0.1:0', pool: [server.url] }] })
  const number = port('x')
  const points = ['at once', 'connected', 'sent', 'answered', 'half-closed', 'bulk'] as const
  const one = async (i: number): Promise<void> => {
    const point = points[i % points.length]!
    const socket = connect({ port: number, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => {})
    const closed = new Promise((resolve) => { socket.on('close', resolve) })
    if (point !== 'at once') {
      await once(socket, 'connect')
      if (point === 'sent') socket.write('x')
      else if (point === 'answered') await once(socket, 'data')
      else if (point === 'half-closed') socket.end('x')
      else if (point === 'bulk') {
        socket.write(Buffer.alloc(300_000))
        await once(socket, 'data')
      }
    }
    // resetAndDestroy waits for ever on sockets that connect or were half-closed.
    if (Math.floor(i / points.length) % 2 === 0 || point === 'at once' || point === 'half-closed') socket.destroy()
    else socket.resetAndDestroy()
    await closed
  }
  for (let i = 0; i < 2000; i += 100) await Promise.all(Array.from({ length: 100 }, (_, k) => one(i + k)))
  const { counters } = stream.listener('x')
  await until(() => counters.active === 0 && server.sockets.size === 0)
  const [member] = stream.pools.get('x')!.upstreams
  t.equal(member!.load.inFlight, 0)
  t.same(member!.transport.stats, { open: 0, idle: 0, connecting: 0 })
  const open = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  await until(() => open() === 0)
  t.equal(open(), 0, 'no socket is left in the process')
})

t.test('bandwidth: no more than was asked for, over any second', async (t) => {
  const server = await upstream(t, (socket) => { socket.end(Buffer.alloc(400_000)) })
  const { port } = await proxy(t, {
    listeners: [
      { name: 'each', listen: '127.0.0.1:0', pool: [server.url], bandwidth: { download: 400_000 } },
      { name: 'all', listen: '127.0.0.1:0', pool: [server.url], bandwidth: { totalDownload: 800_000 } }
    ]
  })
  for (const [name, clients] of [['each', 1], ['all', 2]] as const) {
    const started = performance.now()
    const bodies = await Promise.all(Array.from({ length: clients }, () => collect(connect(port(name), '127.0.0.1'))))
    t.same(bodies.map(({ length }) => length), Array.from({ length: clients }, () => 400_000))
    // One second's worth, less the burst and what is read at once.
    t.ok(performance.now() - started > 600, name)
  }
})

t.test('bandwidth holds for what clients send as well, theirs alone and together, and where TLS ends here', async (t) => {
  const server = await upstream(t, async (socket) => { socket.end(String((await collect(socket)).length)) })
  const read = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
  const { port } = await proxy(t, {
    listeners: [
      { name: 'each', listen: '127.0.0.1:0', pool: [server.url], bandwidth: { upload: 400_000 } },
      { name: 'all', listen: '127.0.0.1:0', pool: [server.url], bandwidth: { totalUpload: 800_000 } },
      { name: 'tls', listen: '127.0.0.1:0', pool: [server.url], bandwidth: { upload: 400_000 }, tls: { key: read('key.pem'), cert: read('cert.pem') } }
    ]
  })
  for (const [name, clients] of [['each', 1], ['all', 2], ['tls', 1]] as const) {
    const started = performance.now()
    const answers = await Promise.all(Array.from({ length: clients }, async () => {
      const where = { port: port(name), host: '127.0.0.1', allowHalfOpen: true }
      const socket = name === 'tls' ? connectTls({ ...where, rejectUnauthorized: false }) : connect(where)
      const answer = collect(socket)
      socket.end(Buffer.alloc(400_000))
      return String(await answer)
    }))
    t.same(answers, Array.from({ length: clients }, () => '400000'))
    t.ok(performance.now() - started > 600, name)
  }
})
