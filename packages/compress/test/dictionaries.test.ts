import { createHash } from 'node:crypto'
import zlib from 'node:zlib'
import type { FastifyRequest } from 'fastify'
import { chromium } from 'playwright-core'
import t from 'tap'
import { find, skipWithout } from '../../../tools/system.mjs'
import { Dictionaries, type Version } from '../src/dictionaries.ts'
import { type DictionaryEncoding, dictionaryEncodings } from '../src/encodings/dictionary.ts'
import { RecordFields } from '../src/fields.ts'
import { Negotiator } from '../src/negotiate.ts'
import { type Answer, get, listen, text, upstream } from './helpers.ts'

const real = dictionaryEncodings()
const skip = real.length === 0 ? `this Node (${process.version}) can encode with no dictionary` : false
const hashOf = (body: Buffer): string => `:${createHash('sha256').update(body).digest('base64')}:`
/** Two versions that differ here and there. */
const one = Buffer.from(text(200_000))
const two = Buffer.from(text(200_000).replaceAll('user 1', 'person 1').replace('[', '/* second */['))

t.test('what is kept as a version, and for whom', async (t) => {
  let runs = 0
  const fake: DictionaryEncoding = {
    name: 'dcz',
    magic: Buffer.from('magic'),
    encode: (_body, dictionary, done) => {
      runs++
      setImmediate(done, null, dictionary.subarray(0, 3))
    }
  }
  const made = (options: Partial<ConstructorParameters<typeof Dictionaries>[0]> = {}): Dictionaries => new Dictionaries({ match: ['/assets/app-*.js', '/a.b'], ...options }, [fake])
  const request = (headers: Record<string, string> = {}, host = 'a.example', url = '/assets/app-1.js'): FastifyRequest =>
    ({ method: 'GET', raw: { url }, protocol: 'https', host, headers }) as unknown as FastifyRequest
  const fields = (more: Record<string, string> = {}): Record<string, string> => ({ 'cache-control': 'public, max-age=3600', ...more })
  const remember = (dictionaries: Dictionaries, record: Record<string, string>, asked = request(), body = one): Version | undefined => {
    dictionaries.begin(asked)
    return dictionaries.remember(asked, Object.assign(new RecordFields(record), { getHeaders: () => record }) as never, body)
  }
  const available = (dictionaries: Dictionaries, asked: FastifyRequest, record: Record<string, string> = {}): Buffer | undefined => {
    let found: Version | undefined
    dictionaries.begin(asked)
    dictionaries.available(asked, new RecordFields(record), (version) => { found = version })
    return found?.body
  }

  const dictionaries = made()
  for (const [url, pattern] of [
    ['/assets/app-1.js', '/assets/app-*.js'], ['/assets/app-1.js?x', '/assets/app-*.js'], ['/assets/app-1.css', undefined], ['/x/assets/app-1.js', undefined],
    ['/a.b', '/a.b'], ['/axb', undefined]
  ] as const) t.equal(dictionaries.patternOf(request({}, 'x', url)), pattern, url)

  const record = fields()
  const version = remember(dictionaries, record)!
  t.equal(record['use-as-dictionary'], 'match="/assets/app-*.js"')
  t.equal(remember(dictionaries, fields(), request(), Buffer.from(one))!.hash, version.hash, 'the same content is the same version')
  for (const refused of [
    { 'cache-control': 'private, max-age=60' }, { 'cache-control': 'no-store, max-age=60' }, { 'cache-control': 'max-age=0' }, { 'cache-control': 's-maxage=60' },
    { 'cache-control': '' }, { 'set-cookie': 'a=1' }, { vary: 'Cookie' }, { vary: '*' }
  ] as Record<string, string>[]) t.equal(remember(dictionaries, fields(refused)), undefined, JSON.stringify(refused))
  t.equal(remember(dictionaries, fields(), request({ authorization: 'x' })), undefined)
  t.ok(remember(dictionaries, fields({ vary: 'Accept-Encoding, Available-Dictionary' })))
  const theirs = fields({ 'use-as-dictionary': 'match="/x"' })
  remember(dictionaries, theirs)
  t.equal(theirs['use-as-dictionary'], 'match="/x"', 'the upstream\'s own stays')
  t.equal(remember(made({ maxSize: 1000 }), fields()), undefined, 'too long')

  const named = { 'available-dictionary': hashOf(one) }
  t.ok(available(dictionaries, request(named))!.equals(one))
  t.equal(available(dictionaries, request({ 'available-dictionary': hashOf(two) })), undefined, 'unknown')
  t.equal(available(dictionaries, request(named, 'b.example')), undefined, 'of another origin')
  for (const wrong of ['', 'x', hashOf(one).slice(1), `${hashOf(one)};a`, '::', `:${'A'.repeat(43)}:`]) t.equal(available(dictionaries, request({ 'available-dictionary': wrong })), undefined, wrong)

  // RFC 9842 9.3.3: what the page that asks may not read must not show itself by its length.
  const from = 'https://page.example'
  for (const [metadata, record, allowed] of [
    [{ 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'no-cors' }, {}, true],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, {}, false],
    [{ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }, { 'access-control-allow-origin': '*' }, false],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }, {}, true],
    [{ 'sec-fetch-site': 'cross-site' }, {}, true],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', origin: from }, {}, false],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', origin: from }, { 'access-control-allow-origin': '*' }, true],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', origin: from }, { 'access-control-allow-origin': from }, true],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', origin: from }, { 'access-control-allow-origin': 'https://other.example' }, false],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }, { 'access-control-allow-origin': '*' }, false],
    [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'websocket' }, {}, false]
  ] as [Record<string, string>, Record<string, string>, boolean][]) {
    t.equal(available(dictionaries, request({ ...named, ...metadata }), record) !== undefined, allowed, JSON.stringify([metadata, record]))
  }

  const negotiator = new Negotiator(['gzip'], ['gzip'])
  t.equal(dictionaries.choose(negotiator.accept('gzip, dcz')), fake)
  t.equal(dictionaries.choose(negotiator.accept('gzip, dcb')), undefined)
  t.equal(dictionaries.choose(negotiator.accept('gzip, dcz;q=0')), undefined)

  const next = remember(dictionaries, fields(), request(), two)!
  const encode = (): Promise<Buffer> => new Promise((resolve, reject) => {
    dictionaries.encode(next, version, fake, (error, result) => { if (error === null) resolve(result); else reject(error) })
  })
  const [first, second] = await Promise.all([encode(), encode()])
  t.equal(first, second)
  t.equal(await encode(), first)
  t.equal(runs, 1, 'made once')
  t.ok(first.equals(Buffer.concat([Buffer.from('magic'), Buffer.from(version.hash, 'base64'), one.subarray(0, 3)])))

  const few = made({ versions: 2 })
  const bodies = [1, 2, 3].map((seed) => Buffer.from(text(1000, seed)))
  for (const body of bodies) remember(few, fields(), request(), body)
  t.same(bodies.map((body) => available(few, request({ 'available-dictionary': hashOf(body) })) !== undefined), [false, true, true])
  const small = made({ maxBytes: 500_000 })
  for (let seed = 1; seed < 5; seed++) remember(small, fields(), request(), Buffer.from(text(200_000, seed)))
  t.equal(available(small, request({ 'available-dictionary': hashOf(Buffer.from(text(200_000, 1))) })), undefined, 'bytes are bounded')
  t.ok(available(small, request({ 'available-dictionary': hashOf(Buffer.from(text(200_000, 4))) })))
})

