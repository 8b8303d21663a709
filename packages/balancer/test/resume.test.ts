import { createHash, randomBytes } from 'node:crypto'
import type { RequestListener } from 'node:http'
import t from 'tap'
import { proxy, refusing, upstream } from './helpers.ts'

type Test = Parameters<typeof upstream>[0]

const BODY = randomBytes(3_000_000)
const hash = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')

interface Origin {
  readonly etag?: string
  /** Bytes of each answer's body after which the connection is reset. */
  readonly breakAfter?: number
  readonly ranges?: boolean
  readonly chunked?: boolean
  readonly encoding?: string
  /** Never answers. */
  readonly silent?: boolean
  /** What is changed in answers to requests for a range. */
  readonly partial?: { readonly status?: number; readonly range?: (given: string) => string; readonly shorter?: boolean }
}

/** A file server with ranges and `If-Range`, which breaks off as told. */
function file ({ etag = '"v1"', breakAfter = Infinity, ranges = true, chunked = false, encoding, silent = false, partial = {} }: Origin, seen: string[] = []): RequestListener {
  return (request, response) => {
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    const whole = match === null || !ranges || (request.headers['if-range'] ?? etag) !== etag
    const first = whole ? 0 : Number(match[1])
    const last = whole || match[2] === '' ? BODY.length - 1 : Number(match[2])
    seen.push(whole ? 'whole' : `${first}-`)
    const part = BODY.subarray(first, last + 1)
    if (silent) return
    response.setHeader('etag', etag)
    if (ranges) response.setHeader('accept-ranges', 'bytes')
    if (encoding !== undefined) response.setHeader('content-encoding', encoding)
    if (!chunked) response.setHeader('content-length', part.length)
    if (!whole) {
      const range = `bytes ${first}-${last}/${BODY.length}`
      response.statusCode = partial.status ?? 206
      response.setHeader('content-range', partial.range?.(range) ?? range)
    }
    if (breakAfter >= part.length) return void response.end(part)
    response.write(part.subarray(0, breakAfter), () => { setTimeout(() => { response.socket?.resetAndDestroy() }, 20) })
  }
}

interface Options {
  readonly resume?: boolean
  readonly hook?: boolean
  readonly headers?: Record<string, string>
  readonly route?: { tryTimeout?: number; headersTimeout?: number }
}

async function through (t: Test, origins: Origin[], options: Options = {}): Promise<{ response: Response; seen: string[] }> {
  const seen: string[] = []
  const upstreams = []
  for (const origin of origins) upstreams.push((await upstream(t, file(origin, seen))).url)
  const { url } = await proxy(t, {
    pools: { web: { upstreams, policy: 'first' } }, random: () => 0,
    routes: [{ prefix: '/', pool: 'web', ...(options.resume === undefined ? {} : { resume: options.resume }), ...options.route }]
  }, (app) => { if (options.hook === true) app.addHook('onSend', async (_request, _reply, payload) => payload) })
  return { response: await fetch(url, options.headers === undefined ? {} : { headers: options.headers }), seen }
}

for (const hook of [false, true]) {
  t.test(`a download that breaks off goes on from another upstream, ${hook ? 'through onSend hooks' : 'on the raw path'}`, async (t) => {
    const { response, seen } = await through(t, [{ breakAfter: 1_000_000 }, {}], { hook })
    t.equal(response.status, 200)
    t.equal(response.headers.get('content-length'), String(BODY.length))
    t.equal(hash(new Uint8Array(await response.arrayBuffer())), hash(BODY))
    t.same([seen[0], seen.length], ['whole', 2])
    t.match(seen[1], /^[1-9]\d*-$/, 'only the rest is asked for')
  })
}

t.test('it goes on more than once, and from the same upstream when there is no other', async (t) => {
  const several = await through(t, [{ breakAfter: 1_000_000 }, { breakAfter: 700_000 }, { breakAfter: 500_000 }, {}])
  t.equal(hash(new Uint8Array(await several.response.arrayBuffer())), hash(BODY))
  t.equal(several.seen.length, 4)
  // A reset also takes what was not read yet: progress is less than what was sent.
  const alone = await through(t, [{ breakAfter: 2_000_000 }])
  t.equal(hash(new Uint8Array(await alone.response.arrayBuffer())), hash(BODY))
})

