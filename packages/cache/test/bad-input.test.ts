import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import balancer from '@headgate/balancer'
import fc from 'fast-check'
import t from 'tap'
import { app, raw, TestClock } from './helpers.ts'

const value = fc.oneof(
  fc.constantFrom(
    '', '0', '-1', '99999999999999999999', 'NaN', '"', '"a', 'W/"a"', '"a"', '*', ',', ',,*', 'max-age', 'max-age=', 'max-age=-5', 'max-age="5', 'max-age=5,max-age=9', 'no-cache="', 's-maxage=1e9',
    'Thu, 01 Jan 1970 00:00:00 GMT', 'Thu, 99 Foo 2026 99:99:99 GMT', 'bytes 0-3/4', 'bytes 9-3/4', 'bytes */4', 'bytes 0-3/*', 'accept, *', 'constructor, __proto__', '=;=', 'params=(', 'private="x', '\t', '\xff\xfe'
  ),
  fc.string({ unit: fc.integer({ min: 33, max: 126 }).map((code) => String.fromCharCode(code)), maxLength: 20 })
)
const NAMES = [
  'Cache-Control', 'CDN-Cache-Control', 'Expires', 'Date', 'Age', 'ETag', 'Last-Modified', 'Vary', 'Content-Range', 'No-Vary-Search', 'Cache-Tag', 'Surrogate-Key', 'Cache-Groups',
  'Content-Language', 'Link', 'Content-Location', 'Location', 'Cache-Status', 'Set-Cookie', 'Content-Type'
]
const ASKED = ['Cache-Control', 'If-None-Match', 'If-Modified-Since', 'If-Match', 'If-Range', 'Range', 'Accept-Encoding', 'Accept-Language', 'Cookie', 'Authorization', 'Pragma', 'constructor']
const fields = (names: readonly string[]) => fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 6 })
const lines = (list: readonly (readonly [string, string])[]): string => list.map(([name, value]) => `${name}: ${value}\r\n`).join('')

t.test('whatever fields an origin and its clients send, each request has the origin\'s answer or what is stored of it', { timeout: 100_000 }, async (t) => {
  let head = ''
  const upstream = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => { socket.write(`HTTP/1.1 ${head}Content-Length: 4\r\n\r\nbody`, 'latin1') })
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  t.teardown(() => upstream.close())
  const clock = new TestClock()
  const { port } = await app(t, { clock, staleIfError: 60_000, staleWhileRevalidate: 1000, earlyHints: true }, (app) => app.register(balancer, {
    pools: { web: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web', retry: false }]
  }))
  let count = 0
  await fc.assert(fc.asyncProperty(fc.constantFrom('200 OK', '206 Partial Content', '404 Not Found'), fields(NAMES), fc.array(fields(ASKED), { minLength: 1, maxLength: 3 }), async (status, sent, asked) => {
    head = `${status}\r\n${lines(sent)}`
    const url = `/${count++}`
    for (const list of asked) {
      const answer = await raw(port, `GET ${url} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n${lines(list)}\r\n`)
      const code = Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])
      // 400: what Node itself refuses of a client's fields.
      if (![200, 206, 304, 404, 400, 416].includes(code)) throw new Error(`${JSON.stringify([head, list])}: ${answer}`)
      if (code !== 400 && !/^cache-status: (?:.*, )?headgate; (?:hit|fwd=)/im.test(answer)) throw new Error(`${JSON.stringify([head, list])} says not what became of it: ${answer}`)
      const body = answer.slice(answer.indexOf('\r\n\r\n') + 4)
      if ((code === 200 || code === 404) && body !== 'body') throw new Error(`${JSON.stringify([head, list])}: ${answer}`)
      clock.advance(700)
    }
  }), { numRuns: 200 })
  t.equal((await raw(port, `GET /${count} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n`)).endsWith('body'), true)
})

t.test('a file name in UTF-8 arrives as it was sent, from the origin and from what is stored', async (t) => {
  const upstream = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\nContent-Disposition: attachment; filename="é.txt"\r\n\r\nbody') })
  })
  await once(upstream.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => upstream.close())
  for (const hook of [false, true]) {
    const { port } = await app(t, { clock: new TestClock() }, (app) => {
      if (hook) app.addHook('onSend', (_request, _reply, payload, done) => { done(null, payload) })
      return app.register(balancer, { pools: { web: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }, routes: [{ prefix: '/', pool: 'web' }] })
    })
    // From the fourth use on the head is kept as bytes.
    for (let i = 0; i < 6; i++) {
      const text = Buffer.from(await raw(port, 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n', 'body'), 'latin1')
      t.ok(text.includes('filename="é.txt"'), `answer ${i}`)
      t.ok(text.includes(i === 0 ? 'fwd=' : '; hit'))
    }
  }
})
