import { createHash } from 'node:crypto'
import zlib from 'node:zlib'
import Fastify from 'fastify'
import t from 'tap'
import compress, { type CompressOptions, type Encoding, encodings } from '../src/index.ts'
import { decoded, get, listen, text } from './helpers.ts'

t.test('app.compress for those who serve by themselves', async (t) => {
  const { app } = await listen(t, { etag: 'suffix', encodings: ['br', 'gzip'] }, () => {})
  const { compress } = app
  t.same(compress.encodings, ['br', 'gzip'])
  t.equal(compress.negotiate('gzip, br', 'text/html'), 'br')
  t.equal(compress.negotiate('gzip, br', 'text/html', 100), 'identity', 'below the threshold')
  t.equal(compress.negotiate('gzip, br', 'image/png'), 'identity')
  t.equal(compress.negotiate(undefined, 'text/html'), 'identity')
  t.equal(compress.negotiate('identity;q=0', 'text/html'), undefined)
  t.equal(compress.negotiate('gzip, identity;q=0', 'image/png'), 'gzip')
  t.ok(compress.eligible('text/html'))
  t.notOk(compress.eligible('image/png'))
  t.notOk(compress.eligible('text/html', 10))
  const body = Buffer.from(text(20_000))
  const dynamic = await compress.encode(body, 'br')
  const fixed = await compress.encode(body, 'br', { static: true })
  t.ok(fixed.length < dynamic.length)
  t.ok(zlib.brotliDecompressSync(fixed).equals(body))
  t.ok((await compress.decode(fixed, 'br')).equals(body))
  await t.rejects(compress.decode(body, 'gzip'), { code: 'HG_COMPRESS_BROKEN_ENCODING', statusCode: 502 })
  await t.rejects(compress.decode(zlib.gzipSync(Buffer.alloc(20_000_000)), 'gzip'), { code: 'HG_COMPRESS_BOMB' })
  await t.rejects(compress.encode(body, 'deflate'), { code: 'HG_COMPRESS_UNKNOWN_ENCODING', message: /br, gzip/ })
  await t.rejects(compress.decode(body, 'exi'), { code: 'HG_COMPRESS_UNKNOWN_ENCODING' })
  const headers: Record<string, string> = { etag: '"a"', 'content-length': '20000', vary: 'Origin', 'accept-ranges': 'bytes', 'content-digest': 'sha-256=:x:' }
  compress.describe(headers, 'br', fixed)
  t.same(headers, {
    etag: '"a~br"', 'content-length': String(fixed.length), vary: 'Origin, Accept-Encoding', 'accept-ranges': 'none', 'content-encoding': 'br',
    'content-digest': `sha-256=:${createHash('sha256').update(fixed).digest('base64')}:`
  })
  const plain: Record<string, string> = { etag: '"a"' }
  compress.describe(plain, 'identity', body)
  t.same(plain, { etag: '"a"', vary: 'Accept-Encoding' })
  await app.close()
  await t.rejects(compress.encode(body, 'br', { static: true }), { code: 'HG_COMPRESS_BUSY' })
})

t.test('a coding of one\'s own', async (t) => {
  const gzip = encodings.get('gzip')!
  const own: Encoding = { ...gzip, name: 'x-own' }
  const { url } = await listen(t, { encodings: [own, 'gzip'] }, (app) => { app.get('/', (_request, reply) => reply.type('text/html').send(text(5000))) })
  const answer = await get(url, { 'accept-encoding': 'gzip, x-own' })
  t.equal(answer.headers['content-encoding'], 'x-own')
  t.equal(zlib.gunzipSync(answer.body).toString(), text(5000))
  t.equal((await get(url, { 'accept-encoding': 'gzip' })).headers['content-encoding'], 'gzip')
})

t.test('levels are obeyed', async (t) => {
  const size = async (options: CompressOptions): Promise<number> => {
    const { url } = await listen(t, options, (app) => { app.get('/', (_request, reply) => reply.type('text/html').send(text(50_000))) })
    const answer = await get(url, { 'accept-encoding': 'gzip' })
    t.equal(decoded(answer).toString(), text(50_000))
    return answer.body.length
  }
  t.ok(await size({ levels: { gzip: { dynamic: 1 } } }) > await size({ levels: { gzip: { dynamic: 9 } } }))
})

t.test('wrong options are refused with their path, the value and what is allowed', async (t) => {
  for (const [options, message] of [
    [{ encodings: ['lzma'] }, /options\.encodings\[0\]: must be one of 'zstd', 'br', 'gzip', 'deflate'.*got 'lzma'/],
    [{ encodings: [] }, /options\.encodings.*; got an array of 0/],
    [{ encodings: ['br', 'br'] }, /options\.encodings\[1\]: is there already; got 'br'/],
    [{ encodings: [{ name: 'x' }] }, /options\.encodings\[0\]: .*needs 'levels'/],
    [{ levels: { gzip: { dynamic: 10 } } }, /options\.levels\.gzip\.dynamic: must be 1–9; got 10/],
    [{ levels: { zip: { dynamic: 1 } } }, /options\.levels\.zip: must be one of/],
    [{ levels: { br: { level: 1 } } }, /options\.levels\.br\.level: unknown option; known are dynamic, static/],
    [{ threshold: -1 }, /options\.threshold: must be >= 0; got -1/],
    [{ threshold: '1k' }, /options\.threshold: must be integer; got '1k'/],
    [{ types: ['Text/HTML'] }, /options\.types\[0\]: /],
    [{ etag: 'strong' }, /options\.etag: must be one of 'weak', 'suffix'; got 'strong'/],
    [{ upstream: 'gzip' }, /options\.upstream: must be one of 'normalised', 'identity', 'untouched'/],
    [{ transcode: true }, /options\.transcode: must be false or must be object; got true/],
    [{ transcode: { maxRatio: 0 } }, /options\.transcode\.maxRatio: must be >= 1; got 0/],
    [{ memo: { maxBytes: -1 } }, /options\.memo\.maxBytes/],
    [{ load: { lowerAt: 0.9, skipAt: 0.5 } }, /options\.load\.lowerAt: must not be above skipAt \(0\.5\); got 0\.9/],
    [{ backgroundShare: 2 }, /options\.backgroundShare: must be <= 1; got 2/],
    [{ breach: 'maybe' }, /options\.breach: must be one of 'off', 'pad', 'skip' or must be a function/],
    [{ dictionaries: {} }, /options\.dictionaries: needs 'match'/],
    [{ dictionaries: { match: ['assets/*'] } }, /options\.dictionaries\.match\[0\]/],
    [{ level: 6 }, /options\.level: unknown option; known are encodings, levels/]
  ] as const) {
    const app = Fastify()
    await t.rejects(async () => app.register(compress, options as never), { code: 'HG_COMPRESS_OPTION', message }, JSON.stringify(options))
  }
})
