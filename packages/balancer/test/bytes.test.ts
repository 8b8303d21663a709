import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, METHODS, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createSecure } from 'node:https'
import { type AddressInfo, connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { proxy, rawUpstream } from './helpers.ts'

type Test = { teardown (action: () => unknown): void }
interface Seen { method: string; url: string; fields: string[]; body: Buffer }

const fixture = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')

/** An upstream that notes what it got; over TCP, TLS or a Unix socket. */
async function origin (t: Test, kind: 'http' | 'https' | 'unix', respond: (response: ServerResponse, seen: Seen) => void): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = []
  const listener = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const one = { method: request.method!, url: request.url!, fields: request.rawHeaders, body: Buffer.concat(chunks) }
    seen.push(one)
    respond(response, one)
  }
  const server = kind === 'https' ? createSecure({ key: fixture('key.pem'), cert: fixture('cert.pem') }, listener) : createServer(listener)
  const dir = mkdtempSync(join(tmpdir(), 'headgate-'))
  const path = join(dir, 's')
  await new Promise<void>((resolve) => { server.listen(kind === 'unix' ? { path } : { port: 0, host: '127.0.0.1' }, resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
    rmSync(dir, { recursive: true, force: true })
  })
  return { seen, url: kind === 'unix' ? `unix:${path}` : `${kind}://localhost:${((server as Server).address() as AddressInfo).port}` }
}

/** Sends bytes; gives the bytes that come back until the end of the connection. */
function exchange (port: number, ...pieces: (string | Buffer)[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => {
      for (const piece of pieces) socket.write(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)
    })
    socket.on('data', (chunk) => { chunks.push(chunk) })
    socket.on('end', () => { resolve(Buffer.concat(chunks)) })
    socket.on('error', reject)
  })
}

/** Splits an answer; the body of a chunked one is put together. */
function answer (bytes: Buffer): { status: string; fields: [name: string, value: string][]; body: Buffer } {
  const at = bytes.indexOf('\r\n\r\n')
  const [status = '', ...lines] = bytes.subarray(0, at).toString('latin1').split('\r\n')
  const fields = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)] as [string, string])
  let body = bytes.subarray(at + 4)
  if (fields.some(([name, value]) => name.toLowerCase() === 'transfer-encoding' && value === 'chunked')) {
    const parts: Buffer[] = []
    for (let from = 0; ;) {
      const end = body.indexOf('\r\n', from)
      const size = Number.parseInt(body.subarray(from, end).toString('latin1'), 16)
      if (size === 0) break
      parts.push(body.subarray(end + 2, end + 2 + size))
      from = end + 2 + size + 2
    }
    body = Buffer.concat(parts)
  }
  return { status, fields, body }
}

const values = (fields: readonly [string, string][] | readonly string[], wanted: string): string[] => {
  const pairs = typeof fields[0] === 'string' ? Array.from({ length: fields.length / 2 }, (_, i) => [fields[2 * i], fields[2 * i + 1]] as [string, string]) : fields as [string, string][]
  return pairs.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value)
}

const sinks: [name: string, prepare: (app: FastifyInstance) => void][] = [
  ['raw', () => {}],
  ['through onSend', (app) => { app.addHook('onSend', async (_request, _reply, payload) => payload) }]
]
const boundary = '----boundary-7'
const multipart = Buffer.concat([
  Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a b.bin"\r\nContent-Type: application/octet-stream\r\n\r\n`),
  randomBytes(70_000), Buffer.from(`\r\n--${boundary}--\r\n`)
])
const bodies: [type: string, body: Buffer][] = [
  ['application/json', Buffer.from('{ "a":1,\n  "a": 2, "big": 12345678901234567890 }')],
  ['application/json', Buffer.from('{ not json')],
  ['application/x-www-form-urlencoded', Buffer.from('a=1&a=2&b=%20+')],
  [`multipart/form-data; boundary=${boundary}`, multipart],
  ['application/octet-stream', randomBytes(300_000)],
  ['text/plain; charset=x-none', Buffer.from([0xff, 0xfe, 0x00, 0x0d, 0x0a])]
]

