import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { channels, type CacheOptions, type Purge } from '../src/index.ts'
import { Bus, type BusMember } from '../../workers/test/bus.ts'
import { app, eventually, type Test, TestClock } from './helpers.ts'

const root = mkdtempSync(join(tmpdir(), 'headgate-shared-'))
t.teardown(() => { rmSync(root, { recursive: true, force: true }) })
let folders = 0
const folder = (): string => join(root, String(folders++))
const headers = { host: 'a.example' }

interface Site {
  readonly bus: Bus
  readonly apps: readonly FastifyInstance[]
  /** Times that the handler ran. */
  readonly runs: { count: number }
  /** What each app says of a path, of what it has stored alone: its Cache-Status in short. */
  stored (path: string): Promise<string[]>
}

/** So many processes' worth of apps that share what they tell each other, and a disk if there is one. */
async function site (t: Test, count: number, options: CacheOptions = {}, clock: TestClock = new TestClock()): Promise<Site> {
  const bus = new Bus()
  const runs = { count: 0 }
  const apps: FastifyInstance[] = []
  for (let i = 0; i < count; i++) apps.push((await app(t, { clock, ...options, sharing: bus.join() }, (app) => routes(app, runs))).app)
  const stored = (path: string): Promise<string[]> => Promise.all(apps.map(async (one) => {
    const { headers: fields } = await one.inject({ url: path, headers: { ...headers, 'cache-control': 'only-if-cached' } })
    return /; (hit|fwd=[a-z-]+)/.exec(String(fields['cache-status']))![1]!
  }))
  return { bus, apps, runs, stored }
}

function routes (app: FastifyInstance, runs: { count: number }): void {
  app.get('/*', (request, reply) => {
    runs.count++
    const { 'if-none-match': match } = request.headers
    if (request.url.startsWith('/ruled')) reply.header('no-vary-search', 'params=("from")')
    reply.headers({ 'cache-control': 'max-age=60', 'cache-tag': `all, path-${request.url.slice(1)}`, 'cache-groups': '"news"', etag: `"${request.url}"` })
    return match === undefined ? reply.send(`${request.url} of run ${runs.count}`) : reply.code(304).send()
  })
  app.post('/*', (_request, reply) => reply.header('cache-group-invalidation', '"other"').send('changed'))
}

for (const [what, purge] of Object.entries({
  url: { urls: ['http://a.example/news/1'] },
  prefix: { prefixes: ['http://a.example/news/'] },
  tag: { tags: ['path-news/1'] },
  everything: { all: true as const }
})) {
  t.test(`a purge by ${what} holds in all processes when it resolves, and counts what all had`, async (t) => {
    const { apps, stored } = await site(t, 3)
    for (const one of apps) for (const url of ['/news/1', '/other']) await one.inject({ url, headers })
    t.same(await stored('/news/1'), ['hit', 'hit', 'hit'])
    t.equal(await apps[1]!.cache.purge(purge), what === 'everything' ? 6 : 3)
    t.same(await stored('/news/1'), ['fwd=uri-miss', 'fwd=uri-miss', 'fwd=uri-miss'])
    const rest = what === 'everything' ? 'fwd=uri-miss' : 'hit'
    t.same(await stored('/other'), [rest, rest, rest])
  })
}

for (const [kind, shared] of [['memory', false], ['a shared disk', true]] as const) {
  t.test(`a purge by one who does not know which parameters matter concerns what others stored without them: ${kind}`, async (t) => {
    const { apps, stored } = await site(t, 3, shared ? { disk: { path: folder() } } : {})
    await apps[0]!.inject({ url: '/ruled?id=1&from=x', headers })
    if (shared) await eventually(() => apps.every((one) => one.cache.stats.entries === 1))
    t.equal((await stored('/ruled?id=1'))[0], 'hit')
    t.equal((await stored('/ruled?id=1'))[1], shared ? 'hit' : 'fwd=uri-miss')
    await apps[1]!.cache.purge({ urls: ['http://a.example/ruled?id=1&from=y'] })
    t.same(await stored('/ruled?id=1'), ['fwd=uri-miss', 'fwd=uri-miss', 'fwd=uri-miss'])
    await apps[0]!.inject({ url: '/ruled?id=1&from=x', headers })
    if (shared) await eventually(() => apps.every((one) => one.cache.stats.entries === 1))
    await apps[2]!.inject({ method: 'POST', url: '/ruled?id=1&from=z', headers })
    while ((await stored('/ruled?id=1')).includes('hit')) await new Promise((resolve) => { setTimeout(resolve, 2) })
  })
}

