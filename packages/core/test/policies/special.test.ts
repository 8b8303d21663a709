import t from 'tap'
import { adaptive, leastTime, nearest, p2c, peakEwma, reportedLoad, roundRobin, weightedRoundRobin } from '../../src/index.ts'
import { context, FakeEnvironment, run, upstream, upstreams, varied, type Fake } from './bench.ts'

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

t.test('adaptive: three of ten that fail at once are found out after a few failures', async (t) => {
  const environment = new FakeEnvironment(3)
  const selector = adaptive.create<Fake>(environment)
  selector.rebuild(upstreams(10))
  run(environment, selector, 3000, 12, varied(environment))
  let failed = 0
  run(environment, selector, 2000, 12, ({ slot }) => {
    if (slot >= 3) return varied(environment)()
    failed++
    return { latency: 0.2, ok: false }
  })
  t.ok(failed <= 15, `${failed} failures`)
})

t.test('adaptive: one that answers again after many failures in a row is soon believed, one that fails now and then is not', async (t) => {
  const environment = new FakeEnvironment(3)
  const selector = adaptive.create<Fake>(environment)
  selector.rebuild(upstreams(4))
  run(environment, selector, 3000, 8, varied(environment))
  let mended = Infinity
  let tried = 0
  const go = (picks: number, answers: () => boolean): void => {
    run(environment, selector, picks, 8, ({ slot }) => {
      if (slot === 0) tried++
      return slot !== 0 || answers() ? varied(environment)() : { latency: 0.2, ok: false }
    })
  }
  const until = environment.time + 30_000
  while (environment.time < until) go(50, () => false)
  t.ok(tried <= 20, `${tried} tries while it fails`)
  const began = environment.time
  while (mended === Infinity && environment.time < began + 60_000) {
    const before = tried
    go(100, () => true)
    if (tried - before >= 15) mended = environment.time - began
  }
  t.ok(mended < 20_000, `${mended} ms until it has its share again`)
  tried = 0
  go(20_000, () => environment.random() < 0.7)
  t.ok(tried < 1000, `${tried} of 20,000 while it fails at every third`)
})

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

t.test('adaptive: what is known of each is known after the set has changed', async (t) => {
  const environment = new FakeEnvironment()
  const selector = adaptive.create<Fake>(environment)
  const [a, b, c] = upstreams(3) as [Fake, Fake, Fake]
  selector.rebuild([a, b, c])
  for (let k = 0; k < 5; k++) selector.started?.(a, environment.time)
  for (let k = 0; k < 3; k++) selector.started?.(b, environment.time)
  t.equal(selector.select(context()), c)
  for (const ready of [[c, a, b], [a, c], [b, a, c]]) {
    selector.rebuild(ready)
    t.equal(selector.select(context()), c)
  }
  selector.rebuild([a, b])
  t.equal(selector.select(context()), b)
})

