import fc from 'fast-check'
import t from 'tap'
import { Deadline, Deadlines, Lease, type Outcome, Pool, type PoolContext, type PoolOptions, RetryBudget, type Upstream, seeded } from '../src/index.ts'
import { FakeClock } from './clock.ts'

function context (tried: readonly Upstream[] = [], more: Partial<PoolContext> = {}): PoolContext {
  return {
    keyHash: 1, clientAddress: '10.0.0.1', clientLocation: undefined, affinity: undefined, attempts: tried.length, repeatable: true,
    hasTried: (upstream) => tried.some(({ id }) => id === upstream.id), ...more
  }
}

function make (options: Partial<PoolOptions> = {}): { pool: Pool; clock: FakeClock } {
  const clock = new FakeClock()
  const pool = new Pool('p', { upstreams: ['http://a', 'http://b', 'http://c'], policy: 'round-robin', ...options }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock))
  return { pool, clock }
}

function take (pool: Pool, ...args: Parameters<typeof context>): Lease {
  const lease = pool.pick(context(...args))
  if (!(lease instanceof Lease)) throw new Error(lease)
  return lease
}

t.test('a lease is released once, whatever is called how often', async (t) => {
  const outcomes: Outcome[] = ['ok', 'failed-before-send', 'failed-after-send', 'timed-out', 'aborted', 'shed']
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(9), fc.constantFrom(...outcomes, 'pick')), { maxLength: 200 }), (steps) => {
    const { pool } = make()
    const leases: Lease[] = []
    for (const [which, step] of steps) {
      if (step === 'pick') leases.push(take(pool))
      else leases[which]?.release(step)
    }
    const held = leases.filter((lease) => !lease.released).length
    const counted = pool.upstreams.reduce((sum, { load }) => sum + load.inFlight, 0)
    if (pool.inFlight !== held || counted !== held) throw new Error(`${pool.inFlight} and ${counted} for ${held}`)
  }))
  t.pass('in flight is what is held, for the pool and its upstreams')
})

t.test('a retry goes to an upstream that was not tried, and to a tried one when all were', async (t) => {
  for (const policy of ['round-robin', 'adaptive', 'hash', 'first', 'random'] as const) {
    const { pool } = make({ policy })
    const tried: Upstream[] = []
    for (let i = 0; i < 3; i++) tried.push(take(pool, tried).upstream)
    t.equal(new Set(tried).size, 3, policy)
    t.ok(take(pool, tried).upstream)
  }
})

t.test('a retry is no trial while somebody is ready: several that are due would use up its attempts', async (t) => {
  const { pool, clock } = make({ upstreams: ['http://a', 'http://b', 'http://c', 'http://d'], panicThreshold: 0 })
  const [a, b, c, d] = pool.upstreams
  for (const bad of [a!, b!, c!]) bad.health.eject('five failures', { base: 30_000, max: 300_000 })
  clock.advance(40_000)
  const trial = take(pool)
  t.equal(trial.choice, 'trial')
  trial.release('failed-after-send', 'reset')
  t.equal(take(pool, [trial.upstream]).upstream, d)
  t.equal(take(pool).choice, 'trial', 'the next request is one')
  d!.health.force('maintenance', 'by hand')
  t.equal(take(pool, [trial.upstream]).choice, 'trial', 'nobody else is there')
})

t.test('who reached nobody goes on while somebody untried is there, of another tier too, but not for ever', async (t) => {
  const { pool } = make({ upstreams: ['http://a', { url: 'http://b', backup: true }, { url: 'http://c', backup: true, weight: 0 }] })
  const [a, b] = pool.upstreams
  t.equal(pool.hasUntried(context([a!])), false)
  t.equal(pool.passesOver(context([a!])), true)
  t.equal(pool.passesOver(context([a!, b!])), false)
  t.equal(pool.passesOver(context([a!], { attempts: 32 })), true)
  t.equal(pool.passesOver(context([a!], { attempts: 33 })), false)
})

t.test('… and while somebody is left who is taken though not ready', async (t) => {
  const { pool } = make({ panicThreshold: 0 })
  const [a, b, c] = pool.upstreams
  b!.health.eject('five failures')
  c!.health.force('maintenance', 'by hand')
  t.equal(pool.passesOver(context([a!])), true, 'ejected')
  t.equal(pool.passesOver(context([a!, b!])), false, 'in maintenance')
  for (const [whenAllDown, goesOn] of [['fail', false], ['try-any', true]] as const) {
    const { pool } = make({ whenAllDown })
    for (const { health } of pool.upstreams) health.probed(false, 'refused', { rise: 1, fall: 1 })
    t.equal(pool.passesOver(context(pool.upstreams.slice(0, 2))), goesOn, whenAllDown)
    t.equal(pool.passesOver(context(pool.upstreams)), false)
  }
})

