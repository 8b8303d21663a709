import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { CacheOptions } from '../src/index.ts'
import { app, eventually, type Test, TestClock } from './helpers.ts'

/** An app with one route whose handler the test replaces; `runs` counts. */
async function one (t: Test, options: CacheOptions = {}) {
  const clock = new TestClock()
  const state = {
    clock, runs: 0, asked: [] as FastifyRequest['headers'][],
    answer: (_request: FastifyRequest, reply: FastifyReply): unknown => reply.send(`run ${state.runs}`)
  }
  const { app: instance } = await app(t, { clock, ...options }, (app) => {
    app.get('/x', (request, reply) => {
      state.runs++
      state.asked.push(request.headers)
      return state.answer(request, reply)
    })
  })
  const get = (headers: Record<string, string> = {}) => instance.inject({ url: '/x', headers })
  return { ...state, state, instance, get, clock }
}

const say = (cacheControl: string, fields: Record<string, string> = {}) => (_request: FastifyRequest, reply: FastifyReply): unknown =>
  reply.headers({ 'cache-control': cacheControl, ...fields }).send(`says ${cacheControl}`)

t.test('stale-while-revalidate: the stale answer at once, one fetch behind it, with the headers of the client that caused it', async (t) => {
  const { state, get, clock } = await one(t)
  const fields = { 'cache-control': 'max-age=10, stale-while-revalidate=20', vary: 'x-kind', etag: '"a"' }
  state.answer = (request, reply) => reply.headers(fields).send(`run ${state.runs} ${String(request.headers['x-kind'])}`)
  await get({ 'x-kind': 'k', cookie: 'a=1' })
  clock.advance(15_000)
  const stale = await get({ 'x-kind': 'k', cookie: 'b=2' })
  t.equal(stale.statusCode, 200)
  t.match(stale.headers['cache-status'], /hit; ttl=-5/)
  await eventually(() => state.runs === 2)
  t.match(state.asked[1], { 'x-kind': 'k', cookie: 'b=2', 'if-none-match': '"a"' })
  t.match((await get({ 'x-kind': 'k' })).headers['cache-status'], /hit; ttl=10/)
  clock.advance(31_000)
  t.match((await get({ 'x-kind': 'k' })).headers['cache-status'], /fwd=stale/, 'behind the window it is fetched')
})

t.test('stale-while-revalidate by option; never against must-revalidate, proxy-revalidate, no-cache or plain s-maxage', async (t) => {
  for (const [directive, allowed] of [
    ['max-age=10', true], ['max-age=10, must-revalidate', false], ['max-age=10, proxy-revalidate', false], ['s-maxage=10', false], ['max-age=10, no-cache', false],
    ['s-maxage=10, stale-while-revalidate=60', true], ['max-age=10, must-revalidate, stale-while-revalidate=60', false], ['max-age=10, stale-while-revalidate=1', false]
  ] as const) {
    const { state, get, clock } = await one(t, { staleWhileRevalidate: 60_000 })
    state.answer = say(directive)
    await get()
    clock.advance(15_000)
    t.match((await get()).headers['cache-status'], allowed ? /hit; ttl=-5/ : /fwd=/, directive)
  }
})

t.test('background fetches are bounded, and one is enough for a key', async (t) => {
  const pending: (() => void)[] = []
  const clock = new TestClock()
  let held = false
  let runs = 0
  const { app: instance } = await app(t, { clock, backgroundMax: 2 }, (app) => {
    app.get('/:name', async (_request, reply) => {
      runs++
      if (held) await new Promise<void>((resolve) => { pending.push(resolve) })
      return reply.header('cache-control', 'max-age=10, stale-while-revalidate=60').send('x')
    })
  })
  for (const url of ['/a', '/b', '/c']) await instance.inject(url)
  clock.advance(11_000)
  held = true
  for (const url of ['/a', '/a', '/b', '/c', '/a']) t.match((await instance.inject(url)).headers['cache-status'], /hit/)
  t.equal(runs, 5, 'two, as allowed')
  t.equal(instance.cache.stats.background, 2)
  held = false
  for (const go of pending) go()
  await eventually(() => instance.cache.stats.stored === 5)
  t.match((await instance.inject('/a')).headers['cache-status'], /ttl=10/)
  await instance.inject('/c')
  t.equal(instance.cache.stats.background, 3, 'there is room again')
})

