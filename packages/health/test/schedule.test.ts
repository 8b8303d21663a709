import t from 'tap'
import type { CheckFunction } from '../src/index.ts'
import { Lease, type Outcome, type Pool, type PoolContext, type Upstream } from '@headgate/core'
import { watched } from './helpers.ts'

const context: PoolContext = {
  keyHash: 1, clientAddress: '10.0.0.1', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false
}

/** One attempt on a given upstream, with its end. */
function attempt (pool: Pool, upstream: Upstream, outcome: Outcome = 'ok', status = 200): void {
  const lease = pool.pick({ ...context, affinity: { upstreamId: upstream.id, whileDraining: true, strict: true } })
  if (!(lease instanceof Lease)) throw new Error(lease)
  if (outcome === 'ok') lease.head(status, pool.environment.clock.now())
  lease.release(outcome, outcome === 'ok' ? '' : 'reset')
}

t.test('a day of checks: the pace of each situation, and transitions where they belong', async (t) => {
  const started = process.hrtime.bigint()
  const hour = 3_600_000
  let sick = false
  let checks = 0
  const { pool, clock } = watched({
    check: {
      type: 'function', idleAfter: 86_400_000,
      run: ({ id }) => {
        checks++
        return !(sick && id === pool.upstreams[0]!.id)
      }
    }
  })
  const [first] = pool.upstreams
  for (let h = 0; h < 24; h++) {
    clock.advance(hour / 2)
    sick = true
    clock.advance(hour / 4)
    t.equal(first!.health.state, 'down')
    sick = false
    clock.advance(hour / 4)
    t.equal(first!.health.state, 'up')
  }
  const took = Number(process.hrtime.bigint() - started) / 1e6
  t.comment(`${checks} checks in ${Math.round(took)} ms`)
  // 24 h at 5 s is 17,280 for each; down at 2 s for a quarter of the time is 6,480 more for one. ± 10 % of jitter evens out.
  t.ok(checks > 3 * 17_280 && checks < 3 * 17_280 + 7500, `${checks} checks`)
  t.equal(first!.health.history.length, 32)
  for (const { at, to } of first!.health.history) {
    const quarter = ((at - 1000) % hour) / (hour / 4)
    t.equal(Math.floor(quarter), to === 'down' ? 2 : 3, 'it follows soon after')
    t.ok(quarter % 1 < 30_000 / (hour / 4))
  }
})

t.test('checks of many pools and upstreams are spread, at the start and later', async (t) => {
  const at: number[] = []
  const upstreams = Array.from({ length: 200 }, (_, i) => `http://h${i}`)
  const { clock } = watched({ check: { type: 'function', interval: 5000, run: () => { at.push(clock.time) } } }, { upstreams })
  clock.advance(1100)
  t.equal(at.length, 200)
  const most = (from: number, to: number, width: number): number => {
    const counts = new Map<number, number>()
    for (const time of at) if (time >= from && time < to) counts.set(Math.floor(time / width), (counts.get(Math.floor(time / width)) ?? 0) + 1)
    return Math.max(...counts.values())
  }
  t.ok(most(0, 2200, 20) <= 8, 'never more than a few at one time')
  clock.advance(60_000)
  t.ok(most(30_000, 61_000, 250) < 30, 'nor a minute later: 200 in 5 s are ten in 250 ms')
})

