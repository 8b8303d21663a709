import t from 'tap'
import { channels, type DiscoveredUpstream, type Discovery, type DiscoverySite, httpPool, type Lease, type Policy, type PoolContext, type PoolKind, type PoolOptions } from '../../src/index.ts'
import { subsetOf } from '../../src/discovery/subset.ts'
import { MemberList } from '../../src/member-list.ts'
import { FakeClock } from '../clock.ts'
import { type Followed, pool, type Test } from './helpers.ts'

const context: PoolContext = { keyHash: 1, clientAddress: '', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false }
const settle = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

/** A pool whose discovery is the test itself. Every list is taken at once. */
async function told (
  t: Test, options: Partial<PoolOptions> = {}, first: readonly DiscoveredUpstream[] = []
): Promise<Followed & { clock: FakeClock; site: DiscoverySite; tell (...list: DiscoveredUpstream[]): void }> {
  let site!: DiscoverySite
  const clock = new FakeClock()
  const discovery: Discovery = {
    name: 'test',
    start (given) {
      site = given
      site.update(first)
    }
  }
  const followed = pool(t, { slowStart: 0, policy: 'round-robin', discovery, ...options }, clock)
  await followed.pool.discover()
  return {
    ...followed, clock, site,
    tell: (...list) => {
      clock.advance(100)
      site.update(list)
    }
  }
}

t.test('what an operator did stays, until the source says something else', async (t) => {
  const { pool: web, tell, messages } = await told(t, { upstreams: ['http://fixed:1'] })
  const a = { url: 'http://a:1', id: 'a', weight: 2 }
  const b = { url: 'http://b:1', id: 'b' }
  tell(a, b, 'http://fixed:1')
  t.match(messages, [{ added: 2, members: 2 }], 'a member of other origin is left alone')
  web.add({ url: 'http://own:1', id: 'own' })
  web.setWeight('a', 7)
  web.get('b')!.health.force('maintenance', 'disk')
  tell({ ...a }, b)
  t.equal(web.get('a')!.configuredWeight, 7)
  t.equal(messages.length, 1, 'nothing changed')
  tell({ ...a, weight: 3 }, b)
  t.equal(web.get('a')!.configuredWeight, 3)
  t.equal(web.get('b')!.health.state, 'maintenance')
  t.ok(web.get('own'), 'who was added by hand stays')
  await web.remove('b')
  tell({ ...a, weight: 3 }, b)
  t.ok(web.get('b'), 'the source says who is a member')
  tell()
  await settle()
  t.same(web.upstreams.map(({ id }) => id).filter((id) => id.length < 5), ['own'])
})

t.test('a member whose address, zone or names change is another: its work ends where it is, under the same id', async (t) => {
  const { pool: web, tell, next, clock } = await told(t, {}, [{ id: 'pod', url: 'http://10.0.0.1:1' }, { id: 'other', url: 'http://10.0.0.2:1' }])
  await next()
  const old = web.get('pod')!
  const leases = [web.pick(context), web.pick(context)] as Lease[]
  const mine = leases.find(({ upstream }) => upstream === old)!
  const events: string[] = []
  web.on('removed', ({ url }) => { events.push(`- ${url}`) })
  web.on('added', ({ url }) => { events.push(`+ ${url}`) })
  tell({ id: 'pod', url: 'http://10.0.0.9:1', zone: 'b' }, { id: 'other', url: 'http://10.0.0.2:1' })
  t.match(await next(), { changed: 1, added: 0, removed: 0, members: 2 })
  t.same(events, ['- http://10.0.0.1:1', '+ http://10.0.0.9:1'])
  t.not(web.get('pod'), old)
  t.equal(old.health.state, 'draining')
  t.same(web.ready.map(({ url }) => url).sort(), ['http://10.0.0.2:1', 'http://10.0.0.9:1'])
  t.not(web.get('pod')!.slot, old.slot)
  let destroyed = false
  const { transport } = old
  const destroy = transport.destroy.bind(transport)
  transport.destroy = () => { destroyed = true; destroy() }
  await settle()
  t.notOk(destroyed, 'not while its work runs')
  mine.release('ok')
  await settle()
  t.ok(destroyed)
  for (const change of [{ zone: 'c' }, { zone: 'c', host: 'x' }, { zone: 'c', host: 'x', location: { latitude: 1, longitude: 2 } }, { addresses: ['10.0.0.1'] }]) {
    const before = web.get('pod')
    tell({ id: 'pod', url: 'http://10.0.0.9:1', ...change }, { id: 'other', url: 'http://10.0.0.2:1' })
    t.not(web.get('pod'), before, JSON.stringify(change))
  }
  const before = web.get('pod')
  tell({ id: 'pod', url: 'http://10.0.0.9:1', addresses: ['10.0.0.1'], priority: 1, maxInFlight: 3, weight: 0.5 }, { id: 'other', url: 'http://10.0.0.2:1' })
  t.equal(web.get('pod'), before)
  t.match(before, { priority: 1, maxInFlight: 3, configuredWeight: 0.5 })
  t.same(web.ready.map(({ id }) => id), ['other'])
  clock.advance(60_000)
})

t.test('one that is about to go keeps who is bound to it, and may stay after all', async (t) => {
  const { pool: web, tell } = await told(t, {}, [{ id: 'a', url: 'http://a:1' }, { id: 'b', url: 'http://b:1' }])
  tell({ id: 'a', url: 'http://a:1', draining: true }, { id: 'b', url: 'http://b:1' })
  t.same(web.ready.map(({ id }) => id), ['b'])
  const bound = { ...context, affinity: { upstreamId: 'a', strict: false, whileDraining: true } as never }
  t.equal((web.pick(bound) as Lease).upstream.id, 'a')
  tell({ id: 'a', url: 'http://a:1' }, { id: 'b', url: 'http://b:1' })
  t.same(web.ready.map(({ id }) => id).sort(), ['a', 'b'])
})