t.test('stale-if-error: failing statuses, thrown errors and broken connections', async (t) => {
  for (const fail of [
    (_request: FastifyRequest, reply: FastifyReply): unknown => reply.code(503).send('down'),
    (): never => { throw new Error('on purpose') },
    (_request: FastifyRequest, reply: FastifyReply): void => { reply.hijack(); reply.raw.destroy() }
  ]) {
    const { state, get, clock } = await one(t)
    state.answer = say('max-age=10, stale-if-error=60')
    await get()
    clock.advance(20_000)
    state.answer = fail
    const rescued = await get()
    t.equal(rescued.body, 'says max-age=10, stale-if-error=60')
    t.match(rescued.headers['cache-status'], /fwd=stale;.*detail=stale-if-error/)
    t.equal(rescued.headers['age'], '20')
    clock.advance(60_000)
    t.not(await get().then(({ statusCode }) => statusCode, () => 0), 200, 'behind the window the failure shows')
  }
})

t.test('stale-if-error by option, and never where staleness is forbidden', async (t) => {
  for (const [directive, allowed] of [
    ['max-age=10', true], ['max-age=10, must-revalidate', false], ['s-maxage=10', false], ['s-maxage=10, stale-if-error=60', true],
    ['max-age=10, stale-if-error=0', false], ['max-age=10, no-cache', false], ['max-age=10, must-revalidate, stale-if-error=60', false]
  ] as const) {
    const { state, get, clock } = await one(t, { staleIfError: 60_000 })
    state.answer = say(directive)
    await get()
    clock.advance(20_000)
    state.answer = (_request, reply) => reply.code(503).send('down')
    t.equal((await get()).statusCode, allowed ? 200 : 503, directive)
  }
})

t.test('stale-if-error of a request: for that one, as long as it says, and never where staleness is forbidden', async (t) => {
  for (const [directive, asked, allowed] of [
    ['max-age=10', 'stale-if-error=10', true], ['max-age=10', 'stale-if-error="10"', true], ['max-age=10', 'no-cache, stale-if-error=10', true],
    ['max-age=10', 'stale-if-error=9', false], ['max-age=10', 'stale-if-error', false], ['max-age=10', 'stale-if-error=-10', false], ['max-age=10', '', false],
    ['max-age=10, stale-if-error=0', 'stale-if-error=10', true], ['max-age=10, stale-if-error=60', 'stale-if-error=1', true],
    ['max-age=10, must-revalidate', 'stale-if-error=60', false], ['max-age=10, proxy-revalidate', 'stale-if-error=60', false],
    ['s-maxage=10', 'stale-if-error=60', false], ['s-maxage=10, stale-if-error=5', 'stale-if-error=60', false],
    ['max-age=10, no-cache', 'stale-if-error=60', false]
  ] as const) {
    const { state, get, clock } = await one(t)
    state.answer = say(directive)
    await get()
    clock.advance(20_000)
    state.answer = (_request, reply) => reply.code(503).send('down')
    const { statusCode, headers } = await get({ 'cache-control': asked })
    t.equal(statusCode, allowed ? 200 : 503, `${directive}; asked with ${asked}`)
    if (allowed) t.match(headers['cache-status'], /fwd=(stale|request); fwd-status=503;.*detail=stale-if-error/)
  }
})

t.test('stale-if-error of a request: also when nothing came at all, and after another one got the failure', async (t) => {
  const { state, get, clock } = await one(t)
  state.answer = say('max-age=10')
  await get()
  clock.advance(20_000)
  state.answer = (_request, reply) => reply.code(503).send('down')
  t.equal((await get()).statusCode, 503)
  const asked = { 'cache-control': 'stale-if-error=60' }
  t.equal((await get(asked)).statusCode, 200, 'though nobody waits for this key for a while')
  state.answer = (_request, reply) => {
    reply.hijack()
    reply.raw.destroy()
  }
  t.equal((await get(asked)).statusCode, 200)
  const deaf = await one(t, { requestDirectives: false })
  deaf.state.answer = say('max-age=10')
  await deaf.get()
  deaf.clock.advance(20_000)
  deaf.state.answer = (_request, reply) => reply.code(503).send('down')
  t.equal((await deaf.get(asked)).statusCode, 503, 'by option clients have no say')
})