t.test('a soft purge makes stale everywhere', async (t) => {
  const clock = new TestClock()
  const { apps, stored, runs } = await site(t, 3, {}, clock)
  for (const one of apps) await one.inject({ url: '/a', headers })
  clock.advance(1000)
  t.equal(await apps[0]!.cache.purge({ tags: ['all'], soft: true }), 3)
  t.same(await stored('/a'), ['fwd=stale', 'fwd=stale', 'fwd=stale'])
  const { headers: fields } = await apps[2]!.inject({ url: '/a', headers })
  t.match(fields['cache-status'], /fwd=stale/)
  t.equal(runs.count, 4, 'validated')
})

t.test('what is being fetched elsewhere when a purge comes is not stored', async (t) => {
  const bus = new Bus()
  let go: () => void = () => {}
  const gate = new Promise<void>((resolve) => { go = resolve })
  const slow = async (app: FastifyInstance): Promise<void> => {
    app.get('/slow', async (_request, reply) => {
      await gate
      return reply.header('cache-control', 'max-age=60').send('old')
    })
  }
  const [a, b] = [await app(t, { sharing: bus.join() }, slow), await app(t, { sharing: bus.join() }, slow)]
  const answer = a.app.inject({ url: '/slow', headers })
  await eventually(() => a.app.cache.stats.misses === 0 && a.app.server.listening)
  await b.app.cache.purge({ urls: ['http://a.example/slow'] })
  go()
  t.equal((await answer).body, 'old')
  const { headers: fields } = await a.app.inject({ url: '/slow', headers: { ...headers, 'cache-control': 'only-if-cached' } })
  t.match(fields['cache-status'], /uri-miss/)
})

t.test('an unsafe request invalidates everywhere; those of one turn are one message', async (t) => {
  const { apps, stored, bus } = await site(t, 3)
  for (const one of apps) for (const url of ['/a', '/b']) await one.inject({ url, headers })
  await Promise.all([apps[0]!.inject({ method: 'POST', url: '/a', headers }), apps[0]!.inject({ method: 'POST', url: '/b', headers })])
  await eventually(() => (bus.sent.get('cache.invalidate') ?? 0) >= 2)
  await new Promise((resolve) => { setImmediate(() => { setImmediate(resolve) }) })
  t.same(await stored('/a'), ['fwd=stale', 'fwd=stale', 'fwd=stale'])
  t.same(await stored('/b'), ['fwd=stale', 'fwd=stale', 'fwd=stale'])
  t.ok(bus.sent.get('cache.invalidate')! <= 4, 'not one for each request, and group, and process')
})

t.test('a process that hangs: the purge says that it is not confirmed, and holds there when it goes on', async (t) => {
  const { apps, stored, bus } = await site(t, 3)
  for (const one of apps) await one.inject({ url: '/a', headers })
  bus.members[2]!.hangs = true
  await t.rejects(apps[0]!.cache.purge({ all: true }), { code: 'HG_CACHE_PURGE_UNCONFIRMED', statusCode: 503, message: /1 of the workers/ })
  t.same(await stored('/a'), ['fwd=uri-miss', 'fwd=uri-miss', 'hit'])
  bus.members[2]!.goOn()
  t.same(await stored('/a'), ['fwd=uri-miss', 'fwd=uri-miss', 'fwd=uri-miss'])
})

t.test('two apps of one process, as while a configuration takes another\'s place, both hear of purges; one that closes leaves the other its ear', async (t) => {
  const bus = new Bus()
  const sharing = bus.join()
  const far = await app(t, { sharing: bus.join() }, (app) => { routes(app, { count: 0 }) })
  const [old, next] = [await app(t, { sharing }, (app) => { routes(app, { count: 0 }) }), await app(t, { sharing }, (app) => { routes(app, { count: 0 }) })]
  const fill = async (): Promise<void> => { for (const { app } of [far, old, next]) await app.inject({ url: '/a', headers }) }
  await fill()
  t.equal(await far.app.cache.purge({ all: true }), 3)
  await fill()
  t.equal(await old.app.cache.purge({ all: true }), 3, 'in its own process too')
  await fill()
  await next.app.close()
  t.equal(await far.app.cache.purge({ all: true }), 2)
})

