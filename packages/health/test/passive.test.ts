import fc from 'fast-check'
import t from 'tap'
import { Lease, type Outcome, type Pool, type PoolContext, type Upstream, channels, type SparedMessage } from '@headgate/core'
import { SlidingWindow } from '../src/window.ts'
import type { HealthOptions } from '../src/index.ts'
import { watched } from './helpers.ts'

const context: PoolContext = {
  keyHash: 1, clientAddress: '10.0.0.1', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false
}

/** Takes a lease on a given upstream, or on whom the pool gives. */
function take (pool: Pool, upstream?: Upstream): Lease | undefined {
  const lease = pool.pick(upstream === undefined ? context : { ...context, affinity: { upstreamId: upstream.id, whileDraining: true, strict: true } })
  return lease instanceof Lease ? lease : undefined
}

function end (pool: Pool, lease: Lease | undefined, outcome: Outcome | number, reason = 'reset'): void {
  if (lease === undefined) return
  if (typeof outcome !== 'number') return void lease.release(outcome, reason)
  lease.head(outcome, pool.environment.clock.now(), [])
  lease.release('ok')
}

const off = { gatewayFailures: 0, serverErrors: 0, failureRatio: 0, latencyFactor: 0 }

t.test('five attempts in a row without an answer', async (t) => {
  const { pool, clock } = watched({ check: false })
  const [bad] = pool.upstreams as [Upstream]
  for (const outcome of ['failed-before-send', 'failed-after-send', 'timed-out'] as const) end(pool, take(pool, bad), outcome)
  end(pool, take(pool, bad), 404)
  for (let i = 0; i < 4; i++) end(pool, take(pool, bad), 'failed-before-send', 'connect-refused')
  t.equal(bad.health.state, 'up', 'an answer, 404 as well, begins a new count')
  end(pool, take(pool, bad), 'aborted')
  end(pool, take(pool, bad), 'shed')
  end(pool, take(pool, bad), 'failed-after-send', 'request-too-long')
  t.equal(bad.health.state, 'up', 'what the client did is no evidence')
  end(pool, take(pool, bad), 'failed-before-send', 'connect-refused')
  t.equal(bad.health.state, 'ejected')
  t.match(bad.health.history.at(-1), {
    from: 'up', to: 'ejected', reason: '5 attempts in a row without an answer (connect-refused)', decidedBy: 'traffic', at: clock.time,
    evidence: { failures: 5, last: 'connect-refused', ejections: 1 }
  })
  const left = bad.health.ejectedUntil - clock.now()
  t.ok(left >= 27_000 && left <= 33_000)
})

t.test('five answers 5xx in a row, 4xx never, 501 neither, or the statuses that one wants', async (t) => {
  for (const [statuses, status, ejected] of [
    [undefined, 500, true], [undefined, 503, true], [undefined, 400, false], [undefined, 429, false], [undefined, 501, false], ['500-599', 501, true], [[502], 500, false]
  ] as const) {
    const { pool } = watched({ check: false, passive: statuses === undefined ? {} : { statuses } })
    const [bad] = pool.upstreams as [Upstream]
    for (let i = 0; i < 30; i++) end(pool, take(pool, bad), status)
    t.equal(bad.health.state, ejected ? 'ejected' : 'up', `${status} with ${String(statuses)}`)
  }
})

t.test('more failures than the ratio allows, with enough attempts, in the window', async (t) => {
  const { pool, clock } = watched({ check: false, passive: { ...off, failureRatio: 0.3, minimumVolume: 20, window: 10_000 } })
  const [bad] = pool.upstreams as [Upstream]
  // Good ones first, or the first three would be all of what there is.
  for (let i = 0; i < 19; i++) end(pool, take(pool, bad), 500)
  t.equal(bad.health.state, 'up', 'too few to judge')
  clock.advance(11_000)
  for (let i = 0; i < 100; i++) end(pool, take(pool, bad), i % 10 >= 7 ? 500 : 200)
  t.equal(bad.health.state, 'up', '30 % is not more than 30 %')
  clock.advance(5000)
  for (let i = 0; i < 20; i++) end(pool, take(pool, bad), 500)
  t.equal(bad.health.state, 'ejected')
  t.match(bad.health.reason, /\d+ of 1\d\d attempts failed within 10000 ms \(status 500\)/)
})