t.test('lists within 100 ms are one: the last; failures are told and change nothing; nothing is heard after the end', async (t) => {
  const { pool: web, site, clock, messages } = await told(t, {}, ['http://a:1'])
  for (let n = 0; n < 50; n++) site.update([`http://b${n}:1`])
  t.same(web.ready.map(({ url }) => url), ['http://a:1'])
  clock.advance(100)
  t.same(web.ready.map(({ url }) => url), ['http://b49:1'])
  t.same(messages.map(({ result, added, removed }) => [result, added, removed]), [['changed', 1, 0], ['changed', 1, 1]])
  const heard: unknown[] = []
  const listener = (message: unknown): void => { heard.push(message) }
  channels.discovery.subscribe(listener)
  t.teardown(() => { channels.discovery.unsubscribe(listener) })
  site.failed(new Error('no network'))
  t.match(heard, [{ result: 'failed', error: 'no network', pool: 'p', kind: 'test', source: web }])
  t.match(web.discovery, { error: 'no network', failedAt: clock.time, members: 1 })
  await web.close()
  t.ok(site.signal.aborted)
  site.failed(new Error('late'))
  site.update(['http://c:1'])
  clock.advance(1000)
  t.equal(messages.length, 3)
  t.same(web.upstreams.map(({ url }) => url), ['http://b49:1'])
})

t.test('who throws is heard; who says nothing does not hold up the start for ever', async (t) => {
  const broken = pool(t, { discovery: { name: 'broken', start () { throw new Error('at once') } } })
  await broken.pool.discover()
  t.match(broken.messages, [{ result: 'failed', error: 'at once' }])
  const rejecting = pool(t, { discovery: { name: 'rejecting', async start () { throw new Error('soon') } } })
  await rejecting.pool.discover()
  t.match(rejecting.messages, [{ result: 'failed', error: 'soon' }])
  const clock = new FakeClock()
  const silent = pool(t, { discovery: { name: 'silent', start () {} } }, clock)
  const waiting = silent.pool.discover()
  clock.advance(5000)
  await waiting
  t.equal(silent.pool.pick(context), 'none-ready')
})

t.test('many proxies, many members: each proxy has its part, and changes move little', async (t) => {
  const all = Array.from({ length: 200 }, (_, n) => `http://10.0.${n >> 8}.${n & 255}:80`)
  const proxies = 48
  const parts = (list: readonly string[]): Set<string>[] => Array.from({ length: proxies }, (_, index) => new Set(subsetOf(list, { size: 20, index })))
  const before = parts(all)
  const counts = new Map<string, number>()
  for (const part of before) for (const one of part) counts.set(one, (counts.get(one) ?? 0) + 1)
  t.ok(before.every((part) => part.size === 20))
  t.equal(counts.size, 200, 'nobody is left out')
  t.ok(Math.max(...counts.values()) - Math.min(...counts.values()) <= 3, `${proxies * 20 / 200} proxies each, give or take: ${Math.min(...counts.values())}–${Math.max(...counts.values())}`)
  t.same(parts([...all].reverse()), before, 'in whichever order the source names them')
  for (const changed of [all.slice(1), [...all, 'http://new:80']]) {
    const after = parts(changed)
    t.ok(after.every((part, index) => [...part].filter((one) => !before[index]!.has(one)).length <= 2), 'at most two of each part are others')
  }
  // Each tier has a part of its own.
  const { pool: web } = pool(t, { upstreams: ['http://fixed:1'] })
  new MemberList(web, 'list', { whole: false, subset: { size: 5, index: 3 } }).apply(Array.from({ length: 40 }, (_, n) => ({ url: `http://10.0.0.${n}`, priority: n % 2 })))
  t.same([0, 1].map((tier) => web.upstreams.filter(({ priority }) => priority === tier).length), [6, 5])
})

t.test('of 10,000 members those cost something that change: no other is read again, and the policy hears of all of them at once', async (t) => {
  let [read, rebuilt] = [0, 0]
  const counting: PoolKind = { ...httpPool, parseTarget: (...args) => { read++; return httpPool.parseTarget(...args) } }
  const policy: Policy = {
    name: 'first',
    create<T> () {
      let first: T | undefined
      return { rebuild (ready: readonly T[]) { rebuilt++; first = ready[0] }, select: () => first! }
    }
  }
  const { pool: web } = pool(t, { slowStart: 0, policy, upstreams: ['http://fixed:1'] }, new FakeClock(), counting)
  const list = new MemberList(web, 'list', { whole: false })
  let entries: DiscoveredUpstream[] = Array.from({ length: 10_000 }, (_, n) => n % 2 === 0 ? `http://10.0.${n >> 8}.${n & 255}` : { url: `http://10.0.${n >> 8}.${n & 255}` })
  list.apply(entries)
  t.equal(web.upstreams.length, 10_001)
  const kept = web.at('http://10.0.1.1')
  for (let second = 0; second < 3; second++) {
    read = rebuilt = 0
    // 50 go, 50 come.
    entries = [...entries.slice(50), ...Array.from({ length: 50 }, (_, n) => `http://10.1.${second}.${n}`)]
    t.match(list.apply(entries), { added: 50, removed: 50, changed: 0 })
    t.same([read, rebuilt], [50, 1])
  }
  t.equal(web.at('http://10.0.1.1'), kept)
})
