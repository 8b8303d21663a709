import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { MediaTypes } from '../src/media.ts'
import { get, decoded, listen, text } from './helpers.ts'

const body = text(5000)
const gzip = { 'accept-encoding': 'gzip' }

t.test('what is eligible by its type', async (t) => {
  const media = new MediaTypes(['application/x-own', 'model/*'], ['text/secret'])
  const table: Record<string, string[]> = {
    yes: ['text/html', 'Text/HTML; charset=utf-8', 'text/css', 'application/json', 'application/javascript', 'text/javascript', 'image/svg+xml', 'application/xml',
      'application/wasm', 'font/ttf', 'application/manifest+json', 'application/vnd.api+json', 'application/problem+json', 'text/unheard-of',
      'application/x-own', 'model/any', 'application/grpc-web-not'].slice(0, -1),
    progressive: ['text/event-stream', 'text/event-stream; charset=utf-8', 'application/x-ndjson', 'application/ndjson', 'application/jsonl', 'application/json-seq',
      'application/grpc-web', 'application/grpc-web+proto', 'application/grpc-web-text+proto'],
    no: ['image/png', 'image/jpeg', 'image/webp', 'image/bmp', 'image/x-icon', 'video/mp4', 'audio/mpeg', 'application/zip', 'application/gzip', 'application/x-tar',
      'application/x-7z-compressed', 'application/pdf', 'font/woff2', 'application/octet-stream', 'text/secret', 'application/grpc', 'nonsense', '']
  }
  for (const [kind, types] of Object.entries(table)) for (const type of types) t.equal(media.kind(type), kind, type)
  t.equal(media.kind(undefined), 'no', 'nothing is known')
})

t.test('what is left alone, and whether it varies', async (t) => {
  const { url } = await listen(t, {}, (app) => {
    app.get('/page', (_request, reply) => reply.type('text/html').send(body))
    app.get('/short', (_request, reply) => reply.type('text/html').send(body.slice(0, 1023)))
    app.get('/image', (_request, reply) => reply.type('image/png').send(body))
    app.get('/coded', (_request, reply) => reply.type('text/html').header('content-encoding', 'gzip').send(Buffer.from(body)))
    app.get('/unknown', (_request, reply) => reply.type('text/html').header('content-encoding', 'exi').send(Buffer.from(body)))
    app.get('/no-transform', (_request, reply) => reply.type('text/html').header('cache-control', 'public, no-transform').send(body))
    app.get('/part', (_request, reply) => reply.code(206).type('text/html').header('content-range', 'bytes 0-4999/9999').send(body))
    app.get('/range', (_request, reply) => reply.code(200).type('text/html').header('content-range', 'bytes 0-4999/5000').send(body))
    app.get('/204', (_request, reply) => reply.code(204).send())
    app.get('/304', (_request, reply) => reply.code(304).header('etag', '"a"').send())
    app.get('/off', { config: { compress: false } }, (_request, reply) => reply.type('text/html').send(body))
    app.get('/raw', (_request, reply) => {
      reply.hijack()
      reply.raw.setHeader('content-type', 'text/html').end(body)
    })
    app.get('/none', (_request, reply) => reply.type('text/html').send(Readable.from([])))
    app.get('/random', async (_request, reply) => reply.type('text/html').send((await import('node:crypto')).randomBytes(2000)))
  })
  // [path, request fields, coding, Vary]
  const table: [string, Record<string, string>, string | undefined, string | undefined][] = [
    ['page', gzip, 'gzip', 'Accept-Encoding'],
    ['page', {}, undefined, 'Accept-Encoding'],
    ['page', { 'accept-encoding': 'identity' }, undefined, 'Accept-Encoding'],
    ['page', { 'accept-encoding': 'snappy' }, undefined, 'Accept-Encoding'],
    ['page', { 'accept-encoding': 'gzip;q=broken' }, undefined, 'Accept-Encoding'],
    ['page', { ...gzip, 'cache-control': 'no-transform' }, undefined, undefined],
    ['short', gzip, undefined, undefined],
    ['short', { 'accept-encoding': 'gzip, identity;q=0' }, 'gzip', 'Accept-Encoding'],
    ['image', gzip, undefined, undefined],
    ['image', { 'accept-encoding': 'gzip, *;q=0' }, 'gzip', 'Accept-Encoding'],
    ['coded', gzip, 'gzip', 'Accept-Encoding'],
    ['unknown', gzip, 'exi', undefined],
    ['no-transform', gzip, undefined, undefined],
    ['part', gzip, undefined, undefined],
    ['range', gzip, undefined, undefined],
    ['204', gzip, undefined, undefined],
    ['304', gzip, undefined, undefined],
    ['off', gzip, undefined, undefined],
    ['raw', gzip, undefined, undefined],
    ['random', gzip, undefined, 'Accept-Encoding']
  ]
  for (const [path, headers, coding, vary] of table) {
    const answer = await get(`${url}/${path}`, headers)
    const name = `${path} ${JSON.stringify(headers)}`
    t.equal(answer.headers['content-encoding'], coding, name)
    t.equal(answer.headers.vary, vary, `${name}: vary`)
    t.ok(answer.complete, name)
    if (coding === 'gzip' && path !== 'coded') t.ok(decoded(answer).length >= 1023)
  }
})

