import { array, assert, asyncProperty, boolean, integer, nat, oneof, record, uniqueArray } from 'fast-check'
import t from 'tap'
import { Deadlines, Lease, Pool, type PoolContext, type PoolOptions, seeded } from '../src/index.ts'
import { MemberList } from '../src/member-list.ts'
import { FakeClock } from './clock.ts'

const context: PoolContext = {
  keyHash: 1, clientAddress: '', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false
}

function make (options: Partial<PoolOptions> = {}): { pool: Pool; clock: FakeClock; events: string[] } {
  const clock = new FakeClock()
  const pool = new Pool('p', { upstreams: [{ url: 'http://a', id: 'a' }, { url: 'http://b', id: 'b' }], policy: 'round-robin', slowStart: 0, ...options }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock))
  const events: string[] = []
  for (const name of ['added', 'removed', 'drained'] as const) pool.on(name, ({ id }) => { events.push(`${name} ${id}`) })
  pool.on('state', ({ id }, { from, to }) => { events.push(`state ${id} ${from} ${to}`) })
  return { pool, clock, events }
}

const take = (pool: Pool): Lease => {
  const lease = pool.pick(context)
  if (!(lease instanceof Lease)) throw new Error(lease)
  return lease
}
const ids = (pool: Pool): string[] => pool.upstreams.map(({ id }) => id)
const settle = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

t.test('add, remove and drain, with their events', async (t) => {
  const { pool, events } = make()
  const c = pool.add({ url: 'http://c', id: 'c', weight: 2 })
  t.equal(pool.get('c'), c)
  t.same(pool.ready.map(({ id, weight }) => [id, weight]), [['a', 1], ['b', 1], ['c', 2]])
  t.same(events.splice(0), ['added c'])

  const lease = take(pool)
  const { id } = lease.upstream
  let drained = false
  const draining = pool.drain(id).then(() => { drained = true })
  t.notOk(pool.ready.some((upstream) => upstream.id === id), 'no new work')
  await settle()
  t.notOk(drained, 'not before its work has ended')
  lease.release('ok')
  await draining
  t.same(events.splice(0), [`state ${id} up draining`, `drained ${id}`])
  t.ok(ids(pool).includes(id), 'it stays a member')

  await pool.remove('c')
  t.same(ids(pool), ['a', 'b'])
  t.ok(events.includes('removed c'))
  t.throws(() => pool.add('ftp://x'), { code: 'HG_POOL_INVALID_OPTION', message: /pool 'p'\.add\(\).*got 'ftp:\/\/x'/ })
  t.throws(() => pool.add('http://a'), { code: 'HG_UPSTREAM_DUPLICATE' })
  t.throws(() => { pool.setWeight('a', -1) }, { code: 'HG_POOL_INVALID_OPTION', message: /must be 0–65535; got -1/ })
  t.throws(() => { pool.setWeight('x', 1) }, { code: 'HG_UPSTREAM_UNKNOWN' })
  await t.rejects(async () => { await pool.remove('x') }, { code: 'HG_UPSTREAM_UNKNOWN' })
  await pool.close()
})

t.test('update is a diff: survivors keep their state, a mistake changes nothing', async (t) => {
  const { pool, events } = make()
  const a = pool.get('a')!
  a.load.succeeded = 7
  await pool.update([{ url: 'http://a', id: 'a', weight: 5 }, { url: 'http://c', id: 'c' }])
  t.same(ids(pool), ['a', 'c'])
  t.equal(pool.get('a'), a)
  t.same([a.load.succeeded, a.configuredWeight], [7, 5])
  t.ok(events.includes('added c') && events.includes('removed b'))
  await t.rejects(async () => { await pool.update([{ url: 'http://d', id: 'd' }, 'nonsense']) }, { code: 'HG_POOL_INVALID_OPTION', message: /pool 'p'\.update\(\)\[1\]/ })
  await t.rejects(async () => { await pool.update(['http://d', 'http://d']) }, { code: 'HG_UPSTREAM_DUPLICATE' })
  t.same(ids(pool), ['a', 'c'])
  await pool.close()
})

t.test('an address may come back under another id while the old one still drains', async (t) => {
  const { pool, clock } = make()
  const leases = [take(pool), take(pool)]
  const updated = pool.update([{ url: 'http://a', id: 'new' }, { url: 'http://b', id: 'b' }])
  t.same(pool.ready.map(({ id }) => id).sort(), ['b', 'new'])
  clock.advance(30_001)
  await updated
  t.same(ids(pool).sort(), ['b', 'new'])
  t.throws(() => pool.add('http://a'), { code: 'HG_UPSTREAM_DUPLICATE' }, 'the newcomer is known by its address')
  for (const lease of leases) lease.release('ok')
  await pool.close()
})

t.test('one that an update keeps while it is being removed stays', async (t) => {
  const { pool, clock } = make()
  const leases = [take(pool), take(pool)]
  const removed = pool.remove('a')
  await pool.update([{ url: 'http://a', id: 'a' }, { url: 'http://b', id: 'b' }])
  clock.advance(30_001)
  await removed
  t.same(ids(pool), ['a', 'b'])
  t.same(pool.ready.map(({ id }) => id), ['a', 'b'])
  for (const lease of leases) lease.release('ok')
  await pool.close()
})

t.test('whatever lists come, with operators in between, the members are those of the last one and of other origin', async () => {
  const one = record({ n: nat(9), port: integer({ min: 1, max: 2 }), weight: integer({ min: 1, max: 2 }), draining: boolean(), priority: nat(1) })
  const list = uniqueArray(one, { selector: ({ n }) => n, maxLength: 8 })
  const step = oneof(record({ list }), record({ removed: nat(9) }), record({ weight: nat(9) }))
  await assert(asyncProperty(array(step, { maxLength: 12 }), boolean(), async (steps, whole) => {
    const { pool } = make({ upstreams: [{ url: 'http://fixed', id: 'fixed' }] })
    const members = new MemberList(pool, 'list', { whole })
    let last: { n: number; port: number; weight: number; draining: boolean; priority: number }[] = []
    const known = new Map<string, object>()
    for (const step of steps) {
      if ('list' in step) {
        last = step.list
        // Some entries are the very objects of before, as those of a discovery are.
        members.apply(last.map((entry) => {
          const { n, port, weight, draining, priority } = entry
          const key = JSON.stringify(entry)
          const spec = known.get(key) ?? { id: `u${n}`, url: `http://u:${n * 10 + port}`, weight, draining, priority }
          if (n % 2 === 0) known.set(key, spec)
          return spec as { url: string }
        }))
        await settle()
        const wanted = [...whole ? [] : ['fixed http://fixed'], ...last.map(({ n, port }) => `u${n} http://u:${n * 10 + port}`)].sort()
        const found = pool.upstreams.map(({ id, url }) => `${id} ${url}`).sort()
        if (JSON.stringify(wanted) !== JSON.stringify(found)) throw new Error(`${found.join()} for ${wanted.join()}`)
        for (const { n, draining, priority } of last) {
          const upstream = pool.get(`u${n}`)!
          if (upstream.health.state !== (draining ? 'draining' : 'up') || upstream.priority !== priority) throw new Error(`${upstream.url} is ${upstream.health.state} in tier ${upstream.priority}`)
        }
      } else if ('removed' in step) {
        if (pool.get(`u${step.removed}`) !== undefined) await pool.remove(`u${step.removed}`)
      } else if (pool.get(`u${step.weight}`) !== undefined) pool.setWeight(`u${step.weight}`, 5)
    }
    await pool.close()
  }), { numRuns: 150 })
})