for (const kind of ['http', 'https', 'unix'] as const) {
  for (const [sink, prepare] of sinks) {
    t.test(`${kind}, ${sink}: bodies of all kinds go there and back untouched, with a length and in chunks`, async (t) => {
      const { url: to, seen } = await origin(t, kind, (response, { body, fields }) => {
        response.setHeader('Content-Type', values(fields, 'content-type'))
        if (values(fields, 'x-back')[0] === 'length') response.setHeader('Content-Length', body.length)
        response.end(body)
      })
      const { port } = await proxy(t, {
        pools: { web: { upstreams: [to], connection: { tls: { ca: fixture('cert.pem') } } } }, routes: [{ prefix: '/', pool: 'web' }]
      }, prepare)
      for (const [type, body] of bodies) {
        for (const back of ['length', 'chunks']) {
          const head = `POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: ${type}\r\nX-Back: ${back}\r\n`
          const chunked: (string | Buffer)[] = []
          for (let at = 0; at < body.length; at += 40_000) {
            const piece = body.subarray(at, at + 40_000)
            chunked.push(`${piece.length.toString(16)}\r\n`, piece, '\r\n')
          }
          for (const pieces of [[`${head}Content-Length: ${body.length}\r\n\r\n`, body], [`${head}Transfer-Encoding: chunked\r\n\r\n`, ...chunked, '0\r\n\r\n']]) {
            const got = answer(await exchange(port, ...pieces))
            const there = seen.pop()!
            t.ok(there.body.equals(body), `${type} of ${body.length} arrived, ${pieces.length > 2 ? 'in chunks' : 'with its length'}`)
            t.same(values(there.fields, 'content-length'), pieces.length > 2 ? [] : [String(body.length)])
            t.same(values(there.fields, 'content-type'), [type])
            t.ok(got.body.equals(body), `and came back, ${back}`)
            t.same(values(got.fields, 'content-type'), [type])
            if (back === 'length') t.same(values(got.fields, 'content-length'), [String(body.length)])
          }
        }
      }
    })
  }
}

