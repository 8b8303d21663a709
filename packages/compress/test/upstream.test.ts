import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import zlib from 'node:zlib'
import balancer from '@headgate/balancer'
import t from 'tap'
import { type CompressOptions, type FailureMessage, channels, encodings } from '../src/index.ts'
import { type Answer, decoded, get, listen, open, text, upstream } from './helpers.ts'

type Test = Parameters<typeof upstream>[0]

const body = Buffer.from(text(20_000))
const coders: Record<string, (body: Buffer) => Buffer> = {
  gzip: (body) => zlib.gzipSync(body), deflate: (body) => zlib.deflateSync(body), br: (body) => zlib.brotliCompressSync(body)
}

/** Headgate in front of one upstream. */
async function proxy (t: Test, options: CompressOptions, listener: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const to = await upstream(t, listener)
  return (await listen(t, options, (app) => app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }))).url
}

t.test('forwarded bodies are encoded: small whole ones, long ones, chunked ones, HEAD', async (t) => {
  const long = Buffer.from(text(3_000_000))
  const url = await proxy(t, {}, (request, response) => {
    response.setHeader('content-type', 'application/json').setHeader('vary', 'Origin').setHeader('etag', '"a"')
    if (request.url === '/whole') response.setHeader('content-length', body.length).end(request.method === 'HEAD' ? '' : body)
    else if (request.url === '/long') response.setHeader('content-length', long.length).end(long)
    else {
      response.write(body.subarray(0, 100))
      response.end(body.subarray(100))
    }
  })
  for (const [path, sent] of [['whole', body], ['long', long], ['chunked', body]] as const) {
    const answer = await get(`${url}/${path}`, { 'accept-encoding': 'br' })
    t.equal(answer.headers['content-encoding'], 'br', path)
    t.equal(answer.headers.vary, 'Origin, Accept-Encoding')
    t.equal(answer.headers.etag, 'W/"a"')
    t.ok(decoded(answer).equals(sent))
  }
  const head = await get(`${url}/whole`, { 'accept-encoding': 'br' }, 'HEAD')
  t.equal(head.headers['content-encoding'], 'br')
  t.equal(head.headers['content-length'], undefined)
  t.equal(head.headers.etag, 'W/"a"')
  t.equal((await get(`${url}/whole`, {}, 'HEAD')).headers['content-length'], '20000')
})

t.test('what the upstream is asked', async (t) => {
  const seen: unknown[] = []
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const at = request.rawHeaders.map((name, i) => i % 2 === 0 && name.toLowerCase() === 'accept-encoding' ? request.rawHeaders[i + 1] : undefined)
    seen.push(at.filter((value) => value !== undefined))
    response.end()
  }
  const zstd = encodings.has('zstd') && encodings.get('zstd')!.decodes !== false
  for (const [upstream, client, expected] of [
    ['normalised', 'gzip, deflate, br, zstd, dcb, dcz', [zstd ? 'zstd, br, gzip, deflate' : 'br, gzip, deflate']],
    ['normalised', 'br;q=0.5, gzip', ['br;q=0.5, gzip']],
    ['normalised', 'nonsense', ['identity']],
    ['normalised', 'gzip', ['gzip']],
    ['normalised', undefined, []],
    ['identity', 'gzip, br', ['identity']],
    ['identity', undefined, ['identity']],
    ['untouched', 'gzip, dcb, (', ['gzip, dcb, (']]
  ] as const) {
    const url = await proxy(t, { upstream }, listener)
    await get(url, client === undefined ? {} : { 'accept-encoding': client })
    t.same(seen.at(-1), expected, `${upstream}: ${client}`)
  }
  const url = await proxy(t, { etag: 'suffix' }, (request, response) => {
    seen.push(request.headers['if-none-match'])
    response.setHeader('content-type', 'text/html').setHeader('etag', '"v1"')
    if (request.headers['if-none-match'] === '"v1"') response.writeHead(304).end()
    else response.end(body)
  })
  const first = await get(url, { 'accept-encoding': 'gzip' })
  t.equal(first.headers.etag, '"v1~gzip"')
  const again = await get(url, { 'accept-encoding': 'gzip', 'if-none-match': first.headers.etag! })
  t.equal(seen.at(-1), '"v1"')
  t.equal(again.status, 304)
  t.equal(again.headers.etag, '"v1~gzip"')
})