t.test('406 only when nothing will do, and not for errors', async (t) => {
  const { url } = await listen(t, {}, (app) => {
    app.get('/', (_request, reply) => reply.type('text/html').header('etag', '"a"').send(body))
    app.get('/stream', (_request, reply) => reply.type('text/html').send(Readable.from([body])))
    app.get('/fails', async () => { throw new Error('x'.repeat(2000)) })
  })
  for (const field of ['identity;q=0', '*;q=0', 'snappy, identity;q=0']) {
    for (const path of ['', 'stream']) {
      const answer = await get(`${url}/${path}`, { 'accept-encoding': field })
      t.equal(answer.status, 406, field)
      t.match(JSON.parse(answer.body.toString()), { code: 'HG_COMPRESS_NOT_ACCEPTABLE', message: /gzip.*identity/ })
      t.equal(answer.headers.vary, 'Accept-Encoding')
      t.equal(answer.headers.etag, undefined, 'the tag was that of another body')
    }
    t.equal((await get(`${url}/fails`, { 'accept-encoding': field })).status, 500)
  }
  t.equal((await get(url, { 'accept-encoding': 'identity;q=0, deflate' })).headers['content-encoding'], 'deflate')
  t.equal((await get(url, { 'accept-encoding': 'identity;q=0, ;;' })).status, 200, 'a malformed field refuses nothing')
})

t.test('Vary is merged', async (t) => {
  let before: string | string[] = ''
  const { url } = await listen(t, {}, (app) => {
    app.get('/', (_request, reply) => reply.type('text/html').header('vary', before).send(body))
  })
  for (const [given, expected] of [
    ['Origin', 'Origin, Accept-Encoding'], ['accept-encoding', 'accept-encoding'], ['Origin, ACCEPT-ENCODING', 'Origin, ACCEPT-ENCODING'], ['*', '*'],
    [['Origin', 'Cookie'], 'Origin, Cookie, Accept-Encoding'], ['X-Accept-Encoding', 'X-Accept-Encoding, Accept-Encoding']
  ] as const) {
    before = given as string
    t.equal((await get(url, gzip)).headers.vary, expected)
  }
})

t.test('length, ranges and digests are those of what is sent', async (t) => {
  const digest = (data: string | Buffer, algorithm = 'sha256'): string => createHash(algorithm).update(data).digest('base64')
  const late = async function * (): AsyncGenerator<string> {
    for (let turn = 0; turn < 3; turn++) await setImmediate()
    yield body
  }
  const { url } = await listen(t, {}, (app) => {
    app.addHook('onSend', async (_request, reply, payload) => {
      reply.header('x-other', 'kept')
      return payload
    })
    app.get('/:kind', (request, reply) => {
      reply.type('text/html').headers({
        'accept-ranges': 'bytes',
        'content-digest': `sha-256=:${digest(body)}:, unixsum=:AAAA:`,
        'repr-digest': `sha-512=:${digest(body, 'sha512')}:`,
        'content-md5': digest(body, 'md5'),
        digest: `sha-256=${digest(body)}`
      })
      return reply.send((request.params as { kind: string }).kind === 'whole' ? body : Readable.from(late()))
    })
  })
  const whole = await get(`${url}/whole`, gzip)
  t.equal(Number(whole.headers['content-length']), whole.body.length)
  t.equal(whole.headers['accept-ranges'], 'none')
  t.equal(whole.headers['content-digest'], `sha-256=:${digest(whole.body)}:`)
  t.equal(whole.headers['repr-digest'], `sha-512=:${digest(whole.body, 'sha512')}:`)
  const stream = await get(`${url}/stream`, gzip)
  t.equal(stream.headers['content-length'], undefined)
  t.equal(stream.headers['content-digest'], undefined)
  for (const { headers } of [whole, stream]) {
    t.equal(headers['content-md5'], undefined)
    t.equal(headers['digest'], undefined)
    t.equal(headers['x-other'], 'kept')
  }
  const plain = await get(`${url}/whole`)
  t.equal(plain.headers['content-digest'], `sha-256=:${digest(body)}:, unixsum=:AAAA:`, 'as it was')
  t.equal(plain.headers['accept-ranges'], 'bytes')
})