for (const [sink, prepare] of sinks) {
  t.test(`${sink}: targets, fields and methods arrive as they were sent`, async (t) => {
    const { url: to, seen } = await origin(t, 'http', (response) => { response.end('ok') })
    const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', forwardedHeaders: false }] }, prepare)
    const targets = ['/', '/?', '/?a=1&a=2&b=%20+&c=/../&d=?', '/a%2Fb/%C3%A9', '/a%2fb', '/~a/%7Ea', '/a;b=c;d/e', '/a//b///c', '/a/', '/a:b@c', '/*', "/!$&'()*+,=", '/a?b#'.slice(0, 4), `/${'x'.repeat(4000)}`]
    for (const target of targets) {
      await exchange(port, `GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
      t.equal(seen.pop()?.url, target, target.slice(0, 40))
    }
    await exchange(port, 'GET / HTTP/1.1\r\nHost: h\r\nX-Dup: 1\r\nAccept: a/b\r\nx-dup: 2\r\nX-DUP: \r\nX-Bytes: caf\xe9\r\nCookie: a=1; b="2"\r\nX_Under: 1\r\nConnection: close\r\n\r\n')
    const { fields } = seen.pop()!
    const own: string[] = []
    for (let i = 0; i < fields.length; i += 2) if (!/^(host|via|connection)$/i.test(fields[i]!)) own.push(`${fields[i]!}=${fields[i + 1]!}`)
    t.same(own, ['X-Dup=1', 'Accept=a/b', 'x-dup=2', 'X-DUP=', 'X-Bytes=caf\xe9', 'Cookie=a=1; b="2"', 'X_Under=1'], 'order, spelling and number')
    for (const method of METHODS) {
      if (method === 'CONNECT') continue
      // Node's parser takes a body with any of these.
      await exchange(port, `${method} /m HTTP/1.1\r\nHost: h\r\nConnection: close\r\n${method === 'TRACE' ? '' : 'Content-Type: a/b\r\nContent-Length: 2\r\n'}\r\n${method === 'TRACE' ? '' : 'ab'}`)
      const got = seen.pop()
      t.equal(got?.method, method)
      t.equal(got?.body.toString(), method === 'TRACE' ? '' : 'ab', `${method} with a body`)
    }
    for (const method of ['QUERY', 'POST', 'DELETE']) {
      for (const type of [undefined, '', 'nonsense', 'a b/c; d', '/json; x=y']) {
        await exchange(port, `${method} /t HTTP/1.1\r\nHost: h\r\nConnection: close\r\n${type === undefined ? '' : `Content-Type: ${type}\r\n`}Content-Length: 2\r\n\r\nab`)
        const got = seen.pop()!
        t.equal(got.body.toString(), 'ab', `${method} of type ${type}`)
        t.same(values(got.fields, 'content-type'), type === undefined ? [] : [type], 'the upstream judges the type')
      }
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'GET']) {
      await exchange(port, `${method} /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
      t.same(values(seen.pop()!.fields, 'content-length'), ['0'], `${method} keeps Content-Length: 0`)
      await exchange(port, `${method} /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
      const { fields } = seen.pop()!
      // RFC 9110 8.6: where the method expects content, having none is said.
      t.same([...values(fields, 'content-length'), ...values(fields, 'transfer-encoding')], method.startsWith('P') ? ['0'] : [], `${method} without a body`)
      await exchange(port, `${method} /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`)
      const got = seen.pop()!
      t.equal(got.body.length, 0)
      t.same(values(got.fields, 'transfer-encoding'), ['chunked'], `${method} with an empty chunked body`)
    }
    await exchange(port, 'OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
    t.equal(seen.pop()?.url, '*')
  })

  t.test(`${sink}: answers come back as they were given`, async (t) => {
    const cases: Record<string, (response: ServerResponse) => void> = {
      '/duplicates': (response) => {
        response.writeHead(200, 'Quite Fine', ['Set-Cookie', 'a=1; Path=/', 'X-Dup', '1', 'set-cookie', 'b="2"; HttpOnly', 'x-dup', '2', 'Link', '<a>', 'Link', '<b>', 'X-Bytes', 'caf\xe9', 'WWW-Authenticate', 'Basic', 'WWW-Authenticate', 'Bearer'])
        response.end('x')
      },
      '/204': (response) => { response.writeHead(204, { etag: '"a"' }).end() },
      '/304': (response) => { response.writeHead(304, { etag: '"a"', 'content-length': '1234' }).end() },
      '/205': (response) => { response.writeHead(205, { 'content-length': '0' }).end() },
      '/empty': (response) => { response.writeHead(200, { 'content-length': '0' }).end() },
      '/empty-chunks': (response) => { response.writeHead(200, { 'transfer-encoding': 'chunked' }).end() },
      '/299': (response) => { response.writeHead(299).end('odd') },
      '/599': (response) => { response.writeHead(599).end('odd') },
      '/typeless': (response) => { response.writeHead(200, { 'content-length': '4' }).end('data') },
      '/encoded': (response) => { response.writeHead(200, { 'content-encoding': 'x-own', 'content-type': 'application/json' }).end(Buffer.from([1, 2, 3])) }
    }
    const { url: to } = await origin(t, 'http', (response, { url }) => { cases[url]!(response) })
    const { port } = await proxy(t, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web', retry: false }] }, prepare)
    const ask = async (path: string, method = 'GET') => answer(await exchange(port, `${method} ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`))
    const duplicates = await ask('/duplicates')
    t.same(values(duplicates.fields, 'set-cookie'), ['a=1; Path=/', 'b="2"; HttpOnly'])
    t.same(values(duplicates.fields, 'x-dup').join(), '1,2')
    t.same(values(duplicates.fields, 'link').join(), '<a>,<b>')
    t.same(values(duplicates.fields, 'www-authenticate'), ['Basic', 'Bearer'])
    t.same(values(duplicates.fields, 'x-bytes'), ['caf\xe9'])
    if (sink === 'raw') {
      t.equal(duplicates.status, 'HTTP/1.1 200 Quite Fine')
      t.same(duplicates.fields.map(([name]) => name).slice(0, 4), ['Set-Cookie', 'X-Dup', 'set-cookie', 'x-dup'], 'order and spelling')
    }
    for (const status of ['204', '304', '205', '299', '599']) {
      const got = await ask(`/${status}`)
      t.match(got.status, `HTTP/1.1 ${status}`)
      t.equal(got.body.toString(), status > '205' && status !== '304' ? 'odd' : '', status)
      if (status === '204') t.same([...values(got.fields, 'content-length'), ...values(got.fields, 'transfer-encoding')], [], '204 has no framing')
    }
    t.same(values((await ask('/304')).fields, 'etag'), ['"a"'])
    t.same(values((await ask('/304')).fields, 'content-length'), ['1234'])
    t.same(values((await ask('/empty')).fields, 'content-length'), ['0'])
    t.equal((await ask('/empty-chunks')).body.length, 0)
    t.equal((await ask('/typeless')).body.toString(), 'data')
    t.same(values((await ask('/typeless')).fields, 'content-type'), [], 'no type is invented')
    t.same([...(await ask('/encoded')).body], [1, 2, 3])
    for (const path of ['/duplicates', '/empty', '/304', '/typeless', '/encoded']) {
      const got = await ask(path, 'HEAD')
      t.equal(got.body.length, 0, `HEAD ${path}`)
    }
    t.same(values((await ask('/typeless', 'HEAD')).fields, 'content-length'), ['4'], "HEAD keeps the body's length")
  })
}

for (const through of ['no hook', 'an onSend hook']) {
  t.test(`a file name in UTF-8 arrives as it was sent, whatever comes before it, through ${through}`, async (t) => {
    const url = await rawUpstream(t, (socket, head) => {
      const size = Number(/^GET \/(\d+)/.exec(head)![1])
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename="é.txt"\r\n\r\n`)
      if (size > 100_000) setImmediate(() => { socket.write('x'.repeat(size)) })
      else socket.write('x'.repeat(size))
    })
    const { port } = await proxy(t, { pools: { web: [url] }, routes: [{ prefix: '/', pool: 'web' }] }, (app) => {
      if (through !== 'no hook') app.addHook('onSend', (_request, _reply, payload, done) => { done(null, payload) })
    })
    for (const size of [0, 2, 20_000, 300_000]) {
      const bytes = await exchange(port, `GET /${size} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
      t.ok(bytes.includes('filename="é.txt"'), `${size} bytes`)
      t.equal(answer(bytes).body.length, size)
    }
  })
}