t.test('caches of different names have nothing to do with each other', async (t) => {
  const bus = new Bus()
  const [a, b] = [
    await app(t, { sharing: bus.join(), name: 'one' }, (app) => { routes(app, { count: 0 }) }),
    await app(t, { sharing: bus.join(), name: 'two' }, (app) => { routes(app, { count: 0 }) })
  ]
  for (const { app } of [a, b]) await app.inject({ url: '/a', headers })
  t.equal(await a.app.cache.purge({ all: true }), 1)
  t.equal(b.app.cache.stats.entries, 1)
})

t.test('a disk that processes share: what one stores the others answer with, changes and removals too', async (t) => {
  const clock = new TestClock()
  const path = folder()
  const { apps, stored, runs } = await site(t, 3, { disk: { path } }, clock)
  const everywhere = async (url: string, wanted: string): Promise<void> => {
    // Injected requests alone would never let the event loop come to the files.
    while ((await stored(url)).some((found) => found !== wanted)) await new Promise((resolve) => { setImmediate(resolve) })
  }
  t.equal((await apps[0]!.inject({ url: '/a', headers })).body, '/a of run 1')
  await everywhere('/a', 'hit')
  for (const one of apps) t.equal((await one.inject({ url: '/a', headers })).body, '/a of run 1')
  t.equal(runs.count, 1)
  clock.advance(61_000)
  t.same(await stored('/a'), ['fwd=stale', 'fwd=stale', 'fwd=stale'])
  await apps[1]!.inject({ url: '/a', headers })
  await everywhere('/a', 'hit')
  t.equal(runs.count, 2, 'one validates for all')
  t.equal(await apps[2]!.cache.purge({ urls: ['http://a.example/a'] }), 1)
  t.same(await stored('/a'), ['fwd=uri-miss', 'fwd=uri-miss', 'fwd=uri-miss'])
  t.same(readdirSync(path).filter((name) => name.endsWith('.entry')), [])
  await apps[0]!.inject({ url: '/a', headers })
  await everywhere('/a', 'hit')
  t.same(apps.map((one) => one.cache.stats.entries), [1, 1, 1])
})

t.test('an unsafe request of which a process hears when it has just validated holds on a shared disk', async (t) => {
  const clock = new TestClock()
  const path = folder()
  const { apps, bus, stored } = await site(t, 2, { disk: { path } }, clock)
  await apps[0]!.inject({ url: '/a', headers })
  await eventually(() => apps.every((one) => one.cache.stats.entries === 1))
  clock.advance(61_000)
  bus.members[1]!.hangs = true
  await apps[0]!.inject({ method: 'POST', url: '/a', headers })
  clock.advance(1000)
  // Asked for before the change, for all that this one knows.
  t.match((await apps[1]!.inject({ url: '/a', headers })).headers['cache-status'], /fwd=stale/)
  t.same(await stored('/a'), ['fwd=stale', 'hit'])
  bus.members[1]!.goOn()
  t.same((await stored('/a'))[1], 'fwd=stale')
  // And for one that comes later and has it from its file.
  const late = await app(t, { clock, disk: { path }, sharing: bus.join() }, (one) => { routes(one, { count: 0 }) })
  const isStale = async (one: FastifyInstance): Promise<boolean> => {
    const { headers: fields } = await one.inject({ url: '/a', headers: { ...headers, 'cache-control': 'only-if-cached' } })
    return String(fields['cache-status']).includes('fwd=stale')
  }
  for (const one of [late.app, ...apps]) while (!await isStale(one)) await new Promise((resolve) => { setTimeout(resolve, 2) })
})