t.test('an ejected upstream gets one trial at a time after its time, then starts slowly', async (t) => {
  const { pool, clock } = make({ slowStart: 10_000 })
  const bad = pool.upstreams[0]!
  bad.health.eject('five failures', { base: 30_000, max: 300_000 })
  t.equal(bad.health.state, 'ejected')
  for (let i = 0; i < 20; i++) t.not(take(pool).upstream, bad)
  clock.advance(bad.health.ejectedUntil - clock.now() + 1)
  t.not(take(pool, [], { repeatable: false }).upstream, bad, 'not with a request that cannot be repeated')
  const trial = take(pool)
  t.equal(trial.upstream, bad)
  t.not(take(pool).upstream, bad, 'one at a time')
  trial.release('failed-after-send', 'reset')
  t.equal(bad.health.state, 'ejected')
  clock.advance(33_001)
  t.not(take(pool).upstream, bad, 'out for longer the second time')
  clock.advance(bad.health.ejectedUntil - clock.now() + 1)
  const second = take(pool)
  t.equal(second.upstream, bad)
  second.head(200, clock.now())
  second.release('ok')
  t.equal(bad.health.state, 'up')
  t.ok(bad.weight < 0.2, 'with a small share first')
  clock.advance(5000)
  t.ok(bad.weight > 0.4 && bad.weight < 0.6)
  clock.advance(6000)
  t.equal(bad.weight, 1)
  t.same(bad.health.history.map(({ from, to }) => `${from} ${to}`), ['up ejected', 'ejected up'])
})

t.test('a retry that has tried the whole tier goes to a backup before it repeats', async (t) => {
  const { pool } = make({ upstreams: ['http://a', 'http://b', 'http://c;priority=2', 'http://d;backup'] })
  const tried: Upstream[] = []
  for (let i = 0; i < 4; i++) tried.push(take(pool, tried).upstream)
  t.same(tried.map(({ url }) => url).slice(0, 2).sort(), ['http://a', 'http://b'])
  t.same(tried.map(({ url }) => url).slice(2), ['http://d', 'http://c'])
  t.ok(['http://a', 'http://b'].includes(take(pool, tried).upstream.url), 'then the first tier again')
  t.ok(['http://a', 'http://b'].includes(take(pool).upstream.url), 'a new request does not')
})

t.test('a retry that everybody who is ready has failed goes to one that is ejected, which stays so, before it goes to the same again', async (t) => {
  const { pool, clock } = make({ panicThreshold: 0 })
  const [a, b, c] = pool.upstreams as [Upstream, Upstream, Upstream]
  a.health.eject('failures')
  b.health.pause('busy', 60_000)
  t.equal(take(pool).upstream, c, 'no first attempt')
  const lease = take(pool, [c])
  t.equal(lease.upstream, a)
  t.equal(lease.choice, 'alternative')
  lease.head(200, clock.now())
  lease.release('ok')
  t.equal(a.health.state, 'ejected')
  t.equal(take(pool, [c, a]).upstream, c, 'one that asked for a pause is left alone')
})

t.test('a trial that lasts is decided when it is proven, not at its end', async (t) => {
  const { pool, clock } = make({ slowStart: 0 })
  const bad = pool.upstreams[0]!
  bad.health.eject('refused')
  clock.advance(bad.health.ejectedUntil - clock.now() + 1)
  const trial = take(pool)
  t.equal(trial.upstream, bad)
  trial.head(0, clock.now())
  t.equal(bad.health.state, 'ejected')
  trial.prove()
  t.equal(bad.health.state, 'up')
  bad.health.eject('refused')
  trial.release('failed-after-send', 'reset')
  t.equal(bad.health.state, 'ejected', 'and its end decides nothing any more')
  clock.advance(bad.health.ejectedUntil - clock.now() + 1)
  t.equal(take(pool).upstream, bad, 'the next trial is not held up by it')
})

t.test('panic: passive ejection never leaves less than its threshold', async (t) => {
  const share = fc.double({ min: 0.05, max: 1, noNaN: true })
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(4), fc.boolean()), { maxLength: 40 }), share, (steps, panicThreshold) => {
    const { pool } = make({ upstreams: ['http://a', 'http://b', 'http://c', 'http://d', 'http://e'], panicThreshold })
    for (const [which, eject] of steps) {
      const { health } = pool.upstreams[which]!
      if (eject) health.eject('x')
      else health.readmit('y')
      const left = pool.upstreams.filter(({ ready }) => ready).length
      if (left >= panicThreshold * 5 ? pool.ready.length !== left || pool.panic : pool.ready.length !== 5 || !pool.panic) throw new Error(`${left} ${pool.ready.length}`)
    }
  }))
  t.pass()
})

