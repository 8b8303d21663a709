import { Deadlines, Lease, Pool, type PoolContext, seeded, type Upstream } from '@headgate/core'
import fc from 'fast-check'
import Fastify from 'fastify'
import balancer from '@headgate/balancer'
import t from 'tap'
import { FakeClock } from '../../core/test/clock.ts'
import health, { MemoryVotes, type Ballot, type QuorumOptions, type Vote, type VoteStore } from '../src/index.ts'
import { poolHealth } from '../src/options.ts'
import { phases, PoolMonitor } from '../src/pool-monitor.ts'
import { quorumSettings } from '../src/quorum/options.ts'
import { Quorum } from '../src/quorum/quorum.ts'
import { needed, tally } from '../src/quorum/tally.ts'
import { keepingLog } from './helpers.ts'

const context: PoolContext = {
  keyHash: 1, clientAddress: '10.0.0.1', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false
}
const settle = async (): Promise<void> => { for (let i = 0; i < 20; i++) await Promise.resolve() }

/** One instance of several that balance over the same upstreams. */
class Instance {
  readonly pool: Pool
  readonly quorum: Quorum
  readonly lines: ReturnType<typeof keepingLog>['lines']
  away = false

  constructor (clock: FakeClock, votes: MemoryVotes, name: string, options: Partial<QuorumOptions>, seed: number) {
    const deadlines = new Deadlines(clock)
    this.pool = new Pool('p', { upstreams: ['http://a', 'http://b', 'http://c', 'http://d'], policy: 'round-robin', slowStart: 0 }, 'pool', { clock, random: seeded(seed) }, deadlines)
    const { log, lines } = keepingLog()
    this.lines = lines
    const member = votes.join(name)
    const store: VoteStore = {
      exchange: async (all) => {
        if (!this.away) return member.exchange(all)
        votes.leave(name)
        throw new Error('cut off')
      }
    }
    this.quorum = new Quorum(quorumSettings({ store, clock, ...options }, 'quorum'), log)
    new PoolMonitor(this.pool, poolHealth({ check: false }, this.pool), deadlines, log, phases(), undefined, this.quorum).start()
    this.quorum.start()
  }

  get x (): Upstream { return this.pool.upstreams[0]! }
  get out (): boolean { return this.x.health.state === 'ejected' }

  /** Its requests to the first upstream get no answer. */
  fails (upstream: Upstream = this.x): void {
    for (let i = 0; i < 5; i++) this.#take(upstream)?.release('failed-before-send', 'connect-refused')
  }

  /** The one request that an ejected upstream is tried with. */
  trial (ok: boolean): void {
    for (let i = 0; i < 8; i++) {
      const lease = this.pool.pick(context)
      if (!(lease instanceof Lease)) continue
      if (lease.upstream === this.x && !ok) lease.release('failed-before-send', 'connect-refused')
      else {
        lease.head(200, this.pool.environment.clock.now(), [])
        lease.release('ok')
      }
    }
  }

  #take (upstream: Upstream): Lease | undefined {
    const lease = this.pool.pick({ ...context, affinity: { upstreamId: upstream.id, whileDraining: true, strict: true } })
    return lease instanceof Lease ? lease : undefined
  }
}

interface Together { readonly all: Instance[]; readonly clock: FakeClock; readonly votes: MemoryVotes; pass (ms?: number): Promise<void> }

async function together (count: number, options: Partial<QuorumOptions> = {}): Promise<Together> {
  const clock = new FakeClock()
  const votes = new MemoryVotes()
  const all = Array.from({ length: count }, (_, i) => new Instance(clock, votes, `i${i}`, options, i + 1))
  const pass = async (ms = 1000): Promise<void> => {
    for (let left = ms; left > 0; left -= 1000) {
      clock.advance(Math.min(1000, left))
      await settle()
    }
  }
  await pass()
  return { all, clock, votes, pass }
}

const out = (all: readonly Instance[]): string => all.map((one) => one.out ? 'x' : '.').join('')

t.test('an upstream is ejected for all when enough agree; who sees it alone avoids it alone', async (t) => {
  const { all, pass } = await together(3)
  all[2]!.fails()
  await pass()
  t.equal(out(all), '..x', 'its network may be what is bad')
  t.match(all[2]!.x.health.reason, /^5 attempts in a row/)
  all[0]!.fails()
  await pass()
  t.equal(out(all), 'xxx')
  t.match(all[1]!.x.health.history.at(-1), {
    reason: '2 of 3 instances would eject it: 5 attempts in a row without an answer (connect-refused)', decidedBy: 'traffic', evidence: { agreed: 2, instances: 3 }
  })
})