t.test('a check never overlaps with the one before, and what hangs is cut off', async (t) => {
  let running = 0
  let most = 0
  const signals: AbortSignal[] = []
  const ends: (() => void)[] = []
  const run: CheckFunction = (_, signal) => {
    most = Math.max(most, ++running)
    signals.push(signal)
    return new Promise((resolve) => {
      ends.push(() => {
        running--
        resolve(true)
      })
    })
  }
  const { pool, clock } = watched({ check: { type: 'function', run, interval: 1000, timeout: 500, fall: 2 } }, { upstreams: ['http://a'] })
  const [{ health }] = pool.upstreams as [Upstream]
  clock.advance(3000)
  t.equal(health.state, 'down')
  t.match(health.reason, /no answer within 500 ms|goes on after its time/)
  t.ok(signals[0]!.aborted)
  t.equal(signals.length, 1, 'no second one while the first goes on')
  ends[0]!()
  await new Promise((resolve) => { setImmediate(resolve) })
  for (let i = 0; i < 5; i++) {
    clock.advance(1200)
    ends.at(-1)!()
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  t.equal(health.state, 'up')
  t.equal(most, 1)
})

t.test('a time limit that this process itself notices too late is put off once', async (t) => {
  let signal: AbortSignal | undefined
  let answer: (well: boolean) => void = () => {}
  const { pool, clock } = watched({
    check: {
      type: 'function', interval: 1000, timeout: 1000,
      run: (_, given) => {
        signal = given
        return new Promise((resolve) => { answer = resolve })
      }
    }
  }, { upstreams: ['http://a'] })
  while (signal === undefined) clock.advance(10)
  // Nothing ran for three seconds; the answer is there, but not read yet.
  clock.time += 3000
  clock.advance(1)
  t.notOk(signal.aborted)
  answer(true)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(pool.upstreams[0]!.health.streak.successes, 1)
  const before = signal
  while (signal === before) clock.advance(10)
  clock.time += 3000
  clock.advance(1)
  clock.advance(600)
  t.ok(signal.aborted, 'but only once')
})

t.test('real successes postpone checks, up to a bound; failures bring them forward', async (t) => {
  const at: Record<string, number[]> = {}
  const { pool, clock } = watched({
    check: { type: 'function', interval: 5000, postponeMax: 30_000, run: ({ id }) => { (at[id] ??= []).push(clock.time) } }
  }, { upstreams: [{ url: 'http://busy', id: 'busy' }, { url: 'http://idle', id: 'idle' }] })
  clock.advance(2000)
  const [busy] = pool.upstreams
  for (let i = 0; i < 1200; i++) {
    clock.advance(100)
    attempt(pool, busy!)
  }
  t.ok(at['idle']!.length > 20 && at['idle']!.length < 30, `${at['idle']!.length} checks of the idle one in two minutes`)
  t.ok(at['busy']!.length >= 4 && at['busy']!.length <= 6, `${at['busy']!.length} checks of the busy one`)
  const before = at['busy']!.length
  clock.advance(3000)
  attempt(pool, busy!)
  attempt(pool, busy!, 'failed-after-send')
  const failedAt = clock.time
  clock.advance(100)
  t.equal(at['busy']!.length, before + 1, 'checked at once after a failure')
  t.ok(at['busy']!.at(-1)! - failedAt <= 40)
})

t.test('an idle pool is checked seldom, and at once when requests come again', async (t) => {
  let checks = 0
  const { pool, clock } = watched({ check: { type: 'function', run: () => { checks++ } } }, { upstreams: ['http://a'] })
  clock.advance(86_400_000)
  t.ok(checks < 24 * 120 + 100, `${checks} checks in a day`)
  clock.advance(15_000)
  checks = 0
  attempt(pool, pool.upstreams[0]!)
  clock.advance(1100)
  t.equal(checks, 1)
})

t.test('rise, fall, and the faster intervals on the way', async (t) => {
  let good = true
  let at: number[] = []
  const { pool, clock } = watched({
    check: {
      type: 'function', interval: 10_000, transitionInterval: 500, downInterval: 3000, rise: 3, fall: 2, jitter: 0,
      run: () => {
        at.push(clock.time)
        return good
      }
    }
  }, { upstreams: ['http://a'] })
  const [{ health }] = pool.upstreams as [Upstream]
  clock.advance(21_000)
  at = []
  good = false
  clock.advance(11_000)
  t.equal(health.state, 'down')
  t.match(health.history.at(-1), { reason: 'function check: the check failed', decidedBy: 'check', evidence: { failures: 2 }, forced: false })
  t.ok(at[1]! - at[0]! <= 520, 'soon after the first failure')
  at = []
  clock.advance(30_000)
  t.ok(at.length >= 8 && at.length <= 10, 'then every 3 s')
  good = true
  at = []
  clock.advance(5000)
  t.equal(health.state, 'up')
  t.ok(at[2]! - at[0]! <= 1100, 'and faster when it comes back')
})

t.test('initial states', async (t) => {
  const run = (): boolean => true
  for (const initial of ['up', 'down', 'wait'] as const) {
    const { pool, clock } = watched({ check: { type: 'function', run, initial, rise: 2, transitionInterval: 1000 } }, { upstreams: ['http://a'] })
    const [{ health }] = pool.upstreams as [Upstream]
    t.equal(health.state, initial === 'up' ? 'up' : 'down')
    clock.advance(500)
    t.equal(health.state, initial === 'down' ? 'down' : 'up', `${initial} after one check`)
    clock.advance(1500)
    t.equal(health.state, 'up')
  }
})

t.test('members that join later are checked, those that leave no more', async (t) => {
  const seen: string[] = []
  const { pool, clock, monitor } = watched({ check: { type: 'function', initial: 'wait', run: ({ id }) => { seen.push(id) } } }, { upstreams: ['http://a'] })
  clock.advance(2000)
  const added = pool.add({ url: 'http://late', id: 'late' })
  t.equal(added.health.state, 'down', 'it waits for its first check like the others')
  clock.advance(2000)
  t.equal(added.health.state, 'up')
  t.ok(seen.includes('late'))
  await pool.remove('late')
  seen.length = 0
  clock.advance(60_000)
  t.notOk(seen.includes('late'))
  await pool.update(['http://a', 'http://b'])
  clock.advance(2000)
  t.equal(pool.ready.length, 2)
  monitor.stop()
  seen.length = 0
  clock.advance(60_000)
  t.same(seen, [], 'nothing after the end')
})

t.test('one that never came up is removed as well', async (t) => {
  const { pool, clock } = watched({ check: { type: 'function', initial: 'wait', removeAfter: 60_000, run: ({ id }) => id === 'a' } }, {
    upstreams: [{ url: 'http://a', id: 'a' }, { url: 'http://b', id: 'b' }]
  })
  clock.advance(65_000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.same(pool.upstreams.map(({ id }) => id), ['a'])
})

t.test('who stays down is removed, but never the last that could come back', async (t) => {
  const bad = new Set<string>()
  const { pool, clock, lines } = watched({ check: { type: 'function', removeAfter: 60_000, run: ({ id }) => !bad.has(id) } }, {
    upstreams: [{ url: 'http://a', id: 'a' }, { url: 'http://b', id: 'b' }]
  })
  const removed: string[] = []
  pool.on('removed', ({ id }) => { removed.push(id) })
  clock.advance(10_000)
  bad.add('a')
  clock.advance(50_000)
  bad.delete('a')
  clock.advance(40_000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.same(removed, [], 'it came back in time')
  bad.add('a')
  clock.advance(55_000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.same(removed, [], 'only an outage without a break counts')
  clock.advance(20_000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.same(removed, ['a'])
  t.equal(lines.filter(({ message }) => message.includes('removed from the pool')).length, 1)
  bad.add('b')
  clock.advance(600_000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(pool.upstreams.length, 1, 'with nobody else ready it stays')
  bad.clear()
  clock.advance(20_000)
  t.equal(pool.upstreams[0]!.health.state, 'up')
})
