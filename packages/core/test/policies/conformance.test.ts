import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { array, assert, integer, nat, property } from 'fast-check'
import t from 'tap'
import { policies } from '../../src/index.ts'
import { context, FakeEnvironment, run, upstream, upstreams, varied, type Fake } from './bench.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Policies that by design do not share in proportion to weights. */
const UNSHARED = new Set(['first'])

for (const [name, policy] of Object.entries(policies)) {
  t.test(name, async (t) => {
    t.equal(policy.name, name)
    t.match(policy.describe, /^[A-Z].*\.$/, 'has one sentence for the docs')

    t.test('picks only ready ones, whatever changes', async () => {
      const sets = array(array(nat(39), { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 8 })
      assert(property(integer(), sets, (seed, sets) => {
        const environment = new FakeEnvironment(seed)
        const selector = policy.create<Fake>(environment)
        const all = upstreams(40, (slot) => 1 + slot % 3)
        for (const set of sets) {
          const chosen = new Set(set)
          const ready = all.filter(({ slot }) => chosen.has(slot))
          ready[0]!.weight = 0.5 + environment.random()
          selector.rebuild(ready)
          for (const candidate of run(environment, selector, 60, 7).keys()) if (!ready.includes(candidate)) return false
        }
        return true
      }), { numRuns: 40 })
    })

    t.test('one upstream takes all', async (t) => {
      const environment = new FakeEnvironment()
      const selector = policy.create<Fake>(environment)
      const only = upstream(3)
      selector.rebuild([only])
      t.equal(run(environment, selector, 100, 5).get(only), 100)
    })

    if (!UNSHARED.has(name)) t.test('shares by weight over 100,000 picks', async (t) => {
      const environment = new FakeEnvironment(5)
      const selector = policy.create<Fake>(environment)
      const ready = upstreams(5, (slot) => slot + 1)
      selector.rebuild(ready)
      const counts = run(environment, selector, 100_000, 60, varied(environment))
      for (const candidate of ready) {
        const share = (counts.get(candidate) ?? 0) / 100_000
        t.ok(Math.abs(share - candidate.weight / 15) < 0.03, `weight ${candidate.weight} of 15 got ${share}`)
      }
    })

    t.test('the same seed gives the same picks', async (t) => {
      const sequence = (): string => {
        const environment = new FakeEnvironment(9)
        const selector = policy.create<Fake>(environment)
        selector.rebuild(upstreams(50, (slot) => 1 + slot % 2))
        return [...run(environment, selector, 2000, 30)].map(([{ slot }, count]) => `${slot}:${count}`).join()
      }
      t.equal(sequence(), sequence())
    })

    t.test('an alternative is usable, or nobody', async (t) => {
      for (const n of [1, 5, 150]) {
        const environment = new FakeEnvironment(2)
        const selector = policy.create<Fake>(environment)
        const ready = upstreams(n)
        selector.rebuild(ready)
        run(environment, selector, 3 * n, n)
        const request = context()
        const last = ready[n - 1]!
        t.equal(selector.alternative!(request, (candidate) => candidate === last), last)
        t.equal(selector.alternative!(request, () => false), undefined)
      }
    })

    t.test('slots are used again, and nothing of the former one stays', async (t) => {
      const environment = new FakeEnvironment(3)
      const selector = policy.create<Fake>(environment)
      const ready = upstreams(3)
      selector.rebuild(ready)
      run(environment, selector, 300, 6, ({ slot }) => ({ latency: slot === 1 ? 500 : 10, ok: slot !== 1 }))
      selector.left?.(ready[1]!)
      const successor = upstream(1, 1, { id: 'successor' })
      selector.joined?.(successor)
      const now = [ready[0]!, successor, ready[2]!]
      selector.rebuild(now)
      environment.time += 3000
      const counts = run(environment, selector, 3000, 6, varied(environment))
      t.notOk(counts.has(ready[1]!))
      if (!UNSHARED.has(name)) t.ok(counts.get(successor)! > 700, `the successor got ${counts.get(successor)} of 3000`)
    })

    t.test('picks leave nothing behind', async (t) => {
      const environment = new FakeEnvironment(4)
      const selector = policy.create<Fake>(environment)
      selector.rebuild(upstreams(40))
      const request = context()
      request.clientAddress = '10.0.0.1'
      const loop = (): void => {
        for (let k = 0; k < 50_000; k++) {
          environment.time += 0.25
          request.keyHash = k
          const candidate = selector.select(request)
          candidate.load.started()
          selector.started?.(candidate, environment.time)
          candidate.load.finished(true, 1)
          selector.finished?.(candidate, environment.time, environment.time, 1, true)
        }
      }
      const growth = (): number => {
        collect()
        const before = process.memoryUsage().heapUsed
        loop()
        collect()
        return process.memoryUsage().heapUsed - before
      }
      loop()
      // The engine keeps something for itself now and then; what the policy keeps, it keeps each time.
      t.ok(Math.min(growth(), growth(), growth()) < 400_000, 'less than 8 bytes a pick stay')
    })
  })
}
