import { createHook } from 'node:async_hooks'
import fc from 'fast-check'
import t from 'tap'
import { Background } from '../src/background.ts'
import { type EncodedMessage, type LoadMessage, type SkippedMessage, channels } from '../src/index.ts'
import { LoadGuard, type LoadState } from '../src/load.ts'
import { Memo, keyOf } from '../src/memo.ts'
import { FakeClock, decoded, get, listen, text } from './helpers.ts'

type Test = { teardown (action: () => unknown): void }
type Listener = (message: unknown) => void

/** Messages of a channel while the test runs. */
function heard<T> (t: Test, channel: { subscribe (listener: Listener): void; unsubscribe (listener: Listener): void }): T[] {
  const messages: T[] = []
  const listener: Listener = (message) => { messages.push(message as T) }
  channel.subscribe(listener)
  t.teardown(() => { channel.unsubscribe(listener) })
  return messages
}

t.test('a body is kept from its second time on, and its result served from then on', async (t) => {
  let body = text(5000)
  const messages = heard<EncodedMessage>(t, channels.encoded)
  const { url } = await listen(t, {}, (app) => { app.get('/', (_request, reply) => reply.type('text/html').send(body)) })
  const paths = async (times: number): Promise<string[]> => {
    messages.length = 0
    for (let i = 0; i < times; i++) t.ok(decoded(await get(url, { 'accept-encoding': 'gzip' })).equals(Buffer.from(body)))
    return messages.map(({ path }) => path)
  }
  t.same(await paths(4), ['one-shot', 'one-shot', 'memo', 'memo'])
  body = text(5000, 2)
  t.same(await paths(1), ['one-shot'], 'another body')
  body = text(100_000)
  t.same(await paths(3), ['thread-pool', 'thread-pool', 'memo'], 'longer than what is done in the thread itself')
  t.match(messages[0], { encoding: 'gzip', bytesIn: 100_000, bytesOut: Number, duration: Number })
})

t.test('the memo is no oracle and no leak: whole bodies are compared, and the bytes are bounded', async (t) => {
  const memo = new Memo(100_000)
  const body = Buffer.from(text(2000))
  const key = keyOf(body)
  memo.offer(body, key, 'gzip', Buffer.from('one'))
  t.equal(memo.find(body, key), undefined)
  memo.offer(body, key, 'gzip', Buffer.from('one'))
  t.equal(memo.find(body, key)?.encoded.get('gzip')?.body.toString(), 'one')
  t.equal(memo.find(Buffer.from(text(2000, 2)), key), undefined, 'the same key, but other bytes')
  const again = Buffer.from(body)
  body.fill(0)
  t.ok(memo.find(again, key), 'the app may write into its buffer')
  memo.offer(again, key, 'br', Buffer.alloc(500))
  t.same([...memo.find(again, key)!.encoded.keys()], ['gzip', 'br'])
  fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 0, max: 20_000 })), { maxLength: 50 }), (bodies) => {
    for (const [seed, size] of bodies) {
      const one = Buffer.from(text(size, seed))
      for (let i = 0; i < 2; i++) memo.offer(one, keyOf(one), 'gzip', Buffer.alloc(size))
      const found = memo.find(one, keyOf(one))
      if (found !== undefined) t.ok(found.body.equals(one))
      t.ok(memo.bytes <= 100_000)
    }
  }), { numRuns: 20 })
})

t.test('what is served often is made smaller in the background', async (t) => {
  const body = text(30_000)
  const statics = heard<{ encoding: string; bytesOut: number }>(t, channels.static)
  const { url } = await listen(t, { memo: { upgradeAfter: 3 }, backgroundShare: 1, load: false }, (app) => {
    app.get('/', (_request, reply) => reply.type('text/html').send(body))
  })
  for (const encoding of ['br', 'gzip']) {
    const before = await get(url, { 'accept-encoding': encoding })
    let after = before
    while (after.body.length === before.body.length) after = await get(url, { 'accept-encoding': encoding })
    t.ok(after.body.length < before.body.length, `${encoding}: ${before.body.length}, then ${after.body.length}`)
    t.ok(decoded(after).equals(Buffer.from(body)))
  }
  t.same(statics.map(({ encoding }) => encoding), ['br', 'gzip'], 'once each')
})