t.test('active checks: rise and fall, without flapping', async (t) => {
  const { pool } = make()
  const { health } = pool.upstreams[0]!
  const thresholds = { rise: 2, fall: 3 }
  for (let i = 0; i < 10; i++) t.equal(health.probed(i % 2 === 0, 'alternating', thresholds), false)
  for (const flips of [false, true]) t.equal(health.probed(false, 'status 500', thresholds), flips)
  t.equal(health.state, 'down')
  t.equal(health.reason, 'status 500')
  for (let i = 0; i < 10; i++) t.equal(health.probed(i % 2 === 0, 'alternating', thresholds), false)
  for (const flips of [false, true]) t.equal(health.probed(true, 'status 200', thresholds), flips)
  t.equal(health.state, 'up')
  health.force('maintenance', 'by hand')
  health.probed(true, 'status 200', thresholds)
  t.equal(health.state, 'maintenance', "an operator's word outranks evidence")
})

t.test('all down: fails fast, or tries anyone', async (t) => {
  for (const whenAllDown of ['fail', 'try-any'] as const) {
    const { pool } = make({ whenAllDown })
    for (const { health } of pool.upstreams) health.startDown('not checked yet')
    const lease = pool.pick(context())
    if (whenAllDown === 'fail') t.equal(lease, 'none-ready')
    else t.type(lease, Lease)
  }
})

t.test('affinity is followed while the pool allows it', async (t) => {
  const { pool } = make()
  const home = pool.upstreams[1]!
  const affinity = { upstreamId: home.id, whileDraining: true, strict: false }
  for (let i = 0; i < 5; i++) t.equal(take(pool, [], { affinity }).upstream, home)
  home.health.force('drain', 'x')
  t.equal(take(pool, [], { affinity }).upstream, home)
  t.not(take(pool, [], { affinity: { ...affinity, whileDraining: false } }).upstream, home)
  home.health.force('maintenance', 'x')
  t.not(take(pool, [], { affinity }).upstream, home)
  t.equal(pool.pick(context([], { affinity: { ...affinity, strict: true } })), 'none-ready')
  home.health.force(undefined, 'x')
  pool.setWeight(home.id, 0)
  t.equal(take(pool, [], { affinity }).upstream, home, 'a weight of 0 ends new work, not what is bound')
  t.not(take(pool, [], { affinity: { ...affinity, whileDraining: false } }).upstream, home)
})

t.test('strict affinity to an upstream that is full or was tried is refused at once', async (t) => {
  const { pool } = make({ maxInFlightPerUpstream: 1 })
  const home = pool.upstreams[1]!
  const affinity = { upstreamId: home.id, whileDraining: true, strict: true }
  const lease = take(pool, [], { affinity })
  t.equal(pool.pick(context([], { affinity })), 'none-ready', 'queued, it would hold up those who may go elsewhere')
  lease.release('ok')
  t.equal(pool.pick(context([home], { affinity })), 'none-ready')
})

t.test('drain resolves with the last lease, or at its deadline', async (t) => {
  const { pool, clock } = make()
  const [a, b] = [take(pool), take(pool)]
  let drained = 0
  void pool.drain(a.upstream.id).then(() => { drained++ })
  const removal = pool.remove(b.upstream.id, 500)
  await Promise.resolve()
  t.equal(drained, 0)
  a.release('ok')
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(drained, 1)
  t.equal(pool.upstreams.length, 3)
  clock.advance(500)
  await removal
  t.equal(pool.upstreams.length, 2)
})

t.test('the retry budget holds over any ten seconds', async (t) => {
  const clock = new FakeClock()
  const budget = new RetryBudget(clock, { ratio: 0.2, perSecond: 1 })
  let granted = 0
  for (let i = 0; i < 100; i++) {
    budget.request(clock.now())
    if (budget.take()) granted++
  }
  t.equal(granted, 30, '20 % of 100 requests and 10 of the floor')
  t.equal(budget.available, 0)
  clock.advance(10_000)
  t.equal(budget.available, 10)
})

t.test('deadlines never fire early, nor when cancelled', async (t) => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 5000 }), fc.boolean()), { maxLength: 60 }), (wishes) => {
    const clock = new FakeClock()
    const deadlines = new Deadlines(clock)
    const fired: [number, number][] = []
    class Probe extends Deadline {
      at = 0
      expired (now: number): void { fired.push([this.at, now]) }
    }
    const all = wishes.map(([delay]) => {
      const probe = new Probe()
      probe.at = clock.now() + delay
      deadlines.schedule(probe, probe.at)
      return probe
    })
    let expected = 0
    wishes.forEach(([, keep], i) => {
      if (keep) expected++
      else deadlines.cancel(all[i]!)
    })
    clock.advance(6000)
    if (fired.length !== expected) throw new Error(`${fired.length} fired, ${expected} expected`)
    for (const [at, now] of fired) if (now < at || now > at + 270) throw new Error(`${at} fired at ${now}`)
  }))
  t.pass()
})