t.test('stale-if-error of a request brings nothing back that an unsafe request outdated', async (t) => {
  const headers = { 'cache-control': 'stale-if-error=60' }
  const clock = new TestClock()
  let down = false
  const { app: instance } = await app(t, { clock }, (app) => {
    app.get('/x', (_request, reply) => down ? reply.code(503).send('down') : reply.header('cache-control', 'max-age=10').send('old'))
    app.post('/x', (_request, reply) => reply.send('changed'))
  })
  const status = async (): Promise<number> => (await instance.inject({ url: '/x', headers })).statusCode
  await status()
  down = true
  clock.advance(20_000)
  t.equal(await status(), 200)
  await instance.inject({ method: 'POST', url: '/x' })
  t.equal(await status(), 503)
})

t.test('stale-if-error of a request does not make a part the whole', async (t) => {
  const { state, get, clock } = await one(t)
  state.answer = (_request, reply) => reply.code(206).headers({ 'cache-control': 'max-age=10', etag: '"1"', 'content-range': 'bytes 0-3/10' }).send('0123')
  t.equal((await get({ range: 'bytes=0-3' })).statusCode, 206)
  clock.advance(20_000)
  state.answer = (_request, reply) => reply.code(503).send('down')
  t.equal((await get({ 'cache-control': 'stale-if-error=60' })).statusCode, 503)
})

t.test('stale-if-error of a request says nothing about those with whom it shares a fetch', async (t) => {
  const lenient = { 'cache-control': 'stale-if-error=60' }
  for (const [first, second, third] of [[{}, lenient, {}], [lenient, {}, lenient], [lenient, lenient, lenient]] as const) {
    const clock = new TestClock()
    const held: (() => void)[] = []
    let [came, runs] = [0, 0]
    const { app: instance } = await app(t, { clock }, (app) => {
      app.addHook('preHandler', async () => { came++ })
      app.get('/x', async (_request, reply) => {
        runs++
        if (runs === 1) return reply.header('cache-control', 'max-age=10').send('old')
        if (runs === 2) await new Promise<void>((resolve) => { held.push(resolve) })
        return reply.code(503).send('down')
      })
    })
    const get = (headers: Record<string, string>) => instance.inject({ url: '/x', headers }).then(({ statusCode }) => statusCode)
    await get({})
    clock.advance(20_000)
    const all = [get(first)]
    await eventually(() => held.length === 1)
    all.push(get(second), get(third))
    await eventually(() => came === 4)
    held[0]!()
    const strict = [first, second, third].filter((headers) => headers !== lenient).length
    t.same(await Promise.all(all), [first, second, third].map((headers) => headers === lenient ? 200 : 503))
    t.equal(runs, 2 + strict - (first === lenient ? 0 : 1), 'who waited in vain asks for itself')
  }
})

t.test('stale-while-slow: a stale copy when the origin is late, and its answer is stored', async (t) => {
  const { state, get, clock, instance } = await one(t, { staleWhileSlow: 500 })
  state.answer = say('max-age=10')
  await get()
  clock.advance(20_000)
  let answer: (() => void) | undefined
  state.answer = async (_request, reply) => {
    await new Promise<void>((resolve) => { answer = resolve })
    return reply.header('cache-control', 'max-age=10').send('new')
  }
  const waiting = get().then((response) => response)
  await eventually(() => answer !== undefined)
  clock.advance(499)
  t.equal(clock.waiting, 1, 'not yet')
  clock.advance(1)
  const slow = await waiting
  t.equal(slow.body, 'says max-age=10')
  t.match(slow.headers['cache-status'], /fwd=stale; detail=stale-while-slow/)
  answer!()
  await eventually(() => instance.cache.stats.stored === 2)
  t.equal((await get()).body, 'new')
})