t.test('HEAD has the fields of GET', async (t) => {
  const { url } = await listen(t, {}, (app) => {
    app.get('/string', (_request, reply) => reply.type('text/html').header('etag', '"a"').send(body))
    app.get('/stream', (_request, reply) => reply.type('text/html').header('etag', '"a"').send(Readable.from([body])))
    app.head('/own', (_request, reply) => reply.type('text/html').header('etag', '"a"').header('content-length', 5000).send())
    app.get('/own', (_request, reply) => reply.type('text/html').header('etag', '"a"').send(body))
    app.get('/image', (_request, reply) => reply.type('image/png').send(body))
  })
  for (const path of ['string', 'stream', 'own', 'image']) {
    for (const headers of [gzip, {}] as Record<string, string>[]) {
      const [a, b] = [await get(`${url}/${path}`, headers), await get(`${url}/${path}`, headers, 'HEAD')]
      for (const name of ['content-encoding', 'vary', 'etag', 'content-type', 'accept-ranges'] as const) t.equal(b.headers[name], a.headers[name], `${path}: ${name}`)
      if (b.headers['content-length'] !== undefined) t.equal(b.headers['content-length'], a.headers['content-length'], `${path}: length`)
      t.equal(b.body.length, 0)
    }
  }
})

t.test('entity tags: weak', async (t) => {
  const { url } = await listen(t, {}, (app) => {
    app.get('/:tag', (request, reply) => {
      const tag = decodeURIComponent((request.params as { tag: string }).tag)
      reply.type('text/html').header('etag', tag)
      if (request.headers['if-none-match'] !== undefined) return reply.code(304).send()
      return reply.send(body)
    })
  })
  const tagOf = async (tag: string, headers: Record<string, string>): Promise<unknown> => (await get(`${url}/${encodeURIComponent(tag)}`, headers)).headers.etag
  t.equal(await tagOf('"a"', gzip), 'W/"a"')
  t.equal(await tagOf('W/"a"', gzip), 'W/"a"')
  t.equal(await tagOf('"a"', {}), '"a"', 'not encoded')
  t.equal(await tagOf('"a"', { ...gzip, 'if-none-match': 'W/"a"' }), 'W/"a"', 'a 304 names what the client has')
  t.equal(await tagOf('"a"', { ...gzip, 'if-none-match': '"b", "a"' }), '"a"')
})

t.test('entity tags: with a suffix, taken off for those who compare', async (t) => {
  const seen: unknown[] = []
  const { url } = await listen(t, { etag: 'suffix' }, (app) => {
    app.all('/', (request, reply) => {
      seen.push(request.headers['if-none-match'] ?? request.headers['if-match'])
      reply.type('text/html').header('etag', '"a"')
      if (request.headers['if-none-match'] === '"a"') return reply.code(304).send()
      if (request.headers['if-match'] !== undefined && request.headers['if-match'] !== '"a"') return reply.code(412).send()
      return reply.send(body)
    })
  })
  t.equal((await get(url, gzip)).headers.etag, '"a~gzip"')
  t.equal((await get(url, { 'accept-encoding': 'br' })).headers.etag, '"a~br"')
  t.equal((await get(url)).headers.etag, '"a"')
  const fresh = await get(url, { ...gzip, 'if-none-match': '"a~gzip"' })
  t.equal(fresh.status, 304)
  t.equal(fresh.headers.etag, '"a~gzip"')
  t.equal(fresh.headers.vary, 'Accept-Encoding')
  t.equal(seen.at(-1), '"a"')
  t.equal((await get(url, { ...gzip, 'if-match': '"a~gzip"' }, 'PUT')).status, 200, 'a strong comparison holds')
  t.equal((await get(url, { ...gzip, 'if-match': '"b~gzip"' }, 'PUT')).status, 412)
  await get(url, { ...gzip, 'if-none-match': 'W/"x", "b~br", "c-gzip", "d~other", *' })
  t.equal(seen.at(-1), 'W/"x", "b", "c-gzip", "d~other", *', 'only our own suffixes')
})