t.test('background work uses its share, waits while the machine is busy, and has a bound', async (t) => {
  const clock = new FakeClock()
  let busy = true
  const background = new Background(0.25, clock, () => busy)
  const ran: number[] = []
  const job = (done: () => void): void => {
    clock.time += 100
    ran.push(clock.time)
    done()
  }
  let taken = 0
  while (background.add(job)) taken++
  t.equal(taken, 256)
  clock.advance(1000)
  t.same(ran, [], 'busy')
  busy = false
  clock.advance(1000)
  t.equal(ran.length, 1)
  for (let i = 0; i < 40; i++) clock.advance(100)
  const [first, last] = [ran[0]!, ran.at(-1)!]
  t.ok((ran.length - 1) * 100 / (last - first) <= 0.2501, `${ran.length} jobs of 100 ms in ${last - first} ms`)
  t.ok(ran.length > 8)
  background.close()
  t.notOk(background.add(job))
  t.notOk(new Background(0, clock, () => false).add(job), 'a share of nothing')
})

t.test('requests for the same content at the same time share one run', async (t) => {
  const { app } = await listen(t, { memo: false, load: false, backgroundShare: 1 }, () => {})
  const body = Buffer.from(text(300_000))
  let runs = 0
  const hook = createHook({ init: (_id, type) => { if (type === 'ZLIB') runs++ } }).enable()
  t.teardown(() => hook.disable())
  const results = await Promise.all(Array.from({ length: 20 }, (_, i) => app.compress.encode(i % 2 === 0 ? body : Buffer.from(body), 'gzip')))
  t.equal(runs, 1)
  for (const result of results) t.equal(result, results[0])
  await Promise.all([app.compress.encode(body, 'gzip', { static: true }), app.compress.encode(body, 'gzip', { static: true }), app.compress.encode(body, 'gzip')])
  t.equal(runs, 3, 'the static level is another result')
})

t.test('load: the level falls, then nothing is encoded; both come back slowly', async (t) => {
  const clock = new FakeClock()
  let utilisation = 0
  const total = { idle: 0, active: 0, utilization: 0 }
  const messages = heard<LoadMessage>(t, channels.load)
  const guard = new LoadGuard({}, clock, () => ({ ...total }))
  const window = (value: number): LoadState => {
    utilisation = value
    total.idle += 500 * (1 - utilisation)
    total.active += 500 * utilisation
    clock.advance(500)
    return guard.state
  }
  t.same([0.5, 0.89, 0.9, 0.97, 0.99, 1].map(window), ['normal', 'normal', 'lower-level', 'lower-level', 'skip', 'skip'])
  t.same([0.9, 0.9, 0.9, 0.87, 0.87, 0.87].map(window), ['skip', 'skip', 'skip', 'skip', 'skip', 'lower-level'], 'well below, three times')
  t.same([0.85, 0.5, 0.5, 0.85, 0.5, 0.5, 0.5].map(window), ['lower-level', 'lower-level', 'lower-level', 'lower-level', 'lower-level', 'lower-level', 'normal'],
    'in a row')
  t.same([1, 1].map(window), ['lower-level', 'skip'], 'one step a window')
  t.same(messages.map(({ before, state }) => `${before} ${state}`), ['normal lower-level', 'lower-level skip', 'skip lower-level', 'lower-level normal',
    'normal lower-level', 'lower-level skip'])
  const queued = new LoadGuard({ queue: 4 }, clock, () => ({ ...total }))
  for (const [queue, state] of [[3, 'normal'], [4, 'lower-level'], [15, 'lower-level'], [16, 'skip'], [3, 'normal']] as const) {
    queued.queue = queue
    t.equal(queued.state, state, `queue of ${queue}`)
  }
})

t.test('under load only what is kept is encoded; who refuses identity still gets a coding', async (t) => {
  const skipped = heard<SkippedMessage>(t, channels.skipped)
  const clock = new FakeClock()
  // Every window is full.
  const { url } = await listen(t, { clock, load: { lowerAt: 0, skipAt: 0 } }, (app) => {
    app.get('/:seed', (request, reply) => reply.type('text/html').send(text(5000, Number((request.params as { seed: string }).seed))))
  })
  const coding = async (path: string, field = 'gzip'): Promise<string | undefined> => (await get(`${url}/${path}`, { 'accept-encoding': field })).headers['content-encoding']
  for (let i = 0; i < 3; i++) t.equal(await coding('1'), 'gzip')
  clock.advance(500)
  t.equal(await coding('2'), 'gzip', 'least level')
  clock.advance(500)
  const answer = await get(`${url}/3`, { 'accept-encoding': 'gzip' })
  t.equal(answer.headers['content-encoding'], undefined)
  t.equal(answer.headers.vary, 'Accept-Encoding')
  t.equal(await coding('1'), 'gzip', 'from the memo')
  t.equal(await coding('4', 'gzip, identity;q=0'), 'gzip')
  t.same(skipped, [{ reason: 'load', encoding: 'gzip' }])
})