/** The plain body of an answer that was made with `dictionary`; checks its header (RFC 9842 section 4). */
function withDictionary (t: { ok (value: unknown, name: string): unknown }, { headers, body }: Answer, dictionary: Buffer): Buffer {
  const magic = { dcb: [0xff, 0x44, 0x43, 0x42], dcz: [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0] }[headers['content-encoding']!]!
  t.ok(body.subarray(0, magic.length).equals(Buffer.from(magic)), 'magic number')
  t.ok(body.subarray(magic.length, magic.length + 32).equals(createHash('sha256').update(dictionary).digest()), 'the dictionary\'s hash')
  const decode = (headers['content-encoding'] === 'dcb' ? zlib.brotliDecompressSync : (zlib as unknown as { zstdDecompressSync: unknown }).zstdDecompressSync) as
    (body: Buffer, options: object) => Buffer
  return decode(body.subarray(magic.length + 32), { dictionary })
}

t.test('the former version of an asset is the dictionary for the next', { skip }, async (t) => {
  const assets: Record<string, Buffer> = { '/app-1.js': one, '/app-2.js': two, '/other.js': two }
  const balancer = (await import('@headgate/balancer')).default
  const to = await upstream(t, (request, response) => {
    const gzip = request.headers['accept-encoding']?.includes('gzip') === true && request.url!.endsWith('2.js')
    response.setHeader('content-type', 'text/javascript').setHeader('cache-control', 'max-age=3600').setHeader('etag', `"${request.url!}"`)
    const body = gzip ? zlib.gzipSync(assets[request.url!]!) : assets[request.url!]!
    if (gzip) response.setHeader('content-encoding', 'gzip')
    response.setHeader('content-length', body.length).end(body)
  })
  const { url } = await listen(t, { dictionaries: { match: ['/app-*.js'] } }, (app) => app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }))
  const all = { 'accept-encoding': 'gzip, br, zstd, dcb, dcz' }
  const first = await get(`${url}/app-1.js`, all)
  t.equal(first.headers['use-as-dictionary'], 'match="/app-*.js"')
  t.equal(first.headers.vary, 'Accept-Encoding, Available-Dictionary')
  for (const { name } of real) {
    const second = await get(`${url}/app-2.js`, { 'accept-encoding': `gzip, ${name}`, 'available-dictionary': hashOf(one) })
    t.equal(second.headers['content-encoding'], name)
    t.equal(second.headers.vary, 'Accept-Encoding, Available-Dictionary')
    t.match(second.headers.etag, /^W\//)
    t.equal(Number(second.headers['content-length']), second.body.length)
    t.ok(withDictionary(t, second, one).equals(two))
    t.ok(second.body.length < first.body.length / 3, `${second.body.length} bytes, ${first.body.length} without`)
  }
  for (const [headers, name] of [
    [{ ...all, 'available-dictionary': hashOf(Buffer.from('unknown')) }, 'a dictionary that is not here'],
    [{ 'accept-encoding': 'gzip, br, zstd', 'available-dictionary': hashOf(one) }, 'no coding for it'],
    [{ ...all, 'available-dictionary': hashOf(one), host: 'other.example' }, 'another origin'],
    [all, 'no dictionary']
  ] as const) t.match((await get(`${url}/app-2.js`, headers)).headers['content-encoding'], /^(?:gzip|br|zstd)$/, name)
  t.equal((await get(`${url}/app-1.js`, { ...all, 'available-dictionary': hashOf(one) })).headers['content-encoding'], first.headers['content-encoding'], 'itself')
  const other = await get(`${url}/other.js`, { ...all, 'available-dictionary': hashOf(one) })
  t.equal(other.headers['use-as-dictionary'], undefined)
  t.equal(other.headers.vary, 'Accept-Encoding')
})

