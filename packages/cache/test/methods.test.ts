import type { IncomingMessage, ServerResponse } from 'node:http'
import t from 'tap'
import { app, proxied, TestClock } from './helpers.ts'

const host = { host: 'a.example' }
const BODY = 'abcdefghij'.repeat(10)
const status = (response: { headers: Record<string, unknown> }): string => String(response.headers['cache-status'])

/** An origin that treats the ranges and conditions of QUERY as those of GET. */
function answering (request: IncomingMessage, response: ServerResponse): void {
  request.resume().on('end', () => {
    response.setHeader('cache-control', 'max-age=60').setHeader('etag', '"a"')
    if (request.headers['if-none-match'] === '"a"') return response.writeHead(304).end()
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    if (range === null) return response.end(BODY)
    const [start, end] = [Number(range[1]), range[2] === '' ? BODY.length - 1 : Number(range[2])]
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${BODY.length}` }).end(BODY.slice(start, end + 1))
  })
}

t.test('QUERY: conditions and ranges as those of GET, out of the whole and out of parts (RFC 10008 2.6, 2.8)', async (t) => {
  const clock = new TestClock()
  const { app: instance, requests } = await proxied(t, { clock }, answering)
  const query = (payload: string, headers: Record<string, string> = {}) =>
    instance.inject({ method: 'QUERY' as never, url: '/x', headers: { ...host, 'content-type': 'text/plain', ...headers }, payload })
  await query('whole')
  const part = await query('whole', { range: 'bytes=3-5' })
  t.match({ status: part.statusCode, body: part.body, range: part.headers['content-range'] }, { status: 206, body: 'def', range: 'bytes 3-5/100' })
  t.match(status(part), /hit/)
  t.equal((await query('whole', { range: 'bytes=100-' })).statusCode, 416)
  t.equal((await query('whole', { 'if-none-match': '"a"' })).statusCode, 304)
  t.equal(requests.length, 1)

  t.equal((await query('parts', { range: 'bytes=0-49' })).body, BODY.slice(0, 50))
  const within = await query('parts', { range: 'bytes=10-19' })
  t.match(status(within), /hit/)
  t.match({ status: within.statusCode, body: within.body, range: within.headers['content-range'] }, { status: 206, body: BODY.slice(10, 20), range: 'bytes 10-19/100' })
  const rest = await query('parts')
  t.equal(rest.statusCode, 200)
  t.equal(rest.body, BODY)
  t.match({ method: requests[2]!.method, ...requests[2]!.headers }, { method: 'QUERY', range: 'bytes=50-', 'if-range': '"a"' }, 'only the rest was asked for')
  t.match(status(await query('parts')), /hit/)

  clock.advance(61_000)
  t.match(status(await query('whole')), /fwd=stale; fwd-status=304/)
  t.equal(requests.length, 4)
})

t.test('HEAD: its Range is nobody\'s concern (RFC 9110 14.2)', async (t) => {
  const { app: instance, requests } = await proxied(t, {}, (request, response) => {
    if (request.method === 'HEAD') response.writeHead(200, { 'content-length': BODY.length, 'cache-control': 'max-age=60', etag: '"a"' }).end()
    else answering(request, response)
  })
  const send = (method: 'GET' | 'HEAD', url: string) => instance.inject({ method, url, headers: { ...host, range: 'bytes=0-9' } })
  await send('GET', '/part')
  const head = await send('HEAD', '/part')
  t.equal(head.statusCode, 200, 'not 206, though that part is stored')
  t.equal(head.headers['content-length'], '100')
  t.equal(head.headers['content-range'], undefined)
  t.match(status(head), /fwd=partial/)
  t.equal(requests.length, 2)
  await instance.inject({ url: '/whole', headers: host })
  const hit = await send('HEAD', '/whole')
  t.match({ status: hit.statusCode, length: hit.headers['content-length'] }, { status: 200, length: '100' })
  t.match(status(hit), /hit/)
})

t.test('POST where a route lists it: no ranges, no validation, and conditions are for the origin (RFC 9110 13.1.2, 14.2)', async (t) => {
  const clock = new TestClock()
  const asked: Record<string, unknown>[] = []
  const { app: instance } = await app(t, { clock }, (app) => {
    app.post('/x', { config: { cache: { methods: ['GET', 'POST'], staleWhileRevalidate: 5000 } } }, async (request, reply) => {
      const { headers } = request
      asked.push(headers)
      // As 13.1.2 wants it for a method that is not GET or HEAD.
      if (headers['if-none-match'] === '"a"') return reply.code(412).send('condition')
      return reply.headers({ 'cache-control': 'max-age=60', etag: '"a"', 'last-modified': 'Wed, 31 Dec 2025 00:00:00 GMT' }).send(BODY)
    })
  })
  const post = (headers: Record<string, string> = {}) => instance.inject({ method: 'POST', url: '/x', headers: { ...host, 'content-type': 'application/json', ...headers }, payload: '{"a":1}' })
  for (const seen of [/fwd=uri-miss; stored/, /hit/]) {
    const response = await post({ range: 'bytes=0-1' })
    t.equal(response.statusCode, 200)
    t.equal(response.body, BODY)
    t.match(status(response), seen)
  }
  t.equal(asked[0]!['range'], undefined, 'a response that is for all is asked for as a whole')

  clock.advance(61_000)
  t.match(status(await post()), /hit; ttl=-1/)
  clock.advance(1)
  const anew = await post()
  t.match({ status: anew.statusCode, body: anew.body }, { status: 200, body: BODY }, 'fetched anew, in the background too')
  t.equal(asked.length, 2)
  clock.advance(66_000)
  t.match(status(await post()), /fwd=stale; stored/)
  for (const headers of asked) t.match(headers, { 'if-none-match': undefined, 'if-modified-since': undefined })

  const failed = await post({ 'if-none-match': '"a"' })
  t.equal(failed.statusCode, 412)
  t.match(status(failed), /fwd=bypass; detail=condition/)
  const ignored = await post({ 'if-modified-since': 'Thu, 01 Jan 2026 00:00:00 GMT' })
  t.equal(ignored.statusCode, 200)
  t.match(status(ignored), /fwd=bypass; detail=condition/)
})

t.test('POST where a route lists it: one that waits for nobody outdates the URL no more than one that is shared', async (t) => {
  const { app: instance } = await app(t, {}, (app) => {
    app.post('/x', { config: { cache: { methods: ['GET', 'POST'] } } }, async (request, reply) => {
      const { own } = request.body as { own: boolean }
      return reply.header('cache-control', own ? 'private' : 'max-age=60').send({ own })
    })
  })
  const post = async (own: boolean): Promise<string> => status(await instance.inject({ method: 'POST', url: '/x', headers: host, payload: { own } }))
  await post(false)
  t.match(await post(true), /detail=private/)
  t.match(await post(true), /detail=hit-for-miss/)
  t.match(await post(false), /hit/)
})
