import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import zlib from 'node:zlib'
import balancer from '@headgate/balancer'
import type { FastifyReply } from 'fastify'
import t from 'tap'
import { EventSource } from 'undici'
import { builtIn } from '../src/encodings/index.ts'
import { decoded, get, listen, open, text, upstream } from './helpers.ts'

const names = [...builtIn.keys()]

/** A response's body, decoded as it comes: `next()` waits until more than before is there. */
async function follow (url: string, encoding: string): Promise<{ until (length: number): Promise<string>; headers: Record<string, unknown>; close (): void }> {
  const response = await open(url, { 'accept-encoding': encoding })
  const decoder = builtIn.get(encoding)!.decoder(Buffer.alloc(0))
  let seen = ''
  response.on('error', () => {}).pipe(decoder).on('error', () => {})
  decoder.on('data', (piece: Buffer) => { seen += piece.toString() })
  return {
    headers: response.headers,
    close: () => { response.destroy() },
    async until (length) {
      while (seen.length < length) await once(decoder, 'data')
      return seen
    }
  }
}

t.test('each message of a progressive type is seen before the next one is made', async (t) => {
  let source = new PassThrough()
  const { url } = await listen(t, {}, (app) => {
    app.get('/*', (request, reply) => reply.type((request.params as { '*': string })['*']).send(source = new PassThrough()))
  })
  for (const encoding of names) {
    for (const type of ['text/event-stream', 'application/x-ndjson', 'application/grpc-web+proto']) {
      const reading = follow(`${url}/${type}`, encoding)
      const stream = await reading
      t.equal(stream.headers['content-encoding'], encoding, 'the head comes before the first message')
      let all = ''
      for (const message of ['data: 1\n\n', 'data: two\n\n', '{"n":3}\n', '\0\0\0\0\x05hello']) {
        source.write(message)
        all += message
        t.equal(await stream.until(all.length), all, `${encoding} ${type}`)
      }
      stream.close()
    }
  }
})

t.test('an EventSource gets its events one by one', async (t) => {
  let source = new PassThrough()
  const { url } = await listen(t, {}, (app) => {
    app.get('/', (request, reply) => {
      t.match(request.headers['accept-encoding'], /gzip/)
      return reply.type('text/event-stream').send(source = new PassThrough())
    })
  })
  const events = new EventSource(url)
  t.teardown(() => { events.close() })
  await new Promise((resolve) => { events.onopen = resolve })
  for (const id of ['1', '2', '3']) {
    const heard = new Promise<string>((resolve) => { events.onmessage = ({ data }) => { resolve(data as string) } })
    source.write(`data: event ${id}\n\n`)
    t.equal(await heard, `event ${id}`)
  }
})

t.test('the first piece of any stream goes out before there is a second one, and later ones do not wait for more', async (t) => {
  let source = new PassThrough()
  let handled = (): void => {}
  const { url } = await listen(t, {}, (app) => {
    app.addHook('preHandler', async () => {
      source = new PassThrough()
      handled()
    })
    app.get('/', (_request, reply) => reply.type('text/html').send(source))
    app.get('/announced', (_request, reply) => reply.type('text/html').header('content-length', 2000).send(source))
  })
  for (const encoding of names) {
    for (const path of ['', 'announced']) {
      const called = new Promise<void>((resolve) => { handled = resolve })
      const reading = follow(`${url}/${path}`, encoding)
      await called
      source.write('<html>')
      const stream = await reading
      t.equal(await stream.until(6), '<html>', `${encoding} ${path}`)
      source.write('<head>')
      t.equal(await stream.until(12), '<html><head>')
      stream.close()
    }
  }
})

t.test('a body of unknown length that is all there at once is encoded in one call; one that is not is streamed', async (t) => {
  const body = text(20_000)
  const paths: string[] = []
  const listener = (message: unknown): void => { paths.push((message as { path: string }).path) }
  subscribe('headgate:compress:encoded', listener)
  t.teardown(() => { unsubscribe('headgate:compress:encoded', listener) })
  let rest: ServerResponse | undefined
  const to = await upstream(t, (request, response) => {
    response.writeHead(200, { 'content-type': 'text/html', ...request.url === '/trailers' && { trailer: 'x-end' } })
    if (request.url === '/slow') {
      response.write(body.slice(0, 5000))
      rest = response
      return
    }
    response.write(body.slice(0, 5000))
    response.write(body.slice(5000))
    if (request.url === '/trailers') response.addTrailers({ 'x-end': 'yes' })
    response.end()
  })
  const { url } = await listen(t, { memo: false }, async (app) => {
    app.get('/own', (_request, reply) => reply.type('text/html').send(Readable.from([body.slice(0, 5000), body.slice(5000)])))
    app.get('/own-trailers', (_request, reply) => reply.type('text/html').trailer('x-end', (_reply, _payload, done) => { done(null, 'yes') }).send(body))
    await app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  })
  for (const path of ['/', '/own', '/trailers', '/own-trailers']) {
    const response = await open(url + path, { 'accept-encoding': 'gzip' })
    const pieces: Buffer[] = []
    for await (const piece of response) pieces.push(piece as Buffer)
    const trailers = path.endsWith('trailers')
    t.equal(zlib.gunzipSync(Buffer.concat(pieces)).toString(), body, path)
    t.equal(response.headers['content-encoding'], 'gzip')
    t.equal(response.headers['content-length'], trailers ? undefined : String(Buffer.concat(pieces).length))
    t.equal(response.headers['transfer-encoding'], trailers ? 'chunked' : undefined)
    t.same(response.trailers, trailers ? { 'x-end': 'yes' } : {})
  }
  t.same(paths, ['one-shot', 'one-shot', 'one-shot', 'one-shot'])
  const slow = await follow(`${url}/slow`, 'gzip')
  t.equal(await slow.until(5000), body.slice(0, 5000), 'what is there is not held back')
  rest!.end(body.slice(5000))
  t.equal(await slow.until(20_000), body)
})