t.test('Chromium takes a script that was made with the one before', { skip: skip || skipWithout('chromium') }, async (t) => {
  const script = (body: Buffer, version: number): string => `window.version = ${version}; window.data = ${JSON.stringify(body.toString())}`
  const { port } = await listen(t, { dictionaries: { match: ['/app-*.js'] } }, (app) => {
    app.get('/', (request, reply) => reply.type('text/html').send(`<!doctype html><script src=/app-${(request.query as { v: string }).v}.js></script>`))
    app.get('/app-:v.js', (request, reply) => {
      const { v } = request.params as { v: string }
      return reply.type('text/javascript').header('cache-control', 'public, max-age=3600').send(script(v === '1' ? one : two, Number(v)))
    })
  })
  const browser = await chromium.launch({
    executablePath: find('chromium')!,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--enable-features=CompressionDictionaryTransportOverHttp1,CompressionDictionaryTransport']
  })
  t.teardown(() => browser.close())
  const tab = await browser.newPage()
  const codings: string[] = []
  tab.on('response', (response) => { if (response.url().includes('app-')) codings.push(response.headers()['content-encoding'] ?? 'none') })
  const url = `http://localhost:${port}`
  await tab.goto(`${url}/?v=1`)
  t.equal(await tab.evaluate('version'), 1)
  // It is written to disk after the page has it.
  for (let i = 0; i < 50 && !codings.at(-1)!.startsWith('dc'); i++) {
    await tab.goto(`${url}/?v=${i + 2}`)
    t.equal(await tab.evaluate('data'), two.toString())
    await tab.waitForTimeout(100)
  }
  t.match(codings.at(-1), /^dc[bz]$/)
  t.comment(codings.join(' '))
})