t.test('adaptive: choices do not depend on how long the process has run', async (t) => {
  const choices = (began: number): number[] => {
    const environment = new FakeEnvironment(6)
    environment.time = began
    const selector = adaptive.create<Fake>(environment)
    selector.rebuild(upstreams(40))
    const picked: number[] = []
    for (let k = 0; k < 2000; k++) {
      const candidate = selector.select(context())
      picked.push(candidate.slot)
      selector.started?.(candidate, environment.time)
      const startedAt = environment.time
      // Whole quarters, which a clock of any age tells apart. A pause now and then lets what is known of the quiet ones fade.
      environment.time += k % 100 === 99 ? 5000 : 0.25 * (1 + candidate.slot % 7)
      selector.finished?.(candidate, environment.time, startedAt, environment.time - startedAt, true)
    }
    return picked
  }
  const young = choices(0)
  // Milliseconds as 32-bit integers begin anew, with a sign and without.
  for (const bits of [31, 32]) t.same(choices(2 ** bits - 50_000), young, `at ${bits} bits`)
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

t.test('nearest: a site with too few ready keeps its share and passes on the rest', async (t) => {
  const environment = new FakeEnvironment(7)
  const selector = nearest({ zone: 'a' }).create<Fake>(environment)
  const all = Array.from({ length: 30 }, (_, slot) => upstream(slot, 1, { zone: slot < 10 ? 'a' : slot < 20 ? 'b' : 'c', location: { latitude: 0, longitude: slot < 10 ? 0 : slot < 20 ? 10 : 60 } }))
  const request = { ...context(), clientLocation: { latitude: 0, longitude: 0 } }
  const shares = (down: (slot: number) => boolean, selector_ = selector): number[] => {
    selector_.rebuild(all.filter(({ slot }) => !down(slot)), all)
    const counts = { a: 0, b: 0, c: 0 } as Record<string, number>
    for (let k = 0; k < 20_000; k++) counts[selector_.select(request).zone!]!++
    return Object.values(counts).map((count) => count / 20_000)
  }
  const close = (actual: number[], wanted: number[], what: string): void => {
    t.ok(actual.every((share, k) => Math.abs(share - wanted[k]!) < 0.02), `${what}: ${actual.join(' ')} for ${wanted.join(' ')}`)
  }
  close(shares(() => false), [1, 0, 0], 'all are well')
  close(shares((slot) => slot < 3), [1, 0, 0], 'seven of ten are enough')
  close(shares((slot) => slot < 5), [5 / 7, 2 / 7, 0], 'five of ten')
  close(shares((slot) => slot < 5 || (slot >= 10 && slot < 19)), [5 / 7, 2 / 7 / 7, 2 / 7 * 6 / 7], 'and one of ten in the next')
  close(shares((slot) => slot < 10), [0, 1, 0], 'nobody')
  close(shares((slot) => slot < 9 || slot >= 10), [1, 0, 0], 'nobody to pass on to')
  close(shares((slot) => slot < 9, nearest({ zone: 'a', minCapacity: 0 }).create<Fake>(environment)), [1, 0, 0], 'switched off')
  t.throws(() => nearest({ minCapacity: 2 }), { name: 'RangeError', message: /minCapacity/ })
})

t.test('nearest by latency: measured by handshakes, followed when the path changes, with spill-over', async (t) => {
  const environment = new FakeEnvironment(7)
  const selector = nearest({ by: 'latency', spillOver: 4 }).create<Fake>(environment)
  const sites = ['a', 'b', 'c'].map((zone, slot) => upstream(slot, 1, { zone }))
  selector.rebuild(sites)
  const latency = { a: 40, b: 10, c: 90 } as Record<string, number>
  const request = context()
  const counts = (picks: number): string => {
    const seen: string[] = []
    for (let k = 0; k < picks; k++) {
      const chosen = selector.select(request)
      seen.push(chosen.zone!)
      environment.time += 10
    }
    return seen.join('')
  }
  t.equal(counts(3), 'abc', 'each is tried once')
  for (const one of sites) selector.connected!(one, environment.time, latency[one.zone!]!)
  t.equal(counts(5), 'bbbbb')
  for (let k = 0; k < 4; k++) selector.started!(sites[1]!, environment.time)
  t.equal(counts(2), 'aa', 'the nearest is full')
  for (let k = 0; k < 4; k++) selector.finished!(sites[1]!, environment.time, environment.time, 5, true)
  t.equal(counts(1), 'b')
  for (let k = 0; k < 6; k++) selector.connected!(sites[1]!, environment.time, 200)
  t.equal(counts(3), 'aaa', 'its path got worse')
  environment.time += 60_000
  const seen = counts(60)
  for (const [zone, times] of [['b', 1], ['c', 1]] as const) t.equal(seen.split(zone).length - 1, times, `${zone} is measured anew by one request`)
})

t.test('adaptive: where upstreams are alike it picks one of those with the fewest in flight', async (t) => {
  for (const n of [10, 100]) {
    const environment = new FakeEnvironment(7)
    const selector = adaptive.create<Fake>(environment)
    const ready = upstreams(n)
    selector.rebuild(ready)
    const flying: { candidate: Fake; since: number }[] = []
    let missed = 0
    for (let k = 0; k < 400 * n; k++) {
      environment.time += 0.1
      const fewest = Math.min(...ready.map(({ load }) => load.inFlight))
      const candidate = selector.select(context())
      if (k >= 200 * n && candidate.load.inFlight > fewest) missed++
      candidate.load.started()
      selector.started?.(candidate, environment.time)
      flying.push({ candidate, since: environment.time })
      if (flying.length <= 3 * n) continue
      const [done] = flying.splice(Math.floor(environment.random() * flying.length), 1)
      done!.candidate.load.finished(true, environment.time - done!.since)
      selector.finished?.(done!.candidate, environment.time, done!.since, environment.time - done!.since, true)
    }
    t.ok(missed < 20 * n, `of ${n} upstreams, ${missed} of ${200 * n} picks had more in flight than another`)
  }
})

t.test('adaptive: equals go on in turn when the count of picks begins anew', async (t) => {
  const environment = new FakeEnvironment(1)
  const selector = adaptive.create<Fake>(environment)
  const members = upstreams(5)
  selector.rebuild(members)
  const last: Fake[] = []
  let wrong = 0
  for (let k = 0; k < 2 ** 22 + 100; k++) {
    const picked = selector.select(context())
    if (k >= 5 && picked !== last[k % 5]) wrong++
    last[k % 5] = picked
    selector.started?.(picked, environment.time)
    selector.finished?.(picked, environment.time, environment.time, 0, undefined)
  }
  t.equal(new Set(last).size, 5)
  t.equal(wrong, 0)
})