t.test('what was read of a stream is given back where it may not be encoded', async (t) => {
  const body = text(20_000)
  let source = new PassThrough()
  const { url } = await listen(t, { breach: 'pad' }, (app) => {
    for (const length of [undefined, 20_000]) {
      app.get(`/${length}`, (_request, reply) => {
        if (length !== undefined) reply.header('content-length', length)
        source = new PassThrough()
        source.write(body.slice(0, 5000))
        source.write(body.slice(5000, 6000))
        return reply.type('text/html').send(source)
      })
    }
  })
  for (const path of ['/undefined', '/20000']) {
    const response = await open(url + path, { 'accept-encoding': 'gzip', cookie: 'a=1' })
    t.equal(response.headers['content-encoding'], undefined, 'a stream cannot be padded')
    source.end(body.slice(6000))
    let all = ''
    for await (const piece of response) all += String(piece)
    t.equal(all, body)
  }
})

t.test('a slow client holds its source', async (t) => {
  let made = 0
  let end = (): void => {}
  const closed = new Promise<boolean>((resolve) => { end = () => { resolve(true) } })
  const { port } = await listen(t, {}, (app) => {
    app.get('/', (_request, reply) => reply.type('text/html').send(new Readable({
      read () {
        made += 65_536
        this.push(Buffer.from(text(65_536, made)))
      },
      destroy (error, done) {
        end()
        done(error)
      }
    })))
  })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {}).pause()
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n')
  let before = -1
  // It stands still when two looks, many turns apart, find the same.
  for (let still = 0; still < 20; still = made === before && made > 0 ? still + 1 : 0) {
    before = made
    await new Promise((resolve) => { setTimeout(resolve, 25) })
  }
  t.ok(made < 400_000_000, `it stopped after ${made} bytes`)
  socket.destroy()
  t.ok(await closed, 'the source ends with the client')
})

/** Calls back when the head is out. */
function afterHead (reply: FastifyReply, callback: () => void): void {
  const timer = setInterval(() => {
    if (!reply.raw.headersSent) return
    clearInterval(timer)
    callback()
  }, 5)
}

t.test('a source that fails: an error before the head, a broken transfer after it', async (t) => {
  const { url } = await listen(t, {}, (app) => {
    app.get('/before', (_request, reply) => reply.type('text/html').header('etag', '"a"').send(new Readable({ read () { this.destroy(new Error('broken')) } })))
    app.get('/after', (_request, reply) => {
      const source = new PassThrough()
      source.write(text(200_000))
      afterHead(reply, () => { source.destroy(new Error('broken')) })
      return reply.type('text/html').send(source)
    })
    app.get('/closed', (_request, reply) => {
      const source = new PassThrough()
      source.write('begin')
      afterHead(reply, () => { source.destroy() })
      return reply.type('text/html').send(source)
    })
  })
  const before = await get(`${url}/before`, { 'accept-encoding': 'gzip' })
  t.equal(before.status, 500)
  t.equal(before.headers['content-encoding'], undefined)
  t.equal(before.headers.etag, undefined)
  t.match(JSON.parse(before.body.toString()), { message: 'broken' })
  for (const path of ['after', 'closed']) {
    const answer = await get(`${url}/${path}`, { 'accept-encoding': 'gzip' })
    t.equal(answer.status, 200)
    t.notOk(answer.complete, `${path}: the client sees that it is not whole`)
    t.throws(() => zlib.gunzipSync(answer.body))
  }
})

t.test('a stream at full speed is as small as a whole body, within two per cent', async (t) => {
  const whole = Buffer.from(text(2_000_000))
  const { url } = await listen(t, { memo: false }, (app) => {
    app.get('/stream', (_request, reply) => reply.type('text/html').header('content-length', whole.length).send(Readable.from(function * () {
      for (let at = 0; at < whole.length; at += 65_536) yield whole.subarray(at, at + 65_536)
    }())))
    app.get('/whole', (_request, reply) => reply.type('text/html').send(whole))
  })
  for (const encoding of names) {
    const [a, b] = [await get(`${url}/stream`, { 'accept-encoding': encoding }), await get(`${url}/whole`, { 'accept-encoding': encoding })]
    t.ok(decoded(a).equals(whole))
    t.ok(a.body.length < b.body.length * 1.02, `${encoding}: ${a.body.length} and ${b.body.length}`)
  }
})

t.test('a client that leaves while a short body is awaited is no failure', async (t) => {
  const lines: string[] = []
  let left = (): void => {}
  const gone = new Promise<void>((resolve) => { left = resolve })
  const { url, port } = await listen(t, {}, (app) => {
    app.addHook('onRequestAbort', (_request, done) => {
      left()
      done()
    })
    app.get('/ok', (_request, reply) => reply.type('text/html').send(text(2000)))
    app.get('/', (_request, reply) => {
      const source = new PassThrough()
      // As the balancer does it: the body fails because the client closed.
      reply.raw.on('close', () => { source.destroy(new Error('the client closed the connection')) })
      setImmediate(() => { socket.destroy() })
      return reply.type('text/html').header('content-length', 5000).send(source)
    })
  }, { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {}).write('GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n')
  await gone
  t.equal((await get(`${url}/ok`, { 'accept-encoding': 'gzip' })).status, 200)
  t.notOk(lines.some((line) => line.includes('could not be')), lines.join(''))
})
