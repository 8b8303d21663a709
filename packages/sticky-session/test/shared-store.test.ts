import { once } from 'node:events'
import t from 'tap'
import { MemoryStore, type StickStore } from '../src/index.ts'
import { FakeClock, origins, results, site } from './helpers.ts'

const ask = async (url: string, user = 'ada'): Promise<string> => (await fetch(url, { headers: { 'x-user': user } })).text()

/** A store that answers in a later turn of the event loop, as one behind a network does. */
function later (memory: MemoryStore): StickStore {
  const turn = async (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })
  return {
    get: async (key) => turn().then(() => memory.get(key)),
    set: async (key, entry, ttl) => turn().then(() => { memory.set(key, entry, ttl) }),
    touch: async (key, ttl) => turn().then(() => memory.touch(key, ttl)),
    delete: async (key) => turn().then(() => memory.delete(key)),
    expire: async (limit) => turn().then(() => memory.expire(limit))
  }
}

t.test('two proxies with one store send a client to the same upstream', async (t) => {
  const list = await origins(t, 'abc')
  const memory = new MemoryStore(1000, new FakeClock())
  const proxies = await Promise.all([1, 2].map(() => site(t, list, { by: 'header', name: 'x-user', table: { store: later(memory) } })))
  for (const [i, user] of ['ada', 'bob', 'eve'].entries()) {
    const home = await ask(proxies[0]!.url, user)
    // What was noted is written behind the answer's back.
    while (memory.size <= i) await new Promise((resolve) => { setImmediate(resolve) })
    for (let i = 0; i < 4; i++) t.equal(await ask(proxies[i % 2]!.url, user), home)
  }
  t.equal(memory.size, 3)
})

t.test('keys in the store tell nothing of the client and keep pools and kinds apart', async (t) => {
  const keys = new Set<string>()
  const memory = new MemoryStore(1000, new FakeClock())
  const store: StickStore = Object.assign(later(memory), { get: (key: string) => { keys.add(key) } })
  const list = await origins(t, 'a')
  const one = await site(t, list, { by: 'header', name: 'x-user', table: { store } })
  const two = await site(t, list, { by: 'query', name: 'x-user', table: { store } })
  await ask(one.url, 'ada')
  await fetch(`${two.url}/?x-user=ada`)
  t.equal(keys.size, 2)
  for (const key of keys) t.match(key, /^[\w-]{22}$/)
})

t.test('a store that fails, throws or hangs costs the affinity, not the request', async (t) => {
  const broken: [string, Partial<StickStore>][] = [
    ['throws', { get: () => { throw new Error('broken') } }],
    ['rejects', { get: async () => Promise.reject(new Error('broken')) }],
    ['cannot write', { set: async () => Promise.reject(new Error('full')), touch: () => { throw new Error('full') } }]
  ]
  for (const [name, change] of broken) {
    const lines: string[] = []
    const { url, app } = await site(t, await origins(t, 'a'), {
      by: 'header', name: 'x-user', table: { store: { ...later(new MemoryStore(10, new FakeClock())), ...change } }
    }, {}, { server: { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } } })
    const seen = results(t, () => app)
    for (let i = 0; i < 3; i++) t.equal(await ask(url), 'a', name)
    t.ok(seen.includes('failed'), name)
    t.equal(lines.length, 1, `${name}: one line, not one for each request`)
  }
  const clock = new FakeClock()
  let asked: () => void = () => {}
  const { url, app } = await site(t, await origins(t, 'a'), {
    by: 'header', name: 'x-user', clock, table: { timeout: 100, store: { ...later(new MemoryStore(10, clock)), get: () => new Promise(() => { asked() }) } }
  })
  const seen = results(t, () => app)
  const reached = new Promise<void>((resolve) => { asked = resolve })
  const answer = ask(url)
  await reached
  clock.advance(99)
  t.same(seen, [])
  clock.advance(1)
  t.equal(await answer, 'a')
  t.same(seen, ['failed', 'new'])
})

t.test('expired entries are swept out, and closing ends the sweeping', async (t) => {
  const clock = new FakeClock()
  const store = new MemoryStore(1000, clock)
  const { url, app } = await site(t, await origins(t, 'a'), { by: 'header', name: 'x-user', clock, idleTimeout: 5000, table: { store } })
  for (let i = 0; i < 10; i++) await ask(url, `user-${i}`)
  t.equal(store.size, 10)
  clock.advance(7000)
  t.equal(store.size, 0)
  const closed = once(app.server, 'close')
  await app.close()
  await closed
  store.set('k', { upstreamId: 'a', boundAt: 0 }, 10)
  clock.advance(5000)
  t.equal(store.size, 1)
})
