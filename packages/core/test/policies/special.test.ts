import t from 'tap'
import { adaptive, leastTime, nearest, p2c, peakEwma, reportedLoad, roundRobin, weightedRoundRobin } from '../../src/index.ts'
import { context, FakeEnvironment, run, upstream, upstreams, type Fake } from './bench.ts'

t.test('round robin goes in configured order, and keeps its place when one leaves', async (t) => {
  const environment = new FakeEnvironment()
  const selector = roundRobin.create<Fake>(environment)
  const ready = upstreams(4)
  selector.rebuild(ready)
  let before = selector.select(context()).slot
  for (let k = 0; k < 40; k++) {
    const { slot } = selector.select(context())
    t.equal(slot, (before + 1) % 4)
    before = slot
  }
  const counts = new Map<number, number>()
  for (let k = 0; k < 400; k++) {
    selector.rebuild(k % 2 === 0 ? ready : ready.slice(1))
    const { slot } = selector.select(context())
    counts.set(slot, (counts.get(slot) ?? 0) + 1)
  }
  for (const slot of [1, 2, 3]) t.ok(counts.get(slot)! >= 80, 'nobody starves when the set changes at each pick')
})

t.test('weighted round robin has no bursts', async (t) => {
  const environment = new FakeEnvironment()
  const selector = weightedRoundRobin.create<Fake>(environment)
  selector.rebuild(upstreams(51, (slot) => slot === 0 ? 50 : 1))
  let streak = 0
  let longest = 0
  for (let k = 0; k < 10_000; k++) {
    streak = selector.select(context()).slot === 0 ? streak + 1 : 0
    longest = Math.max(longest, streak)
  }
  t.ok(longest <= 2, `the heavy one came ${longest} times in a row at most`)
})

t.test('p2c compares two different ones', async (t) => {
  const selector = p2c.create<Fake>(new FakeEnvironment())
  const [busy, idle] = upstreams(2) as [Fake, Fake]
  busy.load.inFlight = 1
  selector.rebuild([busy, idle])
  for (let k = 0; k < 1000; k++) t.equal(selector.select(context()), idle)
})

for (const policy of [leastTime, adaptive, peakEwma]) {
  t.test(`${policy.name}: three slow answers at the start are forgiven`, async (t) => {
    const environment = new FakeEnvironment(3)
    const selector = policy.create<Fake>(environment)
    const ready = upstreams(4)
    selector.rebuild(ready)
    let slow = 3
    const latencyOf = ({ slot }: Fake): number => slot === 0 && slow-- > 0 ? 1000 : 5 + 10 * environment.random()
    const answer = (candidate: Fake): { latency: number; ok: boolean } => ({ latency: latencyOf(candidate), ok: true })
    run(environment, selector, 60_000, 12, answer)
    const share = run(environment, selector, 20_000, 12, answer).get(ready[0]!)! / 20_000
    t.ok(Math.abs(share - 0.25) < 0.05, `share ${share}`)
  })

  t.test(`${policy.name}: failing fast does not attract`, async (t) => {
    const environment = new FakeEnvironment(3)
    const selector = policy.create<Fake>(environment)
    const ready = upstreams(4)
    selector.rebuild(ready)
    run(environment, selector, 2000, 12)
    const counts = run(environment, selector, 20_000, 12, ({ slot }) => slot === 0 ? { latency: 1, ok: false } : { latency: 10, ok: true })
    t.ok((counts.get(ready[0]!) ?? 0) / 20_000 < 0.1, `share ${counts.get(ready[0]!)! / 20_000}`)
  })
}