t.test('an upstream that encodes is not encoded again; what the client does not take is decoded and encoded anew', async (t) => {
  const url = await proxy(t, {}, (request, response) => {
    const [, coding, kind] = request.url!.split('/')
    const coded = coders[coding!]!(body)
    response.setHeader('content-type', 'text/html').setHeader('content-encoding', coding === 'gzip' ? 'x-gzip' : coding!).setHeader('etag', '"a"')
    if (kind === 'whole') response.setHeader('content-length', coded.length).end(coded)
    else {
      response.write(coded.subarray(0, 10))
      setTimeout(() => { response.end(coded.subarray(10)) }, 20)
    }
  })
  for (const coding of Object.keys(coders)) {
    for (const kind of ['whole', 'chunked']) {
      for (const wanted of ['gzip', 'br', 'deflate', undefined, 'identity;q=1, gzip;q=0.1']) {
        const answer = await get(`${url}/${coding}/${kind}`, wanted === undefined ? {} : { 'accept-encoding': wanted })
        const name = `${coding} ${kind} → ${wanted}`
        const kept = wanted === coding || (coding === 'gzip' && wanted?.includes('gzip') === true)
        t.ok(answer.complete, name)
        t.equal(answer.headers.vary, 'Accept-Encoding', name)
        t.equal(answer.headers['content-encoding'], kept ? coding === 'gzip' ? 'x-gzip' : coding : Object.keys(coders).includes(wanted!) ? wanted : undefined, name)
        t.equal(answer.headers.etag, kept ? '"a"' : 'W/"a"', name)
        const plain = answer.headers['content-encoding'] === 'x-gzip' ? zlib.gunzipSync(answer.body) : decoded(answer)
        t.ok(plain.equals(body), name)
      }
    }
  }
  const image = await get(`${url}/gzip/whole`, { 'accept-encoding': 'identity;q=0' })
  t.equal(image.status, 406, 'neither as it is, nor decoded, nor otherwise')
})

t.test('events that an upstream encodes are decoded and encoded one by one', async (t) => {
  let send: (message: string | undefined) => void = () => {}
  const url = await proxy(t, {}, (_request, response) => {
    const gzip = zlib.createGzip()
    gzip.pipe(response.setHeader('content-type', 'text/event-stream').setHeader('content-encoding', 'gzip'))
    send = (message) => {
      if (message === undefined) gzip.end()
      else {
        gzip.write(message)
        gzip.flush(zlib.constants.Z_SYNC_FLUSH)
      }
    }
    send('data: 0\n\n')
  })
  for (const wanted of ['br', 'identity']) {
    const response = await open(url, { 'accept-encoding': wanted })
    const reader = wanted === 'br' ? response.pipe(zlib.createBrotliDecompress()) : response
    let seen = ''
    reader.on('data', (piece: Buffer) => { seen += piece.toString() })
    for (let i = 1; i < 4; i++) {
      send(`data: ${i}\n\n`)
      while (!seen.includes(`data: ${i}\n\n`)) await new Promise((resolve) => { reader.once('data', resolve) })
    }
    send(undefined)
    await new Promise((resolve) => { reader.once('end', resolve) })
    t.equal(seen, 'data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n', wanted)
  }
})

