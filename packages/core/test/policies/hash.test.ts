import t from 'tap'
import { hash, ipHash, mix32, type Policy } from '../../src/index.ts'
import { hashAddress } from '../../src/policies/ip-hash.ts'
import { context, FakeEnvironment, run, upstream, upstreams, type Fake } from './bench.ts'

const KEYS = 20_000
const cases: [string, Policy, (request: ReturnType<typeof context>, k: number) => void][] = [
  ['hash', hash(), (request, k) => { request.keyHash = mix32(k) }],
  ['ip-hash', ipHash(), (request, k) => { request.clientAddress = `10.7.${k >> 8}.${k & 255}` }]
]
for (const [name, policy, put] of cases) {
  for (const n of [10, 150]) {
    t.test(`${name} moves few keys among ${n}`, async (t) => {
      const environment = new FakeEnvironment()
      const selector = policy.create<Fake>(environment)
      const all = upstreams(n)
      const request = context()
      const owners = (ready: Fake[]): Fake[] => {
        environment.time += 10_000
        selector.rebuild(ready)
        return Array.from({ length: KEYS }, (_, k) => {
          put(request, k)
          return selector.select(request)
        })
      }
      const moved = (a: Fake[], b: Fake[]): number => a.filter((owner, k) => owner !== b[k]).length / KEYS
      const before = owners(all)
      t.ok(moved(before, owners(all.filter(({ slot }) => slot !== 4))) <= 1 / n + 0.02, 'on removal')
      t.equal(moved(before, owners(all)), 0, 'none when it is back')
      const joiner = upstream(n)
      const after = owners([...all, joiner])
      t.ok(moved(before, after) <= 1 / n + 0.02, 'on addition')
      t.ok(after.includes(joiner), 'the new one has keys')
    })
  }
}

t.test('bounded load holds under Zipf keys', async (t) => {
  for (const n of [10, 150]) {
    const environment = new FakeEnvironment(7)
    const selector = hash({ boundedLoad: 1.25 }).create<Fake>(environment)
    const ready = upstreams(n)
    selector.rebuild(ready)
    const atOnce = 40 * n
    const flying: Fake[] = []
    let most = 0
    const request = context()
    for (let k = 0; k < 20 * atOnce; k++) {
      if (flying.length === atOnce) {
        const [done] = flying.splice(Math.floor(environment.random() * atOnce), 1) as [Fake]
        done.load.finished(true, 1)
        selector.finished?.(done, 0, 0, 1, true)
      }
      request.keyHash = mix32(Math.floor(10_000 ** environment.random())) // density 1 / key
      const candidate = selector.select(request)
      candidate.load.started()
      selector.started?.(candidate, 0)
      flying.push(candidate)
      if (flying.length === atOnce) most = Math.max(most, candidate.load.inFlight)
    }
    t.ok(most <= 1.25 * 40 + 1, `${n} upstreams: at most ${most}, mean 40`)
  }
})

t.test('a busy key stays in one place when nothing else runs', async (t) => {
  const environment = new FakeEnvironment()
  const selector = hash().create<Fake>(environment)
  selector.rebuild(upstreams(3))
  t.equal(run(environment, selector, 200, 6, undefined, (request) => { request.keyHash = 42 }).size, 1)
})

t.test('addresses hash by client', async (t) => {
  t.equal(hashAddress('2001:db8:1:2::1'), hashAddress('2001:0DB8:1:2:ffff:0:0:9'), 'one /64, two spellings')
  t.equal(hashAddress('2001:db8::1'), hashAddress('2001:db8:0:0::7'))
  t.equal(hashAddress('::1'), hashAddress('0:0:0:0:0:0:0:1'))
  t.equal(hashAddress('fe80::'), hashAddress('fe80:0:0:0::1'))
  t.not(hashAddress('2001:db8:1:2::1'), hashAddress('2001:db8:1:3::1'))
  t.not(hashAddress('1::2:3:4:5:6:7'), hashAddress('1:0:2:4::'))
  t.equal(hashAddress('::ffff:10.1.2.3'), hashAddress('10.1.2.3'))
  t.not(hashAddress('10.1.2.3'), hashAddress('10.1.2.4'))
})

t.test('options are checked', async (t) => {
  t.throws(() => hash({ boundedLoad: 1 }), { name: 'RangeError', message: /boundedLoad.*1\.05–100.*1/ })
  t.throws(() => hash({ boundedLoad: Number.NaN }), RangeError)
  t.doesNotThrow(() => hash({ boundedLoad: false }))
})
