import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { type CacheStore, LentStore, MemoryStore } from '../src/index.ts'
import { app, eventually, TestClock } from './helpers.ts'
import { entry, put } from './store/helpers.ts'

const headers = { host: 'a.example' }

/** A store of so few bytes that few entries are objects. */
function small (): MemoryStore { return new MemoryStore({ maxBytes: 200_000 }) }

/** Has all else packed. */
function crowd (store: CacheStore): void {
  for (let n = 0; n < 60; n++) for (const one of store.get(`http://b.example/${n}`) as ReturnType<MemoryStore['get']>) for (const _ of [1, 2, 3]) store.touch(one)
}

async function crowded (store: CacheStore = small()): Promise<CacheStore> {
  for (let n = 0; n < 60; n++) await put(store, entry(`http://b.example/${n}`), 'other')
  return store
}

t.test('many responses are purged bit by bit, and none of them is served from the moment on that it is asked for', async (t) => {
  const store = new MemoryStore({ maxBytes: 8_000_000 })
  for (let n = 0; n < 6000; n++) await put(store, entry(`http://a.example/${n % 2 === 0 ? 'even' : 'odd'}/${n}`, { 'cache-control': 'max-age=1000000000', 'cache-groups': '"all"' }), 'old')
  const { app: instance } = await app(t, { store, clock: new TestClock() }, (app) => {
    app.get('/*', (_request, reply) => reply.header('cache-control', 'max-age=60').send('new'))
    app.post('/*', (_request, reply) => reply.header('cache-group-invalidation', '"all"').send('done'))
  })
  const get = async (url: string): Promise<string> => (await instance.inject({ url, headers })).body
  t.equal(await get('/even/5000'), 'old')
  let ended = false
  const purged = instance.cache.purge({ prefixes: ['http://a.example/even/'] }).then((count) => {
    ended = true
    return count
  })
  const answers = ['/even/5998', '/even/5000', '/odd/5999'].map(get)
  t.notOk(ended)
  t.strictSame(await Promise.all(answers), ['new', 'new', 'old'])
  t.equal(await purged, 3000)
  t.equal(store.stats.entries, 3002)
  t.strictSame(await Promise.all(['/even/5998', '/odd/5'].map(get)), ['new', 'old'], 'what came after it stays')
  await instance.inject({ method: 'POST', url: '/changes', headers })
  t.strictSame(await Promise.all(['/odd/5997', '/odd/7', '/even/5998'].map(get)), ['new', 'new', 'new'])
})

for (const lent of [false, true]) {
  t.test(`a response that is being validated is packed for nobody${lent ? ', in a store that is lent' : ''}`, async (t) => {
    const own = await crowded()
    const store = lent ? new LentStore(own) : own
    const clock = new TestClock()
    let answer: (() => void) | undefined
    const { app: instance } = await app(t, { clock, store, staleIfError: 60_000 }, (app) => {
      app.get('/x', (request: FastifyRequest, reply: FastifyReply) => {
        if (request.headers['if-none-match'] === undefined) return reply.headers({ 'cache-control': 'max-age=10', etag: '"a"' }).send('body')
        answer = () => { reply.code(304).headers({ 'cache-control': 'max-age=10', 'x-version': '2' }).send() }
        return reply
      })
    })
    const get = () => instance.inject({ url: '/x', headers })
    t.equal((await get()).body, 'body')
    crowd(store)
    clock.advance(11_000)
    const validated = get()
    await eventually(() => answer !== undefined)
    const [held] = own.get('http://a.example/x') as ReturnType<MemoryStore['get']>
    crowd(store)
    t.equal((own.get('http://a.example/x') as ReturnType<MemoryStore['get']>)[0], held)
    answer!()
    t.equal((await validated).headers['x-version'], '2')
    crowd(store)
    crowd(store)
    const [now] = own.get('http://a.example/x') as ReturnType<MemoryStore['get']>
    t.not(now, held, 'and packed when it was')
    const hit = await get()
    t.match(hit.headers, { 'x-version': '2', 'cache-status': /; hit/ })
    t.equal(hit.body, 'body')
  })
}
