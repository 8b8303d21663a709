import { Readable } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { builtIn } from '../src/encodings/index.ts'
import { ReusedDeflate, reusing } from '../src/encodings/reused-deflate.ts'
import { decoded, get, listen, text } from './helpers.ts'

const names = [...builtIn.keys()]

t.test('the contract, by every built-in coding', async (t) => {
  t.ok(names.includes('gzip') && names.includes('deflate') && names.includes('br'))
  t.equal(names.includes('zstd'), 'zstd' in process.versions, 'zstd exactly where Node has it')
  for (const encoding of builtIn.values()) {
    const { min, max, dynamic, least } = encoding.levels
    t.ok(min <= least && least <= dynamic && dynamic <= encoding.levels.static && encoding.levels.static <= max, `${encoding.name}: levels in order`)
    const body = Buffer.from(text(50_000))
    const decode = (coded: Buffer, limit = 1e9): Promise<Buffer> => new Promise((resolve, reject) => {
      encoding.decode(coded, limit, (error, result) => { if (error === null) resolve(result); else reject(error) })
    })
    for (const level of [min, dynamic, max]) {
      const sync = encoding.encodeSync(body, level)
      t.ok(sync.length < body.length / 2, `${encoding.name} ${level}`)
      t.ok((await decode(sync)).equals(body))
      const async = await new Promise<Buffer>((resolve, reject) => {
        encoding.encode(body, level, (error, result) => { if (error === null) resolve(result); else reject(error) })
      })
      t.ok((await decode(async)).equals(body))
    }
    const coded = encoding.encodeSync(body, dynamic)
    await t.rejects(decode(coded, 49_999), { code: 'ERR_BUFFER_TOO_LARGE' }, `${encoding.name}: the limit holds`)
    if (encoding.decodes !== false) await t.rejects(decode(coded.subarray(0, -10)), `${encoding.name}: a body that ends early`)
    await t.rejects(decode(Buffer.from('this was never compressed by anybody')), `${encoding.name}: no such body`)
    for (const longLived of [false, true]) {
      const encoder = encoding.encoder(dynamic, longLived)
      const decoder = encoding.decoder(Buffer.alloc(0))
      encoder.pipe(decoder)
      for (const message of ['one', 'two', 'three']) {
        encoder.write(message)
        encoder.flush(encoding.flushKind)
        const piece = await new Promise<Buffer>((resolve) => { decoder.once('data', resolve) })
        t.equal(piece.toString(), message, `${encoding.name}: a flushed piece can be read before the end`)
      }
      encoder.destroy()
      decoder.destroy()
    }
  }
})

t.test('deflate without zlib\'s frame is understood too', async (t) => {
  const { deflateRawSync } = await import('node:zlib')
  const deflate = builtIn.get('deflate')!
  const body = Buffer.from(text(5000))
  const raw = deflateRawSync(body)
  t.ok((await new Promise<Buffer>((resolve, reject) => {
    deflate.decode(raw, 1e6, (error, result) => { if (error === null) resolve(result); else reject(error) })
  })).equals(body))
  const decoder = deflate.decoder(raw)
  decoder.end(raw)
  t.ok(Buffer.concat(await decoder.toArray() as Buffer[]).equals(body))
})

t.test('one state for all bodies: nothing of one comes into the next', async (t) => {
  const { createGzip, gunzipSync, gzipSync } = await import('node:zlib')
  const reused = new ReusedDeflate(createGzip({ level: 6 }))
  t.ok(reused.encode(Buffer.from('x')), 'this Node lets us')
  const compressible = fc.string({ maxLength: 3000 }).map((text) => Buffer.from(text.repeat(1 + text.length % 40)))
  fc.assert(fc.property(fc.array(fc.oneof(compressible, fc.uint8Array({ maxLength: 5000 }).map((bytes) => Buffer.from(bytes))), { maxLength: 8 }), (bodies) => {
    for (const body of bodies) {
      const coded = reused.encode(body)
      if (body.length > 131_072) t.equal(coded, undefined)
      else t.ok(gunzipSync(coded!).equals(body))
    }
  }), { numRuns: 60 })
  const random = (await import('node:crypto')).randomBytes(131_072)
  t.equal(reused.encode(random), undefined, 'it does not fit')
  t.ok(gunzipSync(reused.encode(Buffer.from('after that'))!).equals(Buffer.from('after that')))
  const closed = createGzip({ level: 6 })
  const unusable = new ReusedDeflate(closed)
  closed.destroy()
  t.equal(unusable.encode(Buffer.from('x')), undefined, 'a destroyed stream is not touched')
  t.equal(new ReusedDeflate({} as never).encode(Buffer.from('x')), undefined, 'nor one with other insides')
  const fallback = reusing(() => { throw new Error('another Node') }, gzipSync)
  t.equal(gunzipSync(fallback(Buffer.from('x'), 6)).toString(), 'x')
})

const THRESHOLD = 1024
const sizes = [0, 1, THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 65_535, 65_536, 65_537, 10_000_000]

t.test('what went in comes out: codings × sizes × kinds of payload × chunking', async (t) => {
  const all = Buffer.from(text(10_000_000))
  let pieces: Buffer[] = []
  let announced = false
  const { url } = await listen(t, {}, (app) => {
    const whole = (): Buffer => Buffer.concat(pieces)
    app.get('/buffer', (_request, reply) => reply.type('application/json').send(whole()))
    app.get('/string', (_request, reply) => reply.type('application/json').send(whole().toString()))
    app.get('/stream', (_request, reply) => {
      if (announced) reply.header('content-length', whole().length)
      return reply.type('application/json').send(Readable.from(pieces, { objectMode: false }))
    })
    app.get('/web', (_request, reply) => reply.type('application/json').send(Readable.toWeb(Readable.from(pieces))))
    app.get('/response', () => new Response(whole(), { headers: { 'content-type': 'application/json' } }))
  })
  const check = async (encoding: string, kind: string): Promise<void> => {
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0)
    const answer = await get(`${url}/${kind}`, { 'accept-encoding': encoding })
    const known = kind === 'buffer' || kind === 'string' || (kind === 'stream' && announced)
    const name = `${encoding} ${kind} ${size}`
    t.ok(answer.complete, name)
    t.ok(decoded(answer).equals(all.subarray(0, size)), name)
    t.equal(answer.headers['content-encoding'], known && size < THRESHOLD ? undefined : encoding, name)
    if (answer.headers['content-length'] !== undefined) t.equal(Number(answer.headers['content-length']), answer.body.length, name)
  }
  for (const encoding of names) {
    for (const size of sizes) {
      pieces = [all.subarray(0, size)]
      for (const kind of ['buffer', 'string', 'stream', 'web', 'response']) await check(encoding, kind)
      announced = true
      await check(encoding, 'stream')
      announced = false
    }
  }
  await fc.assert(fc.asyncProperty(
    fc.constantFrom(...names), fc.constantFrom('stream', 'web', 'buffer'), fc.boolean(), fc.array(fc.integer({ min: 0, max: 70_000 }), { maxLength: 12 }),
    async (encoding, kind, known, cuts) => {
      pieces = []
      announced = known
      let at = 0
      for (const length of cuts) pieces.push(all.subarray(at, at += length))
      await check(encoding, kind)
    }
  ), { numRuns: 60 })
})
