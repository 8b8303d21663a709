import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import t from 'tap'
import { type Entry, type EntryWriter, MemoryStore } from '../src/index.ts'
import { eventually, proxied, raw, TestClock } from './helpers.ts'

/** An origin that answers when told to. */
function held (): { listener: (request: IncomingMessage, response: ServerResponse) => void; waiting: ServerResponse[] } {
  const waiting: ServerResponse[] = []
  return { listener: (_request, response) => { waiting.push(response) }, waiting }
}

t.test('1,000 parallel clients, one origin request', async (t) => {
  const { listener, waiting } = held()
  const { app, requests } = await proxied(t, {}, listener)
  const clients = Array.from({ length: 1000 }, () => app.inject({ url: '/x', headers: { host: 'a.example' } }))
  for (const client of clients) void client.catch(() => {})
  await eventually(() => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=60' })
  waiting[0]!.write('first ')
  setImmediate(() => waiting[0]!.end('second'))
  const answers = await Promise.all(clients)
  t.equal(requests.length, 1)
  t.ok(answers.every(({ body, statusCode }) => statusCode === 200 && body === 'first second'))
  t.equal(answers.filter(({ headers }) => String(headers['cache-status']).includes('collapsed')).length, 999)
  t.match(app.cache.stats, { misses: 1, collapsed: 999, stored: 1 })
})

t.test('waiters get the body as it comes, not when it has ended', async (t) => {
  const { listener, waiting } = held()
  const { proxy } = await proxied(t, {}, listener)
  const clients = [fetch(`${proxy}/x`), fetch(`${proxy}/x`)]
  await eventually(() => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=60' })
  waiting[0]!.write('begun')
  const readers = (await Promise.all(clients)).map(({ body }) => body!.getReader())
  for (const reader of readers) t.equal(Buffer.from((await reader.read()).value!).toString(), 'begun')
  // One who comes now is still in time for all of it.
  const late = (await fetch(`${proxy}/x`)).body!.getReader()
  t.equal(Buffer.from((await late.read()).value!).toString(), 'begun')
  waiting[0]!.end('over')
  for (const reader of [...readers, late]) t.equal(Buffer.from((await reader.read()).value!).toString(), 'over')
})

t.test('a response that cannot be shared lets all waiters go at once, and the next ones do not wait', async (t) => {
  const clock = new TestClock()
  const { listener, waiting } = held()
  const { app, requests } = await proxied(t, { clock }, listener)
  const clients = Array.from({ length: 20 }, () => app.inject('/x').then((response) => response))
  await eventually(() => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'cache-control': 'private' })
  waiting[0]!.end('0')
  // All the others are at the origin together: no convoy.
  await eventually(() => waiting.length === 20)
  for (const [index, response] of waiting.entries()) {
    if (index === 0) continue
    response.writeHead(200, { 'cache-control': 'private' })
    response.end(String(index))
  }
  const bodies = (await Promise.all(clients)).map(({ body }) => body)
  t.equal(new Set(bodies).size, 20, 'each has its own')
  const marked = [app.inject('/x').then((r) => r), app.inject('/x').then((r) => r)]
  await eventually(() => waiting.length === 22)
  for (const response of waiting.slice(20)) response.end('again')
  t.match((await marked[0]!).headers['cache-status'], /detail=hit-for-miss/)
  await marked[1]
  clock.advance(2001)
  const after = [app.inject('/x').then((r) => r), app.inject('/x').then((r) => r)]
  await eventually(() => waiting.length === 23)
  waiting[22]!.writeHead(200, { 'cache-control': 'max-age=60' })
  waiting[22]!.end('shared')
  t.same((await Promise.all(after)).map(({ body }) => body), ['shared', 'shared'], 'the mark has its end')
  t.equal(requests.length, 23)
})

t.test('the leader may leave: the others get everything', async (t) => {
  const { listener, waiting } = held()
  const { proxy, port, requests } = await proxied(t, {}, listener)
  const leader = httpRequest({ host: '127.0.0.1', port, path: '/x' })
  leader.on('error', () => {})
  leader.end()
  await eventually(() => waiting.length === 1)
  const follower = fetch(`${proxy}/x`)
  await new Promise((resolve) => { setTimeout(resolve, 20) })
  leader.destroy()
  await new Promise((resolve) => { setTimeout(resolve, 20) })
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=60' })
  waiting[0]!.end('all of it')
  t.equal(await (await follower).text(), 'all of it')
  t.equal(requests.length, 1)
})

t.test('when all have left, what cannot be stored is not fetched any further', async (t) => {
  const { listener, waiting } = held()
  const { port } = await proxied(t, {}, listener)
  const leader = httpRequest({ host: '127.0.0.1', port, path: '/x' })
  leader.on('error', () => {})
  leader.end()
  await eventually(() => waiting.length === 1)
  const before = once(waiting[0]!, 'close')
  leader.destroy()
  await before
  t.pass('nobody had an answer yet')
  const streaming = httpRequest({ port, path: '/y' })
  streaming.on('error', () => {})
  streaming.on('response', (response) => { response.on('error', () => {}).once('data', () => { streaming.destroy() }) })
  streaming.end()
  await eventually(() => waiting.length === 2)
  waiting[1]!.writeHead(200, { 'cache-control': 'no-store' })
  waiting[1]!.write('without end')
  await once(waiting[1]!, 'close')
  t.pass('in the middle of a body')
})

t.test('what is being stored is stored, although its client left', async (t) => {
  const { listener, waiting } = held()
  const { app, port } = await proxied(t, {}, listener)
  const leader = httpRequest({ port, path: '/x', headers: { host: 'a.example' } })
  leader.on('error', () => {})
  leader.on('response', (response) => { response.on('error', () => {}).once('data', () => { leader.destroy() }) })
  leader.end()
  await eventually(() => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=60' })
  waiting[0]!.write('half ')
  await once(leader, 'close')
  waiting[0]!.end('whole')
  await eventually(() => app.cache.stats.stored === 1)
  t.equal((await app.inject({ url: '/x', headers: { host: 'a.example' } })).body, 'half whole')
})

t.test('a truncated body is passed on as such and never stored', async (t) => {
  const { listener, waiting } = held()
  const { app, port } = await proxied(t, {}, listener)
  for (const head of [{ 'content-length': '100' }, {}]) {
    const answer = raw(port, 'GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n')
    const before = waiting.length
    await eventually(() => waiting.length === before + 1)
    waiting[before]!.writeHead(200, { 'cache-control': 'max-age=60', ...head })
    waiting[before]!.write('half')
    await new Promise((resolve) => { setTimeout(resolve, 10) })
    waiting[before]!.destroy()
    const text = await answer
    t.match(text, /half/)
    t.notMatch(text, /\r\n0\r\n\r\n$/, 'no proper end')
  }
  t.match(app.cache.stats, { stored: 0, entries: 0 })
})

t.test('waiters get the fields that are stored, none that are for the one who asked', async (t) => {
  const shared = { 'cache-control': 'public, max-age=60', age: '3', 'content-length': '2' }
  for (const [options, own] of [
    [{ setCookie: 'strip' }, { 'set-cookie': 'id=leader' }], [{}, { 'x-user': 'leader', 'cache-control': 'public, max-age=60, private="x-user"' }],
    [{}, { 'x-user': 'leader', 'cache-control': 'public, max-age=60, no-cache="x-user"' }],
    [{}, { 'set-cookie': 'id=leader', 'cache-control': 'max-age=60, private="set-cookie"' }]
  ] as const) {
    const { listener, waiting } = held()
    const { app } = await proxied(t, options, listener)
    const clients = [app.inject('/x').then((r) => r), app.inject('/x').then((r) => r)]
    await eventually(() => waiting.length === 1)
    waiting[0]!.writeHead(200, { ...shared, ...own }).end('ok')
    const [leader, waiter] = await Promise.all(clients)
    const name = Object.keys(own)[0]!
    t.match(String(leader!.headers[name]), /leader/)
    t.equal(waiter!.headers[name], undefined, name)
    t.match(waiter!.headers['cache-status'], /collapsed/)
    t.match(waiter!.headers, { age: '3', 'content-length': '2' })
    t.equal(waiter!.body, 'ok')
  }
})

t.test('that one client\'s credentials or range get no shared answer keeps nobody else from one', async (t) => {
  const { app, requests } = await proxied(t, {}, (request, response) => {
    if (request.headers.range !== undefined) return response.writeHead(416, { 'content-range': 'bytes */4' }).end()
    response.writeHead(200, { 'cache-control': 'max-age=60' }).end('body')
  })
  const status = async (url: string, headers: Record<string, string> = {}): Promise<string> => String((await app.inject({ url, headers })).headers['cache-status'])
  for (const [url, own, why] of [['/a', { authorization: 'Bearer x' }, 'authorization'], ['/b', { range: 'bytes=9-' }, 'status']] as const) {
    t.match(await status(url, own), new RegExp(`fwd=uri-miss; detail=${why}`))
    t.match(await status(url, own), /detail=hit-for-miss/, 'the same again does not wait')
    t.match(await status(url), /fwd=uri-miss; stored/, url)
    t.match(await status(url), /; hit/, url)
  }
  t.equal(requests.length, 6)
})

t.test('what may not be used without validation is for the one who asked: waiters go at once, and later ones ask for themselves', async (t) => {
  for (const cacheControl of ['no-cache', 'max-age=0', 'max-age=5']) {
    const { listener, waiting } = held()
    const { app } = await proxied(t, {}, listener)
    // An Age takes the last one's lifetime.
    const head = { 'cache-control': cacheControl, etag: '"a"', age: '5' }
    const clients = [1, 2, 3].map(() => app.inject('/x').then((r) => r))
    await eventually(() => waiting.length === 1)
    waiting[0]!.writeHead(200, head).write('first')
    await eventually(() => waiting.length === 3)
    // It is still coming, and is for nobody who comes now either.
    const late = app.inject('/x').then((r) => r)
    await eventually(() => waiting.length === 4)
    waiting[0]!.end()
    for (const [i, response] of waiting.slice(1).entries()) response.writeHead(200, head).end(`own ${i}`)
    const answers = await Promise.all([...clients, late])
    t.equal(new Set(answers.map(({ body }) => body)).size, 4, cacheControl)
    t.equal(answers.filter(({ headers }) => String(headers['cache-status']).includes('detail=no-reuse')).length, 2)
    if (cacheControl === 'max-age=5') continue
    const again = [1, 2, 3].map(() => app.inject('/x').then((r) => r))
    await eventually(() => waiting.length === 7)
    for (const response of waiting.slice(4)) {
      t.equal(response.req.headers['if-none-match'], '"a"', 'each with the validator of what is stored')
      response.writeHead(304, { etag: '"a"' }).end()
    }
    for (const { statusCode, headers } of await Promise.all(again)) {
      t.equal(statusCode, 200)
      t.match(headers['cache-status'], /fwd=stale; fwd-status=304/)
    }
  }
})

t.test('a 304 that takes the reuse back lets waiters go, too', async (t) => {
  const clock = new TestClock()
  const { listener, waiting } = held()
  const { app } = await proxied(t, { clock }, listener)
  const first = app.inject('/x').then((r) => r)
  await eventually(() => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=10', etag: '"a"' }).end('body')
  await first
  clock.advance(11_000)
  const clients = [1, 2].map(() => app.inject('/x').then((r) => r))
  await eventually(() => waiting.length === 2)
  waiting[1]!.writeHead(304, { 'cache-control': 'no-cache', etag: '"a"' }).end()
  await eventually(() => waiting.length === 3)
  waiting[2]!.writeHead(200, { 'cache-control': 'no-cache', etag: '"b"' }).end('own')
  t.same((await Promise.all(clients)).map(({ body }) => body), ['body', 'own'])
})

t.test('an origin that takes longer than its response is fresh is asked once all the same', async (t) => {
  const clock = new TestClock()
  const { listener, waiting } = held()
  const { app } = await proxied(t, { clock }, listener)
  const clients = [1, 2, 3].map(() => app.inject('/x').then((r) => r))
  await eventually(() => waiting.length === 1)
  clock.advance(2000)
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=1' }).end('slow')
  t.same((await Promise.all(clients)).map(({ body }) => body), ['slow', 'slow', 'slow'])
  t.equal(waiting.length, 1)
})

t.test('a first response of many variants is shared by those whom it suits while it comes', async (t) => {
  const { listener, waiting } = held()
  const { app } = await proxied(t, {}, listener)
  const get = (language: string) => app.inject({ url: '/x', headers: { 'accept-language': language } }).then((r) => r)
  const first = get('de')
  await eventually(() => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'cache-control': 'max-age=60', vary: 'accept-language' }).write('viel ')
  const other = get('en')
  // It is at the origin, so the head of the first one is here.
  await eventually(() => waiting.length === 2)
  const late = get('de')
  await eventually(() => app.cache.stats.collapsed === 1)
  waiting[0]!.end('Text')
  waiting[1]!.writeHead(200, { 'cache-control': 'max-age=60', vary: 'accept-language' }).end('text')
  t.same((await Promise.all([first, other, late])).map(({ body }) => body), ['viel Text', 'text', 'viel Text'])
  t.equal(waiting.length, 2)
})

/** A store that puts away what it has when it is told to. */
class Tardy extends MemoryStore {
  readonly held: (() => void)[] = []

  override create (entry: Entry, size: number): EntryWriter | undefined {
    const writer = super.create(entry, size)
    if (writer === undefined) return undefined
    const commit = writer.commit.bind(writer)
    writer.commit = (replaces) => new Promise((resolve) => { this.held.push(() => { resolve(commit(replaces) as boolean) }) })
    return writer
  }
}

t.test('what the store is still putting away is waited for, and used as what is stored', async (t) => {
  const clock = new TestClock()
  const store = new Tardy()
  const fields: Record<string, string> = { 'cache-control': 'max-age=60', vary: 'x-kind' }
  const { app, requests } = await proxied(t, { clock, store }, (request, response) => {
    if (request.headers['if-none-match'] !== undefined) response.writeHead(304, fields).end()
    else response.writeHead(200, { ...fields, 'content-length': '4' }).end('body')
  })
  const get = (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers }).then((r) => r)
  await get('/x')
  const [hit, part] = [get('/x'), get('/x', { range: 'bytes=1-2' })]
  await eventually(() => clock.waiting === 2)
  store.held[0]!()
  t.match((await hit).headers['cache-status'], /; hit/)
  t.match({ body: (await part).body, status: (await part).headers['cache-status'] }, { body: 'od', status: /; hit/ })
  Object.assign(fields, { 'cache-control': 'no-cache', etag: '"a"' })
  await get('/y')
  const validated = get('/y')
  await eventually(() => clock.waiting === 1)
  store.held[1]!()
  t.match((await validated).headers['cache-status'], /fwd=stale; fwd-status=304/)
  t.equal(requests.length, 3)
  await get('/z')
  const tired = get('/z')
  await eventually(() => clock.waiting === 1)
  clock.advance(5000)
  t.match((await tired).headers['cache-status'], /fwd=uri-miss/, 'but no longer than for another\'s response')
  t.equal(clock.waiting, 0)
})

t.test('waiting has an end', async (t) => {
  const clock = new TestClock()
  const { listener, waiting } = held()
  const { app } = await proxied(t, { clock, collapse: 3000 }, listener)
  const leader = app.inject('/x').then((r) => r)
  await eventually(() => waiting.length === 1)
  const follower = app.inject('/x').then((r) => r)
  await eventually(() => clock.waiting > 0)
  clock.advance(3001)
  await eventually(() => waiting.length === 2)
  waiting[1]!.end('own')
  t.equal((await follower).body, 'own')
  t.match((await follower).headers['cache-status'], /detail=collapse-timeout/)
  waiting[0]!.end('slow')
  t.equal((await leader).body, 'slow')
})

t.test('variants are fetched side by side, each once', async (t) => {
  const { listener, waiting } = held()
  const { app, requests } = await proxied(t, {}, listener)
  const languages = ['de', 'en', 'fr', 'nl']
  const ask = (): Promise<{ body: string }>[] => languages.flatMap((language) => [1, 2, 3].map(() =>
    app.inject({ url: '/x', headers: { 'accept-language': language } }).then((r) => r)))
  const clients = ask()
  await eventually(() => waiting.length === 1)
  const answer = (response: ServerResponse): void => {
    response.writeHead(200, { 'cache-control': 'max-age=60', vary: 'accept-language' })
    response.end(String(response.req.headers['accept-language']))
  }
  answer(waiting[0]!)
  // The first answer tells what it varies by; the three others then go together.
  await eventually(() => waiting.length === 4)
  for (const response of waiting.slice(1)) answer(response)
  t.same((await Promise.all(clients)).map(({ body }) => body), languages.flatMap((language) => [language, language, language]))
  t.same((await Promise.all(ask())).map(({ body }) => body), languages.flatMap((language) => [language, language, language]))
  t.equal(requests.length, 4)
})

t.test('collapse: false: what was fetched before a purge or an unsafe request is not used after it', async (t) => {
  const { listener, waiting } = held()
  const { app } = await proxied(t, { collapse: false }, listener)
  const headers = { host: 'a.example' }
  for (const change of [() => app.cache.purge({ urls: ['http://a.example/x'] }), () => app.inject({ method: 'DELETE', url: '/x', headers })]) {
    const before = waiting.length
    const early = app.inject({ url: '/x', headers }).then((r) => r)
    await eventually(() => waiting.length === before + 1)
    const changed = change()
    if (before > 0) await eventually(() => waiting.length === before + 2)
    waiting[before + 1]?.end()
    await changed
    waiting[before]!.writeHead(200, { 'cache-control': 'max-age=60' }).end('old')
    t.equal((await early).body, 'old')
    t.equal(app.cache.stats.entries, 0)
  }
})

t.test('collapse: false', async (t) => {
  const { listener, waiting } = held()
  const { app } = await proxied(t, { collapse: false }, listener)
  const clients = [app.inject('/x').then((r) => r), app.inject('/x').then((r) => r)]
  await eventually(() => waiting.length === 2)
  for (const response of waiting) {
    response.writeHead(200, { 'cache-control': 'max-age=60' })
    response.end('x')
  }
  await Promise.all(clients)
  t.equal(app.cache.stats.entries, 1)
})