t.test('the sliding window counts what a list would, off by at most a tenth of its length', async (t) => {
  const step = fc.tuple(fc.integer({ min: 0, max: 3000 }), fc.boolean())
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const window = new SlidingWindow(10_000)
    const all: [number, boolean][] = []
    let now = 12_345
    for (const [pause, failed] of steps) {
      now += pause
      window.add(now, failed)
      all.push([now, failed])
      const since = (length: number): [number, number] => {
        const recent = all.filter(([at]) => at > now - length)
        return [recent.length, recent.filter(([, failed]) => failed).length]
      }
      const [least, most] = [since(9000), since(10_000)]
      if (window.total < least[0] || window.total > most[0] || window.failed < least[1] || window.failed > most[1]) throw new Error(`${window.total} ${window.failed}`)
    }
  }))
  t.pass()
})

t.test('a latency far over the median of the pool, for long enough, and most answers slow', async (t) => {
  const run = (ms: (i: number) => number, seconds: number): Upstream => {
    const { pool, clock } = watched({ check: false, passive: { ...off, latencyFactor: 5, latencyWindow: 10_000, latencyFloor: 50 } })
    const [slow, ...others] = pool.upstreams as [Upstream, ...Upstream[]]
    for (let i = 0; i < seconds * 10; i++) {
      for (const upstream of [slow, ...others]) {
        const lease = take(pool, upstream)
        if (lease === undefined) continue
        // The time of the answer is given; the clock itself goes on evenly.
        lease.head(200, lease.startedAt + (upstream === slow ? ms(i) : 20))
        lease.release('ok')
      }
      clock.advance(100)
    }
    return slow
  }
  t.equal(run(() => 400, 30).health.state, 'ejected')
  t.match(run(() => 400, 30).health.history[0], { reason: /400 ms against the pool's median of 20 ms/, evidence: { latency: 400, median: 20 } })
  t.equal(run(() => 400, 8).health.state, 'up', 'not long enough')
  t.equal(run(() => 90, 30).health.state, 'up', 'not slow enough')
  t.equal(run((i) => i % 20 === 0 ? 2000 : 20, 60).health.state, 'up', 'one slow answer in twenty raises the peak, but is not slowness')
})

t.test('ejections grow, end with a successful trial and slow start, and are forgiven', async (t) => {
  const { pool, clock } = watched({ check: false }, { slowStart: 10_000 })
  const [bad] = pool.upstreams as [Upstream]
  const lengths: number[] = []
  for (let i = 0; i < 5; i++) {
    for (let n = 0; n < 5; n++) end(pool, take(pool, bad), 500)
    lengths.push(bad.health.ejectedUntil - clock.now())
    clock.advance(lengths.at(-1)!)
    t.equal(bad.health.state, 'ejected', 'until somebody tried')
    let trial: Lease | undefined
    while (trial?.upstream !== bad) {
      trial = take(pool)
      if (trial?.upstream !== bad) end(pool, trial, 200)
    }
    t.ok(trial.trial)
    end(pool, trial, 200)
    t.equal(bad.health.state, 'up')
    t.ok(bad.weight <= 0.2)
  }
  lengths.forEach((length, i) => { t.ok(length >= 27_000 * (i + 1) && length <= 33_000 * (i + 1), `${length} the ${i + 1}. time`) })
  clock.advance(1_200_000)
  for (let n = 0; n < 5; n++) end(pool, take(pool, bad), 500)
  t.ok(bad.health.ejectedUntil - clock.now() < 70_000, 'good time is forgiven: one for each five minutes')
})

t.test('never more than maxEjectionPercent, and it says whom it spared', async (t) => {
  for (const [members, percent, allowed] of [[1, 50, 0], [2, 50, 1], [3, 50, 1], [10, 30, 3], [4, 0, 0], [4, 100, 4]] as const) {
    const upstreams = Array.from({ length: members }, (_, i) => `http://h${i}`)
    const { pool, lines, monitor } = watched({ check: false, passive: { maxEjectionPercent: percent } }, { upstreams })
    const spared: SparedMessage[] = []
    const hear = (message: unknown): void => { spared.push(message as SparedMessage) }
    channels.spared.subscribe(hear)
    for (const upstream of pool.upstreams) for (let i = 0; i < 20; i++) end(pool, take(pool, upstream), 500)
    channels.spared.unsubscribe(hear)
    t.equal(pool.upstreams.filter(({ health }) => health.state === 'ejected').length, allowed, `${members} members, ${percent} %`)
    t.equal(lines.length, members - allowed, 'one line for each that was spared')
    if (members > allowed) t.match(spared[0], { pool: 'p', reason: /5 failures in a row/ })
    const count = [...monitor.members.values()].reduce((sum, { spared }) => sum + spared, 0)
    t.equal(count, spared.length)
  }
})

t.test('any traffic: passive verdicts never go under the panic bound, have reasons, and counters only grow', async (t) => {
  const event = fc.tuple(fc.nat(5), fc.constantFrom<Outcome | number>('failed-before-send', 'failed-after-send', 'timed-out', 'aborted', 200, 404, 500, 503), fc.integer({ min: 0, max: 4000 }))
  fc.assert(fc.property(fc.integer({ min: 1, max: 6 }), fc.array(event, { maxLength: 200 }), (members, events) => {
    const upstreams = Array.from({ length: members }, (_, i) => `http://h${i}`)
    const { pool, clock, monitor } = watched({ check: false, passive: { gatewayFailures: 2, serverErrors: 3, baseEjection: 5000 } }, { upstreams })
    pool.on('panic', () => { throw new Error('panic') })
    let before = [0, 0]
    for (const [which, outcome, pause] of events) {
      end(pool, take(pool, pool.upstreams[which % members]), outcome)
      end(pool, take(pool), outcome)
      clock.advance(pause)
      const ready = pool.upstreams.filter(({ ready }) => ready).length
      if (ready < members / 2) throw new Error(`${ready} of ${members} left`)
      const counts = [0, 0]
      for (const { upstream, ejections, spared } of monitor.members.values()) {
        counts[0]! += ejections
        counts[1]! += spared
        const last = upstream.health.history.at(-1)
        if (upstream.health.state === 'ejected' && (last?.reason === '' || last?.decidedBy !== 'traffic' || Object.keys(last.evidence).length === 0)) throw new Error('no evidence')
      }
      if (counts.some((count, i) => count < before[i]!)) throw new Error('a counter fell')
      before = counts
    }
  }), { numRuns: 200 })
  t.pass()
})

interface Turns {
  /** Milliseconds of each turn: in the first, third … the first of `flapping` is bad, in the others the second, if there is one. */
  period: number
  flapping: string[]
  steady?: string[]
  options?: HealthOptions
  hours?: number
}

interface Told {
  /** By hour: changes of state, and those among them by which one goes in or out. */
  changes: number[]
  moves: number[]
  requests: number
  failed: number
  pool: Pool
  clock: { advance (ms: number): void }
}

/** Upstreams that are bad in turns, under load, with retries as the balancer makes them. */
function alternate ({ period, flapping, steady = [], options = {}, hours = 1 }: Turns): Told {
  const changes: number[] = Array.from({ length: hours }, () => 0)
  const moves: number[] = Array.from({ length: hours }, () => 0)
  let now = 0
  let failed = 0
  let requests = 0
  const bad = (id: string): boolean => flapping.indexOf(id) === Math.floor(now / period) % 2 && now < hours * 3_600_000
  const { pool, clock } = watched({ check: { type: 'function', run: ({ id }) => !bad(id) }, ...options }, { upstreams: [...flapping, ...steady].map((id) => ({ url: `http://${id}`, id })) })
  const usable = (state: string): boolean => state === 'up' || state === 'degraded'
  pool.on('state', (_, { from, to }) => {
    const hour = Math.floor(now / 3_600_000)
    changes[hour]!++
    if (usable(from) !== usable(to)) moves[hour]!++
  })
  for (; now < hours * 3_600_000; now += 500) {
    clock.advance(500)
    requests++
    const tried: Upstream[] = []
    for (let attempts = 0; attempts < 3; attempts++) {
      const lease = pool.pick({ ...context, attempts, hasTried: ({ id }) => tried.some((upstream) => upstream.id === id) })
      if (!(lease instanceof Lease)) {
        failed++
        break
      }
      const { upstream } = lease
      tried.push(upstream)
      end(pool, lease, bad(upstream.id) ? 503 : 200)
      if (!bad(upstream.id)) break
      if (attempts === 2) failed++
    }
  }
  return { changes, moves, failed, requests, pool, clock }
}

t.test('whatever the turns in which upstreams are good and bad, verdicts are bounded, and requests are not lost for it', async (t) => {
  const sets = fc.constantFrom<{ flapping: string[]; steady?: string[] }>({ flapping: ['a'] }, { flapping: ['a', 'b'] }, { flapping: ['a'], steady: ['c', 'd'] }, { flapping: ['a', 'b'], steady: ['c'] })
  const judges = fc.constantFrom<HealthOptions>({}, { passive: false }, { check: false })
  const seconds = fc.oneof(fc.integer({ min: 5, max: 60 }), fc.integer({ min: 45, max: 600 }))
  let most = [0, 0]
  fc.assert(fc.property(sets, judges, seconds, (set, options, second) => {
    const { changes, moves, failed, requests } = alternate({ ...set, period: second * 1000, options, hours: 2 })
    const members = set.flapping.length
    most = [Math.max(most[0]!, ...moves.map((count) => count / members)), Math.max(most[1]!, ...changes.map((count) => count / members))]
    // Ejections alone grow to five minutes, ± 10 %: ten in the first half an hour at most, then thirteen an hour.
    if (moves.some((count) => count > (options.check === false ? 36 : 26) * members)) throw new Error(`went in and out ${moves.join(' and ')} times an hour`)
    if (changes.some((count) => count > 44 * members)) throw new Error(`${changes.join(' and ')} changes an hour`)
    if (set.steady !== undefined && failed > 0) throw new Error(`${failed} requests failed though somebody was well`)
    if (members === 2 && failed > requests * 0.03) throw new Error(`${failed} of ${requests} requests failed though one was well at each time`)
  }), { numRuns: 40 })
  t.comment(`at most ${most[0]!.toFixed(1)} times in or out and ${most[1]!.toFixed(1)} changes for each upstream and hour`)
  t.pass()
})

t.test('who flaps in turns of 45 s is left out while others do its work, and believed again soon after it was mended', async (t) => {
  const { moves, pool, clock } = alternate({ period: 45_000, flapping: ['a'], steady: ['c', 'd'], hours: 3 })
  t.ok(moves[0]! <= 6, `${moves[0]} times in or out in the first hour`)
  t.same(moves.slice(1), [0, 0])
  const { health } = pool.get('a')!
  t.equal(health.state, 'down')
  clock.advance(60_000)
  t.match(health.reason, /flaps: has to pass its checks for \d+ s more/)
  clock.advance(330_000)
  t.equal(health.state, 'up', 'after six minutes and a half')
})

t.test('where all flap they stay in, and who fails now gets next to nothing', async (t) => {
  const { moves, pool } = alternate({ period: 45_000, flapping: ['a', 'b'], hours: 2 })
  t.equal(moves[1], 0)
  t.same(pool.upstreams.map(({ health }) => [health.state, health.decidedBy]), [['degraded', 'check'], ['degraded', 'check']])
  t.same(pool.upstreams.map(({ health }) => health.factor).sort((a, b) => a - b), [0.05, 0.5])
})

t.test('one that is honestly restarted now and then comes back as fast as the first time', async (t) => {
  let bad = false
  const { pool, clock } = watched({ check: { type: 'function', run: ({ id }) => !(bad && id === 'a') } }, { upstreams: ['a', 'b'].map((id) => ({ url: `http://${id}`, id })) })
  const { health } = pool.get('a')!
  for (let i = 0; i < 20; i++) {
    clock.advance(1_200_000)
    bad = true
    clock.advance(60_000)
    t.equal(health.state, 'down')
    bad = false
    clock.advance(5000)
    t.equal(health.state, 'up')
  }
})

t.test('one that is good and bad at every other check never changes its state', async (t) => {
  let checks = 0
  const { pool, clock } = watched({ check: { type: 'function', idleAfter: 86_400_000, run: () => ++checks % 2 === 0 } }, { upstreams: ['http://a'] })
  clock.advance(3_600_000)
  t.ok(checks > 600)
  t.same(pool.upstreams[0]!.health.history, [])
})

t.test('a failing health check with good traffic, and the other way round', async (t) => {
  const { pool, clock } = watched({ check: { type: 'function', run: () => true } })
  const [bad] = pool.upstreams as [Upstream]
  for (let i = 0; i < 5; i++) end(pool, take(pool, bad), 500)
  clock.advance(20_000)
  t.equal(bad.health.state, 'ejected', 'passed checks do not bring back who answers 500')
  const refused = pool.upstreams[1]!
  end(pool, take(pool, refused), 200)
  clock.advance(40_000)
  bad.health.readmit('for the next part')
  for (let i = 0; i < 5; i++) end(pool, take(pool, refused), 'failed-before-send', 'connect-refused')
  t.equal(refused.health.state, 'ejected')
  clock.advance(8000)
  t.equal(refused.health.state, 'up', 'but they bring back who only could not be reached')
})