t.test('lies, broken bodies and bombs: 502 before the head, a broken transfer after it; counted, and bounded in memory', async (t) => {
  const failures: FailureMessage[] = []
  const listener = (message: unknown): void => { failures.push(message as FailureMessage) }
  channels.failure.subscribe?.(listener)
  t.teardown(() => { channels.failure.unsubscribe?.(listener) })
  const zeros = Buffer.alloc(50_000_000)
  // A page of random text, then nothing but zeros: the head is out when the bomb goes off.
  const late = zlib.gzipSync(Buffer.concat([Buffer.from(randomBytes(300_000).toString('hex')), zeros]), { level: 9 })
  const bodies: Record<string, Buffer> = {
    lie: Buffer.from('<html>this is no gzip at all</html>'.repeat(10)),
    short: zlib.gzipSync(body).subarray(0, 30),
    cut: zlib.gzipSync(Buffer.from(randomBytes(400_000).toString('hex'))).subarray(0, 200_000),
    bomb: zlib.gzipSync(zeros, { level: 9 }),
    late
  }
  const url = await proxy(t, {}, (request, response) => {
    const [, kind, whole] = request.url!.split('/')
    response.setHeader('content-type', 'text/html').setHeader('content-encoding', 'gzip').setHeader('etag', '"a"').setHeader('cache-control', 'max-age=60')
    if (whole === 'whole') response.setHeader('content-length', bodies[kind!]!.length)
    response.end(bodies[kind!])
  })
  const refused = (answer: Answer, name: string): void => {
    t.equal(answer.status, 502, name)
    for (const field of ['content-encoding', 'etag', 'cache-control']) t.equal(answer.headers[field], undefined, `${name}: ${field}`)
    t.match(JSON.parse(answer.body.toString()), { code: /^HG_COMPRESS_(BROKEN_ENCODING|BOMB)$/ }, name)
  }
  const before = process.memoryUsage().rss
  for (const wanted of ['br', 'identity']) {
    for (const whole of ['whole', 'chunked']) {
      for (const kind of ['lie', 'short']) refused(await get(`${url}/${kind}/${whole}`, { 'accept-encoding': wanted }), `${kind} ${whole} ${wanted}`)
      for (const kind of ['cut', 'late', 'bomb']) {
        const count = failures.length
        const answer = await get(`${url}/${kind}/${whole}`, { 'accept-encoding': wanted })
        const name = `${kind} ${whole} ${wanted}`
        if (answer.status === 502) refused(answer, name)
        else {
          t.notOk(answer.complete, name)
          t.ok(answer.body.length <= Math.max(bodies[kind]!.length * 100, 1_048_576) + 65_536, `${name}: ${answer.body.length} bytes`)
        }
        t.equal(failures.length, count + 1, `${name}: counted once`)
      }
    }
  }
  t.ok(failures.some(({ code, headSent }) => code === 'HG_COMPRESS_BOMB' && headSent), 'a bomb after the head')
  t.ok(failures.some(({ code, headSent }) => code === 'HG_COMPRESS_BROKEN_ENCODING' && !headSent), 'a lie before it')
  t.ok(process.memoryUsage().rss - before < 300_000_000, 'memory')
})

t.test('bounds can be set, and decoding switched off', async (t) => {
  const small = await proxy(t, { transcode: { maxBytes: 10_000 } }, (_request, response) => {
    response.setHeader('content-type', 'text/html').setHeader('content-encoding', 'gzip').end(zlib.gzipSync(body))
  })
  t.equal((await get(small)).status, 502)
  const off = await proxy(t, { transcode: false }, (_request, response) => {
    response.setHeader('content-type', 'text/html').setHeader('content-encoding', 'gzip').end(zlib.gzipSync(body))
  })
  const answer = await get(off)
  t.equal(answer.headers['content-encoding'], 'gzip')
  t.ok(zlib.gunzipSync(answer.body).equals(body))
})

t.test('an upstream that breaks off: the client sees it', async (t) => {
  const url = await proxy(t, {}, (request, response) => {
    response.setHeader('content-type', 'text/html')
    if (request.url === '/gzip') response.setHeader('content-encoding', 'gzip')
    else response.setHeader('content-length', 100_000)
    response.write(request.url === '/gzip' ? zlib.gzipSync(Buffer.from(randomBytes(50_000).toString('hex'))).subarray(0, 40_000) : body)
    setTimeout(() => { response.destroy() }, 50)
  })
  for (const [path, wanted] of [['plain', 'gzip'], ['gzip', 'br'], ['gzip', 'identity']] as const) {
    const answer = await get(`${url}/${path}`, { 'accept-encoding': wanted })
    t.ok(!answer.complete || answer.status >= 500, `${path} → ${wanted}`)
  }
})
