import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { PassThrough, Readable, Writable } from 'node:stream'
import { pipeline as whole } from 'node:stream/promises'
import t from 'tap'
import { FormData as UndiciFormData, type RequestInit, type Dispatcher, fetch as undiciFetch, request, stream } from 'undici'
import { bodyOf, refusing, upstream } from '../helpers.ts'
import { nothingLeft, pools, shapes } from './helpers.ts'

const echo = async (incoming: IncomingMessage): Promise<string> => {
  const body = await bodyOf(incoming)
  return JSON.stringify({ method: incoming.method, url: incoming.url, headers: incoming.headers, raw: incoming.rawHeaders, body: body.toString('latin1') })
}
interface Echo { method: string; url: string; headers: Record<string, string>; raw: string[]; body: string }

for (const [shape, wrap] of shapes) {
  t.test(`${shape}: fetch, request, stream and pipeline are answered by the pool`, async (t) => {
    const { url } = await upstream(t, (incoming, response) => { void echo(incoming).then((text) => { response.setHeader('set-cookie', ['a=1', 'b=2']).end(text) }) })
    const app = await pools(t, { web: [url] })
    const dispatcher = wrap(app.balancer.dispatcher('web'))

    const answer = await undiciFetch('http://web/a%2fb?c=d', { dispatcher, headers: { 'x-one': '1' } })
    t.equal(answer.status, 200)
    t.same(answer.headers.getSetCookie(), ['a=1', 'b=2'])
    const seen = await answer.json() as Echo
    t.match(seen, { method: 'GET', url: '/a%2fb?c=d', headers: { 'x-one': '1', host: new URL(url).host }, body: '' })

    const requested = await request('http://web/x', { dispatcher, method: 'POST', body: 'text', query: { q: 'ä' }, headers: ['X-Two', '2', 'connection', 'x-gone', 'x-gone', '1'] })
    t.equal(requested.statusCode, 200)
    t.same(requested.headers['set-cookie'], ['a=1', 'b=2'])
    const got = await requested.body.json() as Echo
    t.match(got, { method: 'POST', url: '/x?q=%C3%A4', body: 'text', headers: { 'content-length': '4', 'x-two': '2' } })
    t.notOk(got.headers['x-gone'], 'what Connection names stays here')
    t.ok(got.raw.includes('X-Two'), 'names as they were given')

    const chunks: Buffer[] = []
    await stream('http://web/s', { dispatcher, method: 'GET' }, ({ statusCode }) => {
      t.equal(statusCode, 200)
      return new Writable({ write (chunk: Buffer, _, done) { chunks.push(chunk); done() } })
    })
    t.match(JSON.parse(Buffer.concat(chunks).toString()), { url: '/s' })

    const piped = app.balancer.dispatcher('web').pipeline({ origin: 'http://web', path: '/p', method: 'PUT' }, ({ body }) => body)
    piped.end('pipe')
    t.match(JSON.parse((await bodyOf(piped as never)).toString()), { method: 'PUT', url: '/p', body: 'pipe' })

    const head = await request('http://web/', { dispatcher, method: 'HEAD' })
    t.equal(head.statusCode, 200)
    t.equal(await head.body.text(), '')
    await nothingLeft(app)
    t.equal(app.balancer.pool('web').upstreams[0]!.load.succeeded, 5)
  })

  t.test(`${shape}: bodies of all kinds`, async (t) => {
    const { url } = await upstream(t, (incoming, response) => { void echo(incoming).then((text) => { response.end(text) }) })
    const app = await pools(t, { web: [url] })
    const dispatcher = wrap(app.balancer.dispatcher('web'))
    const send = async (body: unknown, headers = {}): Promise<Echo> =>
      await (await request('http://web/', { dispatcher, method: 'POST', body: body as string, headers })).body.json() as Echo
    const sized = [
      ['text', 'text'], [Buffer.from('buffer'), 'buffer'], [new Uint8Array([65, 66]).subarray(1), 'B'], [new Uint8Array([65]).buffer, 'A'],
      [new Blob(['blob'], { type: 'text/x' }), 'blob']
    ] as const
    for (const [body, text] of sized) t.match(await send(body), { body: text, headers: { 'content-length': String(text.length) } })
    t.equal((await send(new Blob(['blob'], { type: 'text/x' }))).headers['content-type'], 'text/x')
    t.equal((await send(new Blob(['blob'], { type: 'text/x' }), { 'content-type': 'text/mine' })).headers['content-type'], 'text/mine')
    const chunked: readonly [unknown, string][] = [
      [Readable.from(['re', 'adable']), 'readable'],
      [new PassThrough().setEncoding('utf8').end('encoded'), 'encoded'],
      [(async function * () { yield 'async'; yield Buffer.from('gen') })(), 'asyncgen'],
      [(function * () { yield 'gen' })(), 'gen'],
      [new Blob(['web']).stream(), 'web']
    ]
    for (const [body, text] of chunked) t.match(await send(body), { body: text, headers: { 'transfer-encoding': 'chunked' } })
    t.match(await send(Readable.from(['12', '34']), { 'content-length': '4' }), { body: '1234', headers: { 'content-length': '4' } })
    for (const body of [null, undefined, '', Buffer.alloc(0), new ArrayBuffer(0)]) t.match(await send(body), { body: '', headers: { 'content-length': '0' } })
    const ended = Readable.from([])
    for await (const _ of ended) t.fail('it is empty')
    t.match(await send(ended), { body: '' })
    for (const Form of [FormData, UndiciFormData]) {
      const form = new Form()
      form.append('field', 'value')
      const seen = await send(form)
      t.match(seen.headers['content-type'], /^multipart\/form-data; boundary=/)
      t.match(seen.body, /name="field"\r\n\r\nvalue/)
    }
    const fetched: NonNullable<RequestInit['body']>[] = ['text', new Uint8Array([65]), new URLSearchParams({ a: 'b' }), new Blob(['blob']), (() => { const form = new UndiciFormData(); form.append('x', 'y'); return form })()]
    for (const body of fetched) t.not((await (await undiciFetch('http://web/', { dispatcher, method: 'POST', body })).json() as Echo).body, '')
    await nothingLeft(app)
  })

  t.test(`${shape}: large bodies both ways, byte for byte, in the consumer's own time`, async (t) => {
    const bytes = randomBytes(8 << 20)
    let received: Buffer | undefined
    const { url } = await upstream(t, (incoming, response) => {
      void bodyOf(incoming).then((body) => {
        received = body
        response.end(bytes)
      })
    })
    const app = await pools(t, { web: [url] })
    const dispatcher = wrap(app.balancer.dispatcher('web'))
    const { body } = await request('http://web/', { dispatcher, method: 'PUT', body: Readable.from((function * () { for (let i = 0; i < bytes.length; i += 1 << 16) yield bytes.subarray(i, i + (1 << 16)) })()) })
    t.ok(received?.equals(bytes), 'up')
    // Read late and in small steps: what was read from the socket meanwhile must not be written over.
    await new Promise((resolve) => { setImmediate(resolve) })
    const pieces: Buffer[] = []
    await whole(body, new Writable({ highWaterMark: 1, write (chunk: Buffer, _, done) { pieces.push(chunk); setImmediate(done) } }))
    t.ok(Buffer.concat(pieces).equals(bytes), 'down')
    t.ok(Buffer.from(await (await undiciFetch('http://web/', { dispatcher, method: 'POST', body: bytes })).arrayBuffer()).equals(bytes), 'fetch')
    await nothingLeft(app)
  })

  t.test(`${shape}: a consumer that pauses holds the upstream`, async (t) => {
    let written = 0
    const { url } = await upstream(t, (_, response) => {
      const push = (): void => {
        while (written < 64 << 20) {
          written += 1 << 16
          if (!response.write(Buffer.alloc(1 << 16))) return
        }
      }
      response.on('drain', push)
      push()
    })
    const app = await pools(t, { web: [url] })
    const dispatcher = wrap(app.balancer.dispatcher('web'))
    const { body } = await request('http://web/', { dispatcher })
    let before = -1
    while (written !== before) {
      before = written
      await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    t.ok(written < 32 << 20, `${written} bytes were written before it stopped`)
    body.destroy()
    body.on('error', () => {})
    await nothingLeft(app)
  })

  t.test(`${shape}: another upstream takes over from one that is not there`, async (t) => {
    const { url } = await upstream(t, (incoming, response) => { void echo(incoming).then((text) => { response.end(text) }) })
    const app = await pools(t, { web: { upstreams: [await refusing(), url], policy: 'first' } })
    const dispatcher = wrap(app.balancer.dispatcher('web'))
    t.equal((await undiciFetch('http://web/', { dispatcher })).status, 200)
    const posted = await request('http://web/', { dispatcher, method: 'POST', body: Readable.from(['stre', 'amed']) })
    t.equal((await posted.body.json() as Echo).body, 'streamed', 'nothing of it was sent to the first')
    await nothingLeft(app)
    t.same(app.balancer.pool('web').upstreams.map(({ load }) => [load.failed, load.succeeded]), [[2, 0], [0, 2]])
  })

  t.test(`${shape}: an abort ends the upstream's work, whenever it comes`, async (t) => {
    const closed: Promise<unknown>[] = []
    const { url } = await upstream(t, (incoming, response) => {
      closed.push(once(response, 'close'))
      if (incoming.url === '/body') response.write('begin')
    })
    const app = await pools(t, { web: [url] })
    const dispatcher = wrap(app.balancer.dispatcher('web'))
    const early = new AbortController()
    early.abort()
    await t.rejects(request('http://web/', { dispatcher, signal: early.signal }), { name: 'AbortError' })
    await t.rejects(undiciFetch('http://web/', { dispatcher, signal: early.signal }), { name: 'AbortError' })
    t.equal(closed.length, 0)
    for (const run of [request, undiciFetch] as readonly ((url: string, options: { dispatcher: Dispatcher; signal: AbortSignal }) => Promise<unknown>)[]) {
      const waiting = new AbortController()
      const asked = run('http://web/wait', { dispatcher, signal: waiting.signal })
      const before = closed.length
      while (closed.length === before) await new Promise((resolve) => { setImmediate(resolve) })
      waiting.abort()
      await t.rejects(asked, { name: 'AbortError' })
      await closed.at(-1)
      const reading = new AbortController()
      const answer = await run('http://web/body', { dispatcher, signal: reading.signal }) as Awaited<ReturnType<typeof undiciFetch>> & { body: { text (): Promise<string> } }
      reading.abort()
      await t.rejects(run === request ? answer.body.text() : answer.text(), { name: 'AbortError' })
      await closed.at(-1)
    }
    await nothingLeft(app)
    t.match(app.balancer.pool('web').upstreams[0]!.load, { failed: 0 }, 'which is not the upstream\'s fault')
  })

  t.test(`${shape}: an upload that fails ends the request`, async (t) => {
    const { url } = await upstream(t, (incoming) => { incoming.resume() })
    const app = await pools(t, { web: [url] })
    const dispatcher = wrap(app.balancer.dispatcher('web'))
    await t.rejects(request('http://web/', { dispatcher, method: 'POST', body: (async function * () { yield 'a'; throw new Error('no more') })() as never }), { message: 'no more' })
    const cut = new PassThrough()
    cut.write('a')
    const sent = request('http://web/', { dispatcher, method: 'POST', body: cut })
    setImmediate(() => { cut.destroy() })
    await t.rejects(sent, { message: 'the request body broke off' })
    await nothingLeft(app)
  })
}