t.test('one that comes later finds what there is; a file of which nobody knows goes', async (t) => {
  const clock = new TestClock()
  const path = folder()
  const { apps, bus } = await site(t, 2, { disk: { path } }, clock)
  await apps[1]!.inject({ url: '/a', headers })
  await apps[1]!.inject({ url: '/b', headers })
  await eventually(() => apps.every((one) => one.cache.stats.entries === 2))
  // As if its writer had died before it told anybody, and a purge had come since.
  const { DiskStore } = await import('../src/index.ts')
  const { entry, put } = await import('./store/helpers.ts')
  const other = new DiskStore({ path: folder() }, bus.join())
  t.teardown(() => other.close())
  await other.ready
  const unknown = (await put(other, entry('http://a.example/c'), 'unknown'))!
  const { copyFileSync } = await import('node:fs')
  copyFileSync(join(root, String(folders - 1), `${unknown.id}.entry`), join(path, `${unknown.id}.entry`))
  const late = await app(t, { clock, disk: { path }, sharing: bus.join() }, () => {})
  await eventually(() => late.app.cache.stats.entries === 2)
  await eventually(() => readdirSync(path).filter((name) => name.endsWith('.entry')).length === 2)
  t.equal(late.app.cache.stats.entries, 2)
})

t.test('the bound of a shared disk holds for all together', async (t) => {
  const path = folder()
  const { apps } = await site(t, 3, { disk: { path, maxEntries: 5 } })
  for (let n = 0; n < 30; n++) await apps[n % 3]!.inject({ url: `/${n}`, headers })
  await eventually(() => apps.every((one) => one.cache.stats.stored === 10))
  await eventually(() => readdirSync(path).filter((name) => name.endsWith('.entry')).length <= 5)
  for (const one of apps) t.ok(one.cache.stats.entries <= 5)
})

t.test('what a process has just stored on a shared disk, and has not told of yet, is told of before it says that it has obeyed a purge', async (t) => {
  // No message takes a turn of the event loop: all of the purge happens before what was stored would be told of at the turn's end.
  const bus = new Bus(() => 0)
  const path = folder()
  const clock = new TestClock()
  const apps: FastifyInstance[] = []
  const enter = async (): Promise<void> => {
    const { app: one } = await app(t, { clock, disk: { path }, sharing: bus.join() }, (one) => { routes(one, { count: 0 }) })
    apps.push(one)
  }
  for (let i = 0; i < 3; i++) await enter()
  let purged: Promise<number> | undefined
  const listener = (): void => { purged ??= apps[0]!.cache.purge({ tags: ['all'], soft: true }) }
  channels.store.subscribe(listener)
  t.teardown(() => { channels.store.unsubscribe(listener) })
  await apps[1]!.inject({ url: '/a', headers })
  await eventually(() => purged !== undefined)
  await purged
  // One that comes later has it from its file.
  await enter()
  await eventually(() => apps.every((one) => one.cache.stats.entries === 1))
  const found = await Promise.all(apps.map(async (one) => (await one.inject({ url: '/a', headers: { ...headers, 'cache-control': 'only-if-cached' } })).headers['cache-status']))
  for (const status of found) t.match(status, /fwd=stale/)
})

/**
 * Fetches of the whole and of parts, HEADs, validations, answers to POST that may be stored and all kinds of purges, in any order and at the same time, over a
 * bus that takes its time. Each byte of a body, and its etag, tells the version.
 */