t.test("with alone: 'keep' nobody ejects before enough agree, a bad network none at all", async (t) => {
  const { all, pass } = await together(3, { alone: 'keep' })
  for (const upstream of all[2]!.pool.upstreams) all[2]!.fails(upstream)
  await pass(5000)
  t.ok(all.every(({ pool }) => pool.ready.length === 4))
  all[0]!.fails()
  await pass()
  t.equal(out(all), 'xxx')
  t.match(all[0]!.x.health.history.at(-1), { evidence: { failures: 5, last: 'connect-refused', agreed: 2, instances: 3 } }, "one's own evidence is in it")
  t.ok(all.every(({ pool }) => pool.ready.length === 3), 'the others that only one sees fail stay')
})

t.test('without the store each decides alone: at once, and for what waited for an answer', async (t) => {
  const { all, pass } = await together(3, { alone: 'keep' })
  all[0]!.fails()
  await pass()
  t.equal(out(all), '...')
  for (const one of all) one.away = true
  await pass()
  t.equal(out(all), 'x..', 'what waited')
  t.match(all[0]!.lines.at(-1), { level: 'warn', message: /decided alone/ })
  all[1]!.fails()
  t.equal(out(all), 'xx.', 'at once')
  for (const one of all) one.away = false
  await pass(2000)
  t.equal(out(all), 'xxx', 'told when it is back')
  t.same(all[0]!.lines.filter(({ message }) => /^ejections|the other instances/.test(message)).map(({ level }) => level), ['info', 'warn', 'info'])
})

t.test('each takes it back by its own trial, and only new evidence takes it out again', async (t) => {
  const { all, pass } = await together(3)
  all[0]!.fails()
  all[1]!.fails()
  await pass()
  t.equal(out(all), 'xxx')
  await pass(34_000)
  all[0]!.trial(false)
  all[1]!.trial(false)
  all[2]!.trial(true)
  t.equal(out(all), 'xx.')
  await pass(5000)
  t.equal(out(all), 'xx.', 'the votes of the others have been counted')
  await pass(70_000)
  all[0]!.trial(true)
  t.equal(out(all), '.x.')
  all[0]!.fails()
  await pass()
  t.equal(out(all), 'xxx', 'new evidence, and another who still says so')
})

t.test('who comes later takes over what the others agree on; who is gone counts no more', async (t) => {
  const { all, votes, clock, pass } = await together(4, { agree: 3 })
  all[0]!.fails()
  all[1]!.fails()
  await pass()
  t.equal(out(all), 'xx..')
  votes.leave('i3')
  all[3]!.away = true
  await pass()
  t.equal(out(all), 'xx..', 'three of the three that are left')
  all[2]!.fails()
  await pass()
  const late = new Instance(clock, votes, 'late', { agree: 3 }, 9)
  await pass()
  t.equal(late.out, true)
})

t.test('votes end with their window, with the upstream, and count once for an instance of many processes', async (t) => {
  const { all, pass } = await together(3, { alone: 'keep', window: 10_000 })
  all[0]!.fails()
  await pass(11_000)
  all[1]!.fails()
  await pass()
  t.equal(out(all), '...')
  const vote = (id: string): Vote => ({ pool: 'p', upstream: 'u', id, reason: 'r', checksLift: true })
  const ballots: Ballot[] = [{ instance: 'a', votes: [vote('1')] }, { instance: 'a', votes: [vote('2')] }, { instance: 'b', votes: [] }]
  t.same(tally(ballots, 'majority'), [])
  t.match(tally(ballots, 1), [{ agreed: 1, instances: 2, votes: [{ id: '1' }, { id: '2' }] }])
})

t.test('an operator, and the share that may be out, come first', async (t) => {
  const { all, pass } = await together(3)
  all[2]!.x.health.force('up', 'kept')
  for (const upstream of all[0]!.pool.upstreams) for (const one of all.slice(0, 2)) one.fails(upstream)
  await pass()
  t.equal(all[2]!.x.health.state, 'up')
  t.ok(all.every(({ pool }) => pool.ready.length >= 2), 'maxEjectionPercent holds in each instance')
})

