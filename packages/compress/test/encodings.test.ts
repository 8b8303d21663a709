import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import zlib from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { builtIn } from '../src/encodings/index.ts'
import { fitted } from '../src/encodings/fitted.ts'
import { LONGEST, ReusedZstd, reusing } from '../src/encodings/reused-zstd.ts'
import { nodeZstd } from '../src/encodings/zstd.ts'
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

/** Bodies of many lengths that share words and ends. */
const related = fc.array(
  fc.record({ size: fc.oneof(fc.nat(600), fc.nat(5000), fc.nat(70_000)), seed: fc.nat(40), tail: fc.string({ maxLength: 4 }) }), { minLength: 1, maxLength: 8 }
)
const bodyOf = ({ size, seed, tail }: { size: number; seed: number; tail: string }): Buffer => Buffer.from(text(size, 1 + seed) + tail)

t.test('one-shot bodies are the bytes that node:zlib makes of them alone: nothing of one comes into the next', async (t) => {
  const plain: Record<string, (body: Buffer, level: number) => Buffer> = {
    gzip: (body, level) => zlib.gzipSync(body, { level }), deflate: (body, level) => zlib.deflateSync(body, { level })
  }
  if (nodeZstd !== undefined) {
    const { constants: { ZSTD_c_compressionLevel }, zstdCompressSync } = nodeZstd
    plain.zstd = (body, level) => zstdCompressSync(body, { params: { [ZSTD_c_compressionLevel]: level } })
  }
  for (const [name, sync] of Object.entries(plain)) {
    const { encodeSync, levels } = builtIn.get(name)!
    // zlib's format names the window in its head.
    const head = name === 'deflate' ? 2 : 0
    const same = (body: Buffer, level: number): boolean => encodeSync(body, level).subarray(head).equals(sync(body, level).subarray(head))
    const all = fc.property(related, fc.constantFrom(levels.least, levels.dynamic, 9), (bodies, level) => bodies.every((body) => same(bodyOf(body), level)))
    fc.assert(all, { numRuns: 60 })
    for (let size = 0; size < 40_000; size += size < 1100 ? 13 : 1021) t.ok(same(Buffer.from(text(size, 1 + size)), levels.dynamic), `${name}: ${size} bytes`)
    // A state that had the long one before could tell by the length what came after the end of the short one there.
    for (let i = 0; i < 400; i++) {
      encodeSync(Buffer.from(text(1300 + i * 7, i + 999)), levels.dynamic)
      if (!same(Buffer.from(text(1000 + i * 7, 1 + i)), levels.dynamic)) t.fail(`${name}: ${1000 + i * 7} bytes after longer ones`)
    }
  }
})

t.test('DEFLATE takes no more memory than a body needs', async (t) => {
  const { windowBits: least, memLevel } = fitted(6, 1)
  t.same({ least, memLevel }, { least: 9, memLevel: 1 })
  t.same(fitted(6, 250), { level: 6, windowBits: 9, memLevel: 2 })
  t.same(fitted(6, 251), { level: 6, windowBits: 10, memLevel: 2 })
  t.same(fitted(6, 2000), { level: 6, windowBits: 12, memLevel: 5 })
  t.same(fitted(1, 10_000_000), { level: 1, windowBits: 15, memLevel: 8 }, 'zlib\'s defaults')
})

t.test('one zstd state for all bodies', { skip: nodeZstd === undefined && 'this Node has no zstd' }, async (t) => {
  const { constants: { ZSTD_c_compressionLevel: level, ZSTD_e_end: end }, createZstdCompress, zstdCompressSync, zstdDecompressSync } = nodeZstd!
  const decode = (coded: Buffer | undefined): string => zstdDecompressSync(coded!, {}).toString('latin1')
  const reused = new ReusedZstd(createZstdCompress({ params: { [level]: 3 } }), end)
  t.equal(decode(reused.encode(Buffer.from('x'))), 'x', 'this Node lets us')
  const random = randomBytes(LONGEST + 1)
  t.equal(decode(reused.encode(random.subarray(0, LONGEST))), random.toString('latin1', 0, LONGEST), 'there is room for what cannot be made smaller')
  t.equal(reused.encode(random), undefined, 'a longer one')
  t.equal(decode(reused.encode(Buffer.from('after that'))), 'after that')
  const closed = createZstdCompress({})
  const unusable = new ReusedZstd(closed, end)
  closed.destroy()
  t.equal(unusable.encode(Buffer.from('x')), undefined, 'a destroyed stream is not touched')
  t.equal(new ReusedZstd({} as never, end).encode(Buffer.from('x')), undefined, 'nor one with other insides')
  // What is left of a body would come out with the next one.
  const insides = { _handle: { writeSync () {} }, _writeState: [0, 0], destroyed: false }
  const halting = new ReusedZstd(insides as never, end)
  t.equal(halting.encode(Buffer.from('x')), undefined, 'it did not come to the end')
  insides._writeState = [1, 0]
  t.equal(halting.encode(Buffer.from('x')), undefined, 'and is not used again')
  const fallback = reusing(() => { throw new Error('another Node') }, (body) => zstdCompressSync(body, {}), end)
  t.equal(decode(fallback(Buffer.from('x'), 3)), 'x')
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
    // So few bytes grow by their coding: where they are there at once, they are sent as they are.
    if (known || size > 100 || answer.headers['content-encoding'] !== undefined) t.equal(answer.headers['content-encoding'], known && size < THRESHOLD ? undefined : encoding, name)
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