for (const [kind, disk] of [['memory', false], ['a shared disk', true]] as const) {
  t.test(`no stale answer after a purge was confirmed, whatever comes when: ${kind}`, async (t) => {
    const purges: Readonly<Record<string, (key: number) => Purge>> = {
      url: (key) => ({ urls: [`http://a.example/${key}`] }),
      'soft url': (key) => ({ urls: [`http://a.example/${key}`], soft: true }),
      prefix: (key) => ({ prefixes: [`http://a.example/${key}`] }),
      tag: (key) => ({ tags: [`t${key}`] }),
      'soft tag': (key) => ({ tags: [`t${key}`], soft: true }),
      group: (key) => ({ groups: [{ origin: 'http://a.example', name: `g${key}` }], soft: true })
    }
    const ask = ['get', 'get', 'get', 'validate', 'head', 'post', 'bytes=0-3', 'bytes=2-5', 'bytes=4-7']
    const of = (what: readonly string[]) => fc.record({ what: fc.constantFrom(...what), at: fc.nat(2), key: fc.nat(2), turns: fc.nat(4) })
    const action = fc.oneof({ weight: 2, arbitrary: of(ask) }, { weight: 1, arbitrary: of(Object.keys(purges)) })
    const manyActions = fc.array(action, { minLength: 10, maxLength: 40 })
    const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })
    const used = { hits: 0, revalidated: 0, stored: 0 }
    await fc.assert(fc.asyncProperty(manyActions, fc.array(fc.nat(3), { minLength: 1, maxLength: 20 }), async (actions, delays) => {
      let n = 0
      const bus = new Bus(() => delays[n++ % delays.length]!)
      const versions = [0, 0, 0]
      const floor = [0, 0, 0]
      const closing: (() => unknown)[] = []
      const scope: Test = { teardown: (close) => { closing.push(close) } }
      const path = folder()
      const handler = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
        const key = Number((request.params as { key: string }).key)
        const letter = String.fromCharCode(65 + versions[key]!)
        for (let turns = delays[n++ % delays.length]!; turns > 0; turns--) await turn()
        reply.headers({ 'cache-control': 'max-age=600', 'cache-tag': `t${key}`, 'cache-groups': `"g${key}"`, etag: `"${letter}"`, 'content-location': `/${key}` })
        if (request.method === 'GET' && request.headers['if-none-match'] === `"${letter}"`) return reply.code(304).send()
        const [, from, to] = /^bytes=(\d)-(\d)$/.exec(request.headers.range ?? '') ?? []
        if (from === undefined || request.method !== 'GET') return reply.send(letter.repeat(8))
        return reply.code(206).header('content-range', `bytes ${from}-${to}/8`).send(letter.repeat(Number(to) - Number(from) + 1))
      }
      const apps: FastifyInstance[] = []
      for (let i = 0; i < 3; i++) {
        const member: BusMember = bus.join()
        apps.push((await app(scope, { sharing: member, ...disk && { disk: { path } } }, (one) => {
          one.route({ method: ['GET', 'HEAD', 'POST'], url: '/:key', handler })
        })).app)
      }
      const stale: string[] = []
      const look = async (what: string, at: number, key: number): Promise<void> => {
        const least = floor[key]!
        const method = what === 'post' ? 'POST' : what === 'head' ? 'HEAD' : 'GET'
        const answer = await apps[at]!.inject({
          method, url: `/${key}`, headers: { ...headers, ...what === 'validate' && { 'cache-control': 'no-cache' }, ...what.startsWith('bytes') && { range: what } }
        })
        const status = String(answer.headers['cache-status'])
        const text = `${String(answer.headers.etag)[1]!}${answer.body}`
        for (const letter of text) {
          if (letter.charCodeAt(0) - 65 < least) return void stale.push(`${what} of ${key} at ${at}: ${text} < ${least}; ${status}`)
        }
        if (new Set(text).size > 1) stale.push(`${what} of ${key} at ${at}: ${text} is of several versions`)
      }
      const work: Promise<void>[] = []
      for (const { what, at, key, turns } of actions) {
        const purge = purges[what]
        if (purge === undefined) work.push(look(what, at, key))
        else {
          const version = ++versions[key]!
          work.push(apps[at]!.cache.purge(purge(key)).then(() => { floor[key] = Math.max(floor[key]!, version) }))
        }
        for (let left = turns * 3; left > 0; left--) await turn()
      }
      await Promise.all(work)
      for (const what of ['get', 'bytes=2-5', 'head']) for (const at of [0, 1, 2]) for (const key of [0, 1, 2]) await look(what, at, key)
      for (const { cache: { stats } } of apps) for (const name of ['hits', 'revalidated', 'stored'] as const) used[name] += stats[name]
      for (const close of closing) await close()
      if (disk) {
        // What is on the disk: for one that comes when all have gone.
        const { app: late } = await app(scope, { disk: { path }, sharing: new Bus().join() }, (one) => { one.route({ method: ['GET', 'HEAD', 'POST'], url: '/:key', handler }) })
        apps.splice(0, Infinity, late)
        await late.cache.purge({ urls: ['http://a.example/none'] })
        for (const what of ['get', 'bytes=2-5', 'head']) for (const key of [0, 1, 2]) await look(what, 0, key)
        await late.close()
      }
      if (stale.length > 0) throw new Error(stale.join('; '))
    }), { numRuns: Number(process.env['RUNS'] ?? 40), ...process.env['SEED'] !== undefined && { seed: Number(process.env['SEED']) } })
    t.ok(used.hits > 0 && used.revalidated > 0 && used.stored > 0, JSON.stringify(used))
  })
}
