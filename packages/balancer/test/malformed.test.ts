import t from 'tap'
import { clientErrors } from '../src/index.ts'
import { proxy, raw, rawUpstream, until } from './helpers.ts'

const CRLF = '\r\n'
const get = (...fields: string[]): string => `GET / HTTP/1.1${CRLF}Host: h${CRLF}${fields.map((field) => field + CRLF).join('')}${CRLF}`
const post = (body: string, ...fields: string[]): string => `POST / HTTP/1.1${CRLF}Host: h${CRLF}${fields.map((field) => field + CRLF).join('')}${CRLF}${body}`
const smuggled = `GET /smuggled HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`

/** Requests that no proxy may pass on, by the rule that forbids them. */
const corpus: Record<string, readonly string[]> = {
  'request line (RFC 9112 3)': [
    `GET / HTTP/1.1 ${CRLF}Host: h${CRLF}${CRLF}`,
    ` GET / HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTTP/1.1 x${CRLF}Host: h${CRLF}${CRLF}`,
    `GET /${CRLF}Host: h${CRLF}${CRLF}`,
    `G@T / HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `get / HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTTP/1.${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTTP/1.2${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTTP/1.10${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTTP/3.0${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / http/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET /a b HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET /\x00 HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET /\x7f HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET /\xe9 HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET /a#b HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET a HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET ftp://h/ HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    'GET / HTTP/1.1\rHost: h\r\r'
  ],
  'line ends and white space (RFC 9112 2.2, 5.1, 5.2)': [
    get('X-A : 1'), get('X A: 1'), get(' X-A: 1'), get('X-A: 1', ' folded'), get('X-A: 1', '\tfolded'), get(': empty'), get('noColon'),
    get('X-\x00A: 1'), get('X-A: a\x00b'), get('X-A: a\rb'), get('X-A: \x01'), get('X-A: \x7f'), get('X(A): 1'), get('X-\xe9: 1'),
    'GET / HTTP/1.1\nHost: h\n\n',
    `GET / HTTP/1.1${CRLF}Host: h\n${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: h${CRLF}X-A: 1\nX-B: 2${CRLF}${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: h${CRLF}X-A: 1\rX-B: 2${CRLF}${CRLF}`
  ],
  'Host (RFC 9112 3.2)': [
    get('Host: h'), get('Host: other'), get('host: other'),
    `GET http://other/ HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET http://h:81/ HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET http://h@other/ HTTP/1.1${CRLF}Host: h${CRLF}${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: a b${CRLF}${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: h/x${CRLF}${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: u@h${CRLF}${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: h, other${CRLF}${CRLF}`,
    `GET / HTTP/1.1${CRLF}Host: h?x${CRLF}${CRLF}`
  ],
  'Content-Length (RFC 9112 6.3)': [
    ...['+5', '-5', '5.0', '0x5', '5 5', '5,5', '5;', 'five', '5e0', '', '18446744073709551621', '9223372036854775808', '9999999999999999'].map((length) => post('hello', `Content-Length: ${length}`)),
    post('hello', 'Content-Length: 5', 'Content-Length: 5'),
    post('hello', 'Content-Length: 5', 'Content-Length: 6'),
    post('hello', 'Content-Length: 5', 'content-length: 0')
  ],
  'Transfer-Encoding (RFC 9112 6.1)': [
    post(`0${CRLF}${CRLF}${smuggled}`, 'Content-Length: 5', 'Transfer-Encoding: chunked'),
    post(`0${CRLF}${CRLF}${smuggled}`, 'Transfer-Encoding: chunked', 'Content-Length: 5'),
    ...['identity', 'xchunked', 'chunked, identity', 'chunked, chunked', 'gzip', '"chunked"', 'chunk', 'chunked;q=1', '\x0bchunked'].map(
      (coding) => post(`0${CRLF}${CRLF}${smuggled}`, `Transfer-Encoding: ${coding}`)),
    post(`0${CRLF}${CRLF}`, 'Transfer-Encoding: chunked', 'Transfer-Encoding: identity'),
    post(`0${CRLF}${CRLF}`, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'),
    post(`0${CRLF}${CRLF}`, 'Transfer-Encoding : chunked'),
    `POST / HTTP/1.0${CRLF}Host: h${CRLF}Transfer-Encoding: chunked${CRLF}${CRLF}0${CRLF}${CRLF}`
  ],
  'Upgrade, TRACE, loops': [
    post('hello', 'Connection: Upgrade', 'Upgrade: x', 'Content-Length: 5'),
    `TRACE / HTTP/1.1${CRLF}Host: h${CRLF}Content-Length: 5${CRLF}${CRLF}hello`
  ]
}

/** Broken after the head: the upstream has seen the request by then, but never a complete one. */
const chunks = ['g', '-1', '0x1', '1 ', ' 1', '1;\n', '5\n', '1\r', '', '10000000000000000', 'ffffffffffffffffff'].map((size) => `${size}${CRLF}a${CRLF}0${CRLF}${CRLF}`)
  .concat([`1${CRLF}ab${CRLF}0${CRLF}${CRLF}`, `2${CRLF}a${CRLF}0${CRLF}${CRLF}`, `1${CRLF}a\n0${CRLF}${CRLF}`, `1${CRLF}a${CRLF}0${CRLF}bad trailer${CRLF}${CRLF}`])

t.test('malformed requests are refused, their connection is closed, and nothing of them reaches an upstream', async (t) => {
  const reached: string[] = []
  const to = await rawUpstream(t, (socket, head) => {
    reached.push(head)
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, {
    clientErrorHandler: clientErrors, forceCloseConnections: true
  } as never)
  let count = 0
  for (const [rule, requests] of Object.entries(corpus)) {
    for (const request of requests) {
      count++
      // A second request behind it would show whether the connection goes on.
      const text = await raw(port, request + smuggled)
      const what = `${rule}: ${JSON.stringify(request.slice(0, 90))}`
      t.match(text, /^HTTP\/1\.1 [45]\d\d /, what)
      t.notMatch(text, /\r\n\r\nok/, what)
      t.same(reached.splice(0), [], what)
    }
  }
  t.ok(count >= 60, `${count} requests`)
  t.match(await raw(port, `GET / HTTP/1.1${CRLF}${CRLF}`), /^HTTP\/1\.1 400 /, 'no Host')
  t.same(reached, [])
  t.match(await raw(port, get('Connection: close')), / 200 OK/, 'a good one passes')
})

t.test('a broken chunked body never becomes a complete one', async (t) => {
  const complete: string[] = []
  const to = await rawUpstream(t, (socket) => {
    let text = ''
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1')
      if (text.includes('0\r\n\r\n')) complete.push(text)
    })
  })
  const { port, app } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, { clientErrorHandler: clientErrors } as never)
  for (const chunk of chunks) {
    await raw(port, post(`3${CRLF}abc${CRLF}${chunk}${smuggled}`, 'Transfer-Encoding: chunked'))
    t.same(complete.splice(0), [], JSON.stringify(chunk))
    await until(() => app.balancer.pool('web').inFlight === 0)
  }
})

t.test('slow and oversized heads are answered in the same words', async (t) => {
  const { port } = await proxy(t, { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'web' }] }, undefined, {
    clientErrorHandler: clientErrors, http: { headersTimeout: 50, requestTimeout: 0, connectionsCheckingInterval: 20 }
  } as never)
  t.match(await raw(port, 'GET / HTTP/1.1\r\nHost: h\r\nX-'), /^HTTP\/1\.1 408 [^]*application\/problem\+json[^]*HG_BALANCER_SLOW_REQUEST/)
  t.match(await raw(port, get(`X-A: ${'a'.repeat(20_000)}`)), /^HTTP\/1\.1 431 [^]*HG_BALANCER_HEAD_TOO_LARGE/)
  t.match(await raw(port, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 [^]*Proxy-Status: headgate; error=http_request_error[^]*HG_BALANCER_MALFORMED/)
})