t.test('the tally is what counting by hand gives', async (t) => {
  const ballot = fc.record({
    instance: fc.constantFrom('a', 'b', 'c', 'd'),
    votes: fc.uniqueArray(fc.record({ pool: fc.constantFrom('p', 'q'), upstream: fc.constantFrom('1', '2'), id: fc.uuid(), reason: fc.constant(''), checksLift: fc.boolean() }), { selector: ({ pool, upstream }) => pool + upstream })
  })
  fc.assert(fc.property(fc.array(ballot), fc.oneof(fc.constant('majority' as const), fc.integer({ min: 1, max: 6 })), (ballots, agree) => {
    const instances = [...new Set(ballots.map(({ instance }) => instance))]
    const enough = agree === 'majority' ? Math.ceil((instances.length + 1) / 2) : Math.min(agree, instances.length)
    const expected: string[] = []
    for (const name of ['p1', 'p2', 'q1', 'q2']) {
      const says = (one: Ballot): boolean => one.votes.some(({ pool, upstream }) => pool + upstream === name)
      const voters = instances.filter((instance) => ballots.some((one) => one.instance === instance && says(one)))
      if (voters.length > 0 && voters.length >= enough) expected.push(name)
    }
    const found = tally(ballots, agree).map(({ pool, upstream }) => pool + upstream).sort()
    if (found.join(' ') !== expected.join(' ')) throw new Error(`${found.join(' ')} instead of ${expected.join(' ')}`)
    if (needed(agree, instances.length) > Math.max(1, instances.length)) throw new Error('nobody could ever agree')
  }))
  t.pass()
})

t.test('whatever happens in which order: nobody without evidence ejects for fewer than enough, and all do when enough have it', async (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('fails' as const), who: fc.nat(4) }),
    fc.record({ kind: fc.constant('away' as const), who: fc.nat(4) }),
    fc.record({ kind: fc.constant('back' as const), who: fc.nat(4) }),
    fc.record({ kind: fc.constant('pass' as const), who: fc.integer({ min: 1, max: 3 }) })
  )
  await fc.assert(fc.asyncProperty(fc.integer({ min: 2, max: 5 }), fc.constantFrom('avoid' as const, 'keep' as const), fc.array(step, { maxLength: 30 }), async (count, alone, steps) => {
    // No ejection and no vote of it ends within the run.
    const { all, pass } = await together(count, { alone, window: 3_600_000, agree: 2 })
    const evidence = new Set<number>()
    for (const { kind, who } of steps) {
      const at = who % count
      if (kind === 'pass') await pass(who * 200)
      else if (kind === 'fails') {
        if (!all[at]!.out) evidence.add(at)
        all[at]!.fails()
        if (all[at]!.away && !all[at]!.out) await pass()
      } else all[at]!.away = kind === 'away'
      if (evidence.size < 2) for (const [index, one] of all.entries()) if (one.out && !evidence.has(index)) throw new Error('ejected by one voice alone')
      if (alone === 'avoid') for (const index of evidence) if (!all[index]!.out) throw new Error('not avoided')
    }
    for (const one of all) one.away = false
    await pass(3000)
    const voices = evidence.size
    if (voices >= 2 && out(all).includes('.')) throw new Error(`${voices} agree and ${out(all)}`)
    if (voices < 2 && all.some((one, index) => one.out && !evidence.has(index))) throw new Error('one voice alone')
  }), { numRuns: 60 })
  t.pass()
})

t.test('in an app: options are checked, and the store is asked', async (t) => {
  for (const [options, message] of [
    [{}, /options\.quorum\.store/], [{ store: {} }, /options\.quorum\.store\.exchange/], [{ store: { exchange () {} }, agree: 0 }, /options\.quorum\.agree/],
    [{ store: { exchange () {} }, alone: 'no' }, /options\.quorum\.alone/], [{ store: { exchange () {} }, interval: 1 }, /options\.quorum\.interval/]
  ] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(balancer, { pools: { p: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'p' }] })
    await t.rejects(async () => app.register(health, { check: false, quorum: options as never }), { code: 'HG_POOL_INVALID_OPTION', message })
  }
  const votes = new MemoryVotes()
  const apps = await Promise.all(['a', 'b', 'c'].map(async (name) => {
    const app = Fastify()
    t.teardown(() => app.close())
    const pools = { p: { upstreams: [{ id: 'gone', url: 'http://127.0.0.1:1' }, { id: 'gone-too', url: 'http://127.0.0.1:2' }] } }
    await app.register(balancer, { pools, routes: [{ prefix: '/', pool: 'p' }] })
    await app.register(health, { check: false, passive: { maxEjectionPercent: 100 }, quorum: { store: votes.join(name), interval: 100 } })
    await app.ready()
    return app
  }))
  for (const app of apps.slice(0, 2)) for (let i = 0; i < 12; i++) await app.inject('/')
  const [gone] = apps[2]!.balancer.pool('p').upstreams as [Upstream]
  while (gone.health.state !== 'ejected') await new Promise((resolve) => { setTimeout(resolve, 5) })
  t.match(gone.health.reason, /^2 of 3 instances would eject it/)
})
