import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { ClientHelloReader, MAX_HELLO } from '../src/client-hello.ts'

/** The first bytes that a real client sends. */
async function helloOf (options: ConnectionOptions): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = tlsConnect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, rejectUnauthorized: false, ...options })
  client.on('error', () => {})
  const [socket] = await once(server, 'connection') as [Socket]
  const [bytes] = await once(socket, 'data') as [Buffer]
  client.destroy()
  socket.destroy()
  server.close()
  return bytes
}

function read (...chunks: Buffer[]): ClientHelloReader {
  const reader = new ClientHelloReader()
  for (const chunk of chunks) reader.push(chunk)
  return reader
}

/** The same handshake message in records of at most `size` bytes. */
function inRecords (hello: Buffer, size: number): Buffer {
  const records: Buffer[] = []
  for (let at = 5; at < hello.length; at += size) {
    const part = hello.subarray(at, Math.min(at + size, hello.length))
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part)
  }
  return Buffer.concat(records)
}

t.test('names of real clients', async (t) => {
  const both = await helloOf({ servername: 'DB.Example', ALPNProtocols: ['h2', 'http/1.1'] })
  t.same(read(both).hello, { serverName: 'db.example', alpn: ['h2', 'http/1.1'] })
  t.same(read(await helloOf({ servername: '' })).hello, { serverName: '', alpn: [] })
  t.same(read(await helloOf({ servername: 'old.example', maxVersion: 'TLSv1.2' })).hello, { serverName: 'old.example', alpn: [] })
})

t.test('split over segments and records in any way, it reads the same', async (t) => {
  const hello = await helloOf({ servername: 'a.example', ALPNProtocols: ['postgresql'] })
  fc.assert(fc.property(fc.integer({ min: 1, max: 600 }), fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 }), (size, segments) => {
    const bytes = inRecords(hello, size)
    if (bytes.length >= MAX_HELLO) return
    const reader = new ClientHelloReader()
    let at = 0
    for (let i = 0; at < bytes.length; i++) {
      if (reader.state !== 'more') throw new Error(`${reader.state} at ${at} of ${bytes.length}`)
      reader.push(bytes.subarray(at, at += segments[i % segments.length]!))
    }
    t.same(reader.hello, { serverName: 'a.example', alpn: ['postgresql'] })
  }), { numRuns: 100 })
})

t.test('garbage ends, and never throws', async (t) => {
  const hello = await helloOf({ servername: 'a.example', ALPNProtocols: ['h2'] })
  t.equal(read(Buffer.from('GET / HTTP/1.1')).state, 'not-tls')
  t.equal(read(Buffer.from('SSH-2.0-x')).state, 'not-tls')
  t.equal(read(Buffer.from([22, 2])).state, 'not-tls')
  t.equal(read(Buffer.from([22, 3, 9])).state, 'not-tls')
  t.equal(read(Buffer.from([22, 3, 1, 0, 0])).state, 'malformed', 'an empty record')
  t.equal(read(Buffer.from([22, 3, 1, 0, 1, 2])).state, 'malformed', 'a ServerHello')
  t.equal(read(Buffer.from([22, 3, 1, 255, 255])).state, 'malformed', 'a record that is too long')
  t.equal(read(Buffer.from([22, 3, 1, 0, 4, 1, 0, 255, 255])).state, 'too-long')
  t.equal(read(Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 0])).state, 'malformed', 'an empty message')
  t.equal(read(inRecords(hello, 20).subarray(0, 30)).state, 'more')
  // One that promises more for ever, in tiny records.
  const endless = Buffer.concat(Array.from({ length: 4000 }, (_, i) => Buffer.from([22, 3, 1, 0, 1, i === 0 ? 1 : 0])))
  t.equal(read(endless).state, 'malformed')
  const slow = Buffer.from(endless)
  ;[1, 0, 60, 0].forEach((byte, i) => { slow[5 + 6 * i] = byte })
  t.equal(read(slow).state, 'too-long')
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }), (changes) => {
    const bytes = Buffer.from(hello)
    for (const [at, value] of changes) bytes[at] = value
    const { state, hello: read_ } = read(bytes)
    if ((state === 'done') !== (read_ !== undefined)) throw new Error(state)
    if (read_ !== undefined && !/^[a-z0-9._-]*$/.test(read_.serverName)) throw new Error(read_.serverName)
  }), { numRuns: 3000 })
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400, size: 'max' }), (rest) => {
    read(Buffer.concat([Buffer.from([22, 3, 1, rest.length >> 8, rest.length & 255]), rest]))
  }), { numRuns: 2000 })
})

t.test('names that are none, and things said twice, are refused', async (t) => {
  const hello = await helloOf({ servername: 'aaaa.example' })
  const at = hello.indexOf('aaaa.example')
  for (const name of ['aaaa\0example', 'aaaa/example', '.aaa.example', 'aaa..example']) {
    const bytes = Buffer.from(hello)
    bytes.write(name, at, 'latin1')
    t.equal(read(bytes).state, 'malformed', name)
  }
  const type = Buffer.from(hello)
  type[at - 3] = 1
  t.equal(read(type).state, 'malformed', 'a name of another type')
})