t.test('adaptive: proxies try a joiner at different times', async (t) => {
  const first = new Set<number>()
  for (let seed = 0; seed < 20; seed++) {
    const environment = new FakeEnvironment(seed)
    const selector = adaptive.create<Fake>(environment)
    const ready = upstreams(3)
    selector.rebuild(ready)
    run(environment, selector, 300, 1)
    const joiner = upstream(3)
    selector.joined?.(joiner)
    selector.rebuild([...ready, joiner])
    const joinedAt = environment.time
    let tried = 0
    for (let k = 0; k < 3000 && tried === 0; k++) if (run(environment, selector, 1, 1).has(joiner)) tried = environment.time - joinedAt
    t.ok(tried > 0, 'is tried')
    first.add(tried)
  }
  t.ok(first.size > 10)
})

t.test('adaptive: with little traffic a slow one is tried less often, but tried', async (t) => {
  const tries = (atOnce: number): number => {
    const environment = new FakeEnvironment(5)
    const selector = adaptive.create<Fake>(environment)
    const ready = upstreams(4)
    selector.rebuild(ready)
    const until = environment.time + 600_000
    const answer = ({ slot }: Fake): { latency: number; ok: boolean } => ({ latency: (slot === 0 ? 1000 : 50) * (0.5 + environment.random()), ok: true })
    let count = 0
    while (environment.time < until) count += run(environment, selector, 20, atOnce, answer).get(ready[0]!) ?? 0
    return count
  }
  const [few, many] = [tries(1), tries(20)]
  t.ok(few >= 3, `${few} in ten minutes`)
  t.ok(many > 2 * few, `${many} with twenty times the traffic`)
})

t.test('adaptive: bodies and tunnels that go on are not overdue', async (t) => {
  const environment = new FakeEnvironment()
  const selector = adaptive.create<Fake>(environment)
  const ready = upstreams(2)
  selector.rebuild(ready)
  run(environment, selector, 100, 2)
  const tunnel = ready[0]!
  const { time } = environment
  tunnel.load.started()
  selector.started?.(tunnel, time)
  selector.answered?.(tunnel, time + 5, time)
  environment.time += 3_600_000
  const counts = run(environment, selector, 2000, 10)
  t.ok(counts.get(tunnel)! > 700, `${counts.get(tunnel)} of 2000`)
})

t.test('reported load shifts turns away from the busy', async (t) => {
  const environment = new FakeEnvironment()
  const selector = reportedLoad.create<Fake>(environment)
  const ready = upstreams(3)
  selector.rebuild(ready)
  ready[0]!.load.reported = 0.9
  ready[1]!.load.reported = 0.1
  const counts = run(environment, selector, 9000, 5)
  t.ok(Math.abs(counts.get(ready[1]!)! / counts.get(ready[0]!)! - 9) < 1)
  t.ok(Math.abs(counts.get(ready[2]!)! / 9000 - 1 / 3) < 0.05, 'no report counts as the mean')
})

t.test('nearest: zone, then distance, then spills over', async (t) => {
  const paris = { latitude: 48.9, longitude: 2.4 }
  const environment = new FakeEnvironment()
  const selector = nearest({ zone: 'a', spillOver: 2 }).create<Fake>(environment)
  const own = upstream(0, 1, { zone: 'a' })
  const tokyo = upstream(1, 1, { zone: 'b', location: { latitude: 35.7, longitude: 139.7 } })
  const london = upstream(2, 1, { zone: 'c', location: { latitude: 51.5, longitude: -0.1 } })
  selector.rebuild([tokyo, london, own])
  const request = context()
  request.clientLocation = paris
  const picks = Array.from({ length: 8 }, () => {
    const candidate = selector.select(request)
    candidate.load.started()
    selector.started?.(candidate, environment.time)
    return candidate.slot
  })
  t.same(picks.slice(0, 6), [0, 0, 2, 2, 1, 1])
  t.equal(selector.alternative!(request, (candidate) => candidate !== own), london)
  t.throws(() => nearest({ spillOver: 0 }), { name: 'RangeError', message: /spillOver/ })
  t.throws(() => nearest({ location: { latitude: 100, longitude: 0 } }), RangeError)
})