t.test('of those who would have the rest, some refuse the connection: they are passed over', async (t) => {
  const breaks = await upstream(t, file({ breakAfter: 1_000_000 }))
  const good = await upstream(t, file({}))
  const upstreams = [breaks.url, ...await Promise.all(Array.from({ length: 5 }, refusing)), good.url]
  const { url } = await proxy(t, { pools: { web: { upstreams, policy: 'first', retryBudget: { ratio: 0, perSecond: 0.1 } } }, routes: [{ prefix: '/', pool: 'web' }], random: () => 0 })
  const response = await fetch(url)
  t.equal(hash(new Uint8Array(await response.arrayBuffer())), hash(BODY), 'for one retry out of the budget')
})

for (const route of [{ tryTimeout: 1000 }, { headersTimeout: 1000 }]) {
  t.test(`an upstream that is asked for the rest and never answers has no longer than any other: ${Object.keys(route)[0]}`, async (t) => {
    const { response, seen } = await through(t, [{ breakAfter: 1_000_000 }, { silent: true }, {}], { route })
    t.equal(hash(new Uint8Array(await response.arrayBuffer())), hash(BODY))
    t.equal(seen.length, 3)
  })
}

t.test('a range that was asked for is gone on with to its end', async (t) => {
  const { response, seen } = await through(t, [{ breakAfter: 400_000 }, {}], { headers: { range: 'bytes=1000000-1999999', 'if-range': '"v1"' } })
  t.equal(response.status, 206)
  t.equal(response.headers.get('content-range'), `bytes 1000000-1999999/${BODY.length}`)
  t.equal(hash(new Uint8Array(await response.arrayBuffer())), hash(BODY.subarray(1_000_000, 2_000_000)))
  t.equal(seen.length, 2)
})

t.test('tries are bounded', async (t) => {
  const { response, seen } = await through(t, [{ breakAfter: 100_000 }])
  await t.rejects(response.arrayBuffer())
  t.equal(seen.length, 4)
})

const never: [string, Origin[], { resume?: boolean }?][] = [
  ['with resume: false', [{ breakAfter: 1e6 }, {}], { resume: false }],
  ['with a weak validator', [{ breakAfter: 1e6, etag: 'W/"v1"' }, { etag: 'W/"v1"' }]],
  ['without Accept-Ranges', [{ breakAfter: 1e6, ranges: false }, {}]],
  ['without a known length', [{ breakAfter: 1e6, chunked: true }, {}]]
]
for (const [name, origins, options] of never) {
  t.test(`no second request ${name}: the transfer breaks`, async (t) => {
    const { response, seen } = await through(t, origins, options)
    await t.rejects(response.arrayBuffer())
    t.equal(seen.length, 1)
  })
}

const mismatches: [string, Origin][] = [
  ['another version', { etag: '"v2"' }],
  ['another status', { partial: { status: 200 } }],
  ['another range', { partial: { range: (given) => given.replace(/(\d+)-/, (_, first: string) => `${Number(first) + 1}-`) } }],
  ['another size', { partial: { range: (given) => `${given}0` } }],
  ['an unknown size', { partial: { range: (given) => given.replace(/\/.*/, '/*') } }],
  ['another encoding', { encoding: 'gzip' }]
]
for (const [name, origin] of mismatches) {
  t.test(`what does not match is never appended: ${name}`, async (t) => {
    const { response, seen } = await through(t, [{ breakAfter: 1_000_000 }, origin])
    const received: Buffer[] = []
    await t.rejects(async () => { for await (const chunk of response.body!) received.push(Buffer.from(chunk as Uint8Array)) })
    const got = Buffer.concat(received)
    t.ok(got.length < BODY.length && BODY.subarray(0, got.length).equals(got), 'what came is the first version, cut short')
    t.equal(seen.length, 2)
  })
}