t.test('stale-while-slow: never against must-revalidate, s-maxage or no-cache; a quick origin is waited for', async (t) => {
  for (const directive of ['max-age=10, must-revalidate', 's-maxage=10', 'max-age=10, no-cache']) {
    const { state, get, clock } = await one(t, { staleWhileSlow: 500 })
    state.answer = say(directive)
    await get()
    clock.advance(20_000)
    state.answer = (_request, reply) => {
      clock.advance(1000)
      return reply.send('new')
    }
    t.equal((await get()).body, 'new', directive)
  }
  const { state, get, clock } = await one(t, { staleWhileSlow: 500 })
  state.answer = say('max-age=10')
  await get()
  clock.advance(20_000)
  state.answer = (_request, reply) => reply.send('new')
  t.equal((await get()).body, 'new')
  t.equal(clock.waiting, 0, 'no timer is left')
})

t.test('stale-while-slow: not for clients who ask for something newer', async (t) => {
  for (const cacheControl of ['no-cache', 'max-age=5']) {
    const { state, get, clock } = await one(t, { staleWhileSlow: 500 })
    state.answer = say('max-age=10')
    await get()
    clock.advance(20_000)
    state.answer = (_request, reply) => {
      clock.advance(1000)
      return reply.send('new')
    }
    t.equal((await get({ 'cache-control': cacheControl })).body, 'new', cacheControl)
  }
})

t.test('stale-while-slow: p95 of what the origin took', async (t) => {
  const { state, get, clock } = await one(t, { staleWhileSlow: 'p95' })
  let took = 100
  state.answer = (_request, reply) => {
    clock.advance(took)
    return reply.header('cache-control', 'max-age=1').send('x')
  }
  for (let i = 0; i < 16; i++) {
    await get()
    clock.advance(10_000)
  }
  took = 0
  let answer: (() => void) | undefined
  state.answer = async (_request, reply) => {
    await new Promise<void>((resolve) => { answer = resolve })
    return reply.send('new')
  }
  const waiting = get().then((response) => response)
  await eventually(() => answer !== undefined)
  clock.advance(99)
  t.equal(clock.waiting, 1)
  clock.advance(2)
  t.match((await waiting).headers['cache-status'], /stale-while-slow/)
  answer!()
})

t.test('request directives', async (t) => {
  const { state, get, clock, instance } = await one(t)
  state.answer = say('max-age=60')
  const status = async (cacheControl: string): Promise<string> => String((await get({ 'cache-control': cacheControl })).headers['cache-status'])
  const missing = await get({ 'cache-control': 'only-if-cached' })
  t.equal(missing.statusCode, 504)
  t.match(missing.headers['cache-status'], /fwd=uri-miss; detail=only-if-cached/)
  t.equal(state.runs, 0)
  await get()
  clock.advance(30_000)
  t.match(await status('only-if-cached'), /hit/)
  t.match(await status('max-age=30'), /hit/)
  t.match(await status('min-fresh=30'), /hit/)
  t.match(await status('min-fresh=31'), /fwd=request/, 'too little is left')
  clock.advance(30_000)
  t.match(await status('max-age=29'), /fwd=request/, 'too old')
  t.match(await status('no-cache'), /fwd=request/)
  t.match(await status('no-store'), /fwd=bypass; detail=no-store/)
  clock.advance(70_000)
  t.match(await status('max-stale=20'), /hit; ttl=-10/)
  t.match(await status('max-stale'), /hit; ttl=-10/)
  t.match(await status('max-stale=9'), /fwd=stale/)
  clock.advance(1)
  t.match(await status('max-age="x", max-stale=nonsense'), /fwd=request/, 'the strictest reading of what is malformed')
  const deaf = await one(t, { requestDirectives: false })
  deaf.state.answer = say('max-age=60')
  await deaf.get()
  t.match((await deaf.get({ 'cache-control': 'no-cache, no-store' })).headers['cache-status'], /hit/, 'by option clients have no say')
  t.ok(instance.cache.stats.stale >= 2)
})
