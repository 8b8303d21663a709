import type { IncomingMessage, ServerResponse } from 'node:http'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { DiskStore } from '../src/index.ts'
import { app, eventually, proxied, TestClock } from './helpers.ts'

const BODY = Array.from({ length: 1000 }, (_, i) => String.fromCharCode(97 + i % 26)).join('')

/** An origin that knows ranges. */
function ranged (fields: Record<string, string>): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    for (const name of Object.keys(fields)) response.setHeader(name, fields[name]!)
    const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '')
    if (match === null || (request.headers['if-range'] !== undefined && request.headers['if-range'] !== fields['etag'])) return response.end(BODY)
    const start = match[1] === '' ? BODY.length - Number(match[2]) : Number(match[1])
    const end = match[1] === '' || match[2] === '' ? BODY.length - 1 : Number(match[2])
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${BODY.length}` }).end(BODY.slice(start, end + 1))
  }
}

t.test('out of a complete response: one range, several, none, and what is to be ignored', async (t) => {
  const fields = { 'cache-control': 'max-age=60', etag: '"a"', 'last-modified': 'Wed, 31 Dec 2025 00:00:00 GMT', date: 'Thu, 01 Jan 2026 00:00:00 GMT' }
  const { app: instance } = await app(t, { clock: new TestClock() }, (app) => {
    app.get('/x', (_request, reply) => reply.headers(fields).type('text/plain').send('0123456789'))
  })
  const get = (range: string, more: Record<string, string> = {}) => instance.inject({ url: '/x', headers: { range, ...more } })
  await instance.inject('/x')
  for (const [range, body, contentRange] of [
    ['bytes=0-1', '01', 'bytes 0-1/10'], ['bytes=8-', '89', 'bytes 8-9/10'], ['bytes=-3', '789', 'bytes 7-9/10'], ['bytes=-100', '0123456789', 'bytes 0-9/10'],
    ['bytes=5-100', '56789', 'bytes 5-9/10'], ['BYTES=2-2', '2', 'bytes 2-2/10']
  ] as const) {
    const response = await get(range)
    t.equal(response.statusCode, 206, range)
    t.equal(response.body, body)
    t.equal(response.headers['content-range'], contentRange)
    t.equal(response.headers['content-length'], String(body.length))
    t.equal(response.headers['etag'], '"a"')
    t.match(response.headers['cache-status'], /hit/)
  }
  const nothing = await get('bytes=10-')
  t.equal(nothing.statusCode, 416)
  t.equal(nothing.headers['content-range'], 'bytes */10')
  const many = `bytes=${Array.from({ length: 30 }, (_, i) => `${i}-${i}`).join()}`
  for (const range of ['bytes=x', 'bytes=5-2', 'lines=0-1', 'bytes=', 'bytes=--1', 'bytes=0-9,0-9,0-9,0-9', many]) t.equal((await get(range)).statusCode, 200, range)
  const several = await get('bytes=0-0, -2')
  t.equal(several.statusCode, 206)
  const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(String(several.headers['content-type']))![1]!
  const part = (at: string, bytes: string): string => `\r\n--${boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes ${at}/10\r\n\r\n${bytes}`
  t.equal(several.body, `${part('0-0', '0')}${part('8-9', '89')}\r\n--${boundary}--\r\n`)
  t.equal(several.headers['content-length'], String(several.body.length))
  t.equal((await get('bytes=0-1', { 'if-range': '"a"' })).statusCode, 206)
  t.equal((await get('bytes=0-1', { 'if-range': 'W/"a"' })).statusCode, 200, 'weak validators do not do')
  t.equal((await get('bytes=0-1', { 'if-range': '"b"' })).statusCode, 200)
  t.equal((await get('bytes=0-1', { 'if-range': 'Wed, 31 Dec 2025 00:00:00 GMT' })).statusCode, 206)
  t.equal((await get('bytes=0-1', { 'if-range': 'Tue, 30 Dec 2025 00:00:00 GMT' })).statusCode, 200)
  t.equal((await get('bytes=0-1', { 'if-none-match': '"a"' })).statusCode, 304)
})

t.test('a stored part answers GET alone, and nobody who wants a range of another version only', async (t) => {
  const fields = { 'cache-control': 'max-age=60', etag: '"a"', 'content-type': 'text/plain' }
  const { app: instance, requests } = await proxied(t, { clock: new TestClock() }, ranged(fields))
  const ask = (method: 'GET' | 'HEAD', range: string, more: Record<string, string> = {}) => instance.inject({ method, url: '/x', headers: { range, ...more } })
  t.equal((await ask('GET', 'bytes=10-19')).statusCode, 206)
  const whole = await ask('GET', 'bytes=12-13', { 'if-range': '"b"' })
  t.equal(whole.statusCode, 200)
  t.equal(whole.body, BODY)
  await instance.cache.purge({ all: true })
  t.equal((await ask('GET', 'bytes=10-19')).statusCode, 206)
  for (const range of ['bytes=10-19', 'bytes=12-13']) {
    const before = requests.length
    await ask('HEAD', range)
    t.equal(requests.length, before + 1, `the origin answers HEAD with ${range}`)
  }
  t.match((await ask('GET', 'bytes=12-13', { 'if-range': '"a"' })).headers['cache-status'], /hit/)
})

t.test('parts are stored, used for the ranges within them, and joined into the whole', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, ranged({ etag: '"a"', 'cache-control': 'max-age=60' }))
  const get = (range: string) => instance.inject({ url: '/x', headers: { range } })
  const miss = await get('bytes=100-199')
  t.equal(miss.statusCode, 206)
  t.equal(miss.body, BODY.slice(100, 200))
  t.equal(requests[0]!.headers.range, 'bytes=100-199')
  for (const [range, start, end] of [['bytes=100-199', 100, 200], ['bytes=120-129', 120, 130]] as const) {
    const hit = await get(range)
    t.match(hit.headers['cache-status'], /hit/)
    t.equal(hit.body, BODY.slice(start, end))
    t.equal(hit.headers['content-range'], `bytes ${start}-${end - 1}/1000`)
  }
  await get('bytes=200-999')
  t.match((await get('bytes=150-250')).headers['cache-status'], /hit/, 'joined with its neighbour')
  t.equal((await get('bytes=150-250')).body, BODY.slice(150, 251))
  await get('bytes=0-99')
  t.equal(requests.length, 3)
  t.equal(instance.cache.stats.entries, 1, 'all parts have become one')
  const whole = await instance.inject('/x')
  t.equal(whole.statusCode, 200)
  t.equal(whole.body, BODY)
  t.equal(whole.headers['content-range'], undefined)
  t.match(whole.headers['cache-status'], /hit/)
})

t.test('the rest of a part is asked for, and given as one response', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, ranged({ etag: '"a"', 'cache-control': 'max-age=60', 'x-own': 'y' }))
  await instance.inject({ url: '/x', headers: { range: 'bytes=0-399' } })
  const whole = await instance.inject('/x')
  t.match({ range: requests[1]!.headers.range, 'if-range': requests[1]!.headers['if-range'] }, { range: 'bytes=400-', 'if-range': '"a"' })
  t.equal(whole.statusCode, 200)
  t.equal(whole.body, BODY)
  t.equal(whole.headers['content-length'], '1000')
  t.equal(whole.headers['content-range'], undefined)
  t.match((await instance.inject('/x')).headers['cache-status'], /hit/)
  t.equal(requests.length, 2)
})

t.test('parts of different representations are never joined', async (t) => {
  const fields: Record<string, string> = { etag: '"a"', 'cache-control': 'max-age=60' }
  const { app: instance, requests } = await proxied(t, {}, (request, response) => { ranged(fields)(request, response) })
  await instance.inject({ url: '/x', headers: { range: 'bytes=0-399' } })
  fields['etag'] = '"b"'
  await instance.inject({ url: '/x', headers: { range: 'bytes=400-999' } })
  const whole = await instance.inject('/x')
  t.equal(whole.body, BODY)
  t.equal(whole.headers['etag'], '"b"')
  t.equal(requests.at(-1)!.headers.range, undefined, 'what is left is no start of anything')
  for (const weak of ['W/"c"', undefined]) {
    if (weak === undefined) delete fields['etag']
    else fields['etag'] = weak
    for (const range of ['bytes=0-399', 'bytes=400-999']) await instance.inject({ url: `/${String(weak)}`, headers: { range } })
    t.match((await instance.inject(`/${String(weak)}`)).headers['cache-status'], /fwd=partial/)
  }
})

t.test('a 206 that lies, and a changed origin, cost another request and nothing else', async (t) => {
  const clock = new TestClock()
  let answer: (request: IncomingMessage, response: ServerResponse) => void = ranged({ etag: '"a"', 'cache-control': 'max-age=60' })
  const { app: instance, requests } = await proxied(t, { clock }, (request, response) => { answer(request, response) })
  await instance.inject({ url: '/x', headers: { range: 'bytes=0-399' } })
  answer = (request, response) => {
    if (request.headers.range === undefined) return ranged({ etag: '"z"', 'cache-control': 'max-age=60' })(request, response)
    response.writeHead(206, { etag: '"a"', 'cache-control': 'max-age=60', 'content-range': 'bytes 500-999/1000' }).end(BODY.slice(500))
  }
  const whole = await instance.inject('/x')
  t.equal(whole.body, BODY)
  t.equal(whole.headers['etag'], '"z"')
  t.equal(requests.length, 3)
  answer = (_request, response) => { response.writeHead(206, { 'cache-control': 'max-age=60', 'content-range': 'bytes nonsense' }).end('x') }
  await instance.inject({ url: '/y', headers: { range: 'bytes=0-1' } })
  t.match((await instance.inject({ url: '/y', headers: { range: 'bytes=0-1' } })).headers['cache-status'], /fwd=/)
})

t.test('a range of something that is stale: validated as a whole, and answered with the part', async (t) => {
  const clock = new TestClock()
  const { app: instance, requests } = await proxied(t, { clock }, (request, response) => {
    response.setHeader('etag', '"a"').setHeader('cache-control', 'max-age=10')
    if (request.headers['if-none-match'] === '"a"') response.writeHead(304).end()
    else response.end(BODY)
  })
  await instance.inject('/x')
  clock.advance(11_000)
  const part = await instance.inject({ url: '/x', headers: { range: 'bytes=1-3' } })
  t.equal(part.statusCode, 206)
  t.equal(part.body, 'bcd')
  t.equal(requests[1]!.headers.range, undefined)
})

t.test('ranges of something that is stale share one fetch of the whole', async (t) => {
  const clock = new TestClock()
  let version = 1
  const waiting: (() => void)[] = []
  const { app: instance, requests } = await proxied(t, { clock }, (_request, response) => {
    response.setHeader('etag', `"${version}"`).setHeader('cache-control', 'max-age=10').setHeader('content-length', BODY.length)
    if (version === 1) response.end(BODY)
    else waiting.push(() => { response.end(BODY.toUpperCase()) })
  })
  await instance.inject('/x')
  clock.advance(11_000)
  version = 2
  const parts = [[0, 9], [500, 509], [990, 999]].map(([start, end]) => instance.inject({ url: '/x', headers: { range: `bytes=${start}-${end}` } }).then((r) => r))
  await eventually(() => waiting.length > 0)
  for (const answer of waiting) answer()
  const got = (await Promise.all(parts)).map(({ body, statusCode }) => [statusCode, body])
  t.same(got, [0, 500, 990].map((start) => [206, BODY.slice(start, start + 10).toUpperCase()]))
  t.equal(requests.length, 2)
})

t.test('a stale response is fetched whole in the background, whatever part its client had asked for', async (t) => {
  const clock = new TestClock()
  const { app: instance, requests } = await proxied(t, { clock, staleWhileRevalidate: 60_000 }, ranged({ 'cache-control': 'max-age=10' }))
  await instance.inject('/x')
  clock.advance(11_000)
  const stale = await instance.inject({ url: '/x', headers: { range: 'bytes=1-3' } })
  t.equal(stale.body, 'bcd')
  await eventually(() => instance.cache.stats.stored === 2)
  t.equal(requests[1]!.headers.range, undefined)
  t.match((await instance.inject('/x')).headers['cache-status'], /hit; ttl=10/)
})

t.test('several ranges of a body that is on the disk alone', async (t) => {
  const path = mkdtempSync(join(tmpdir(), 'headgate-ranges-'))
  t.teardown(() => { rmSync(path, { recursive: true, force: true }) })
  const body = Buffer.from(BODY.repeat(300))
  const { app: instance } = await app(t, { store: new DiskStore({ path }) }, (app) => {
    app.get('/x', (_request, reply) => reply.headers({ 'cache-control': 'max-age=60' }).type('text/plain').send(body))
  })
  await instance.inject('/x')
  await eventually(() => instance.cache.stats.stored === 1)
  const get = (range: string) => instance.inject({ url: '/x', headers: { range } })
  // Few bytes come at once, many as a stream.
  for (const ranges of [[[0, 9], [299_990, 299_999]], [[5, 200_004], [100, 150]]] as const) {
    const several = await get(`bytes=${ranges.map(([start, end]) => `${start}-${end}`).join()}`)
    t.equal(several.statusCode, 206)
    t.match(several.headers['cache-status'], /; hit/)
    const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(String(several.headers['content-type']))![1]!
    const parts = ranges.map(([start, end]) => {
      return `\r\n--${boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes ${start}-${end}/300000\r\n\r\n${body.subarray(start, end + 1).toString()}`
    })
    t.ok(several.body === `${parts.join('')}\r\n--${boundary}--\r\n`)
    t.equal(several.headers['content-length'], String(several.body.length))
  }
  for (const name of readdirSync(path)) if (name.endsWith('.entry')) rmSync(join(path, name))
  const lost = await get('bytes=0-9,20-29')
  t.equal(lost.statusCode, 200)
  t.match(lost.headers['cache-status'], /fwd=uri-miss/, 'what is gone is a miss')
})
