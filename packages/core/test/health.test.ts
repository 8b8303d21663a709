import fc from 'fast-check'
import t from 'tap'
import { Health, type HealthChange, seeded } from '../src/index.ts'
import { FakeClock } from './clock.ts'

function make (): { health: Health; clock: FakeClock; changes: HealthChange[] } {
  const clock = new FakeClock()
  const changes: HealthChange[] = []
  const health = new Health({ clock, random: seeded(1) }, (change) => { if (change !== undefined) changes.push(change) })
  return { health, clock, changes }
}

const thresholds = { rise: 2, fall: 3 }

t.test('passed checks end an ejection for want of answers, but not one for wrong answers', async (t) => {
  for (const checksLift of [true, false]) {
    const { health } = make()
    for (let i = 0; i < 10; i++) health.probed(true, 'status 200', thresholds)
    health.eject('five failures', { base: 30_000, max: 300_000, checksLift })
    t.equal(health.probed(true, 'status 200', thresholds), false, 'one check is no series, whatever came before the ejection')
    t.equal(health.probed(true, 'status 200', thresholds), checksLift)
    t.equal(health.state, checksLift ? 'up' : 'ejected')
  }
})

t.test('an outage that checks saw the end of is newer than the errors before it', async (t) => {
  const { health } = make()
  health.eject('five answers 500')
  for (let i = 0; i < 3; i++) health.probed(false, 'connect-refused', thresholds)
  t.equal(health.state, 'down')
  for (let i = 0; i < 2; i++) health.probed(true, 'status 200', thresholds)
  t.equal(health.state, 'up')
})

t.test('several voices lower its share: the lowest counts, each ends by itself', async (t) => {
  const { health, clock } = make()
  health.degrade(0.5, 'header', 10_000, {}, 'header')
  health.degrade(0.75, 'agent', Infinity, {}, 'agent')
  t.equal(health.factor, 0.5)
  clock.advance(10_000)
  health.tick()
  t.equal(health.factor, 0.75)
  health.degrade(1, 'idle again', Infinity, {}, 'agent')
  t.equal(health.state, 'up')
  t.equal(health.reason, 'idle again')
})

t.test('its own word counts less than an operator and more than traffic', async (t) => {
  const { health } = make()
  health.eject('five failures')
  health.say('maintenance', 'agent: maint')
  t.equal(health.state, 'maintenance')
  health.force('up', 'by hand')
  t.equal(health.state, 'up')
  health.force(undefined, 'no more by hand')
  t.equal(health.state, 'maintenance')
  health.say('draining', 'agent: drain')
  t.equal(health.state, 'draining')
  health.startDown('no answer')
  t.equal(health.state, 'down')
  health.unchecked('checks are off')
  health.say(undefined, 'agent: ready')
  t.equal(health.state, 'ejected')
})

t.test('any sequence of evidence: reasons, who decided, a history without holes, and states that follow from their evidence', async (t) => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('probe' as const), ok: fc.boolean() }),
    fc.record({ do: fc.constant('eject' as const), checksLift: fc.boolean() }),
    fc.record({ do: fc.constant('try' as const), ok: fc.boolean() }),
    fc.record({ do: fc.constant('degrade' as const), factor: fc.double({ min: 0.05, max: 1, noNaN: true }), key: fc.constantFrom('a', 'b') }),
    fc.record({ do: fc.constant('pause' as const), ms: fc.integer({ min: 1, max: 60_000 }) }),
    fc.record({ do: fc.constant('say' as const), state: fc.constantFrom('draining' as const, 'maintenance' as const, 'down' as const, undefined) }),
    fc.record({ do: fc.constant('force' as const), state: fc.constantFrom('up' as const, 'drain' as const, 'maintenance' as const, undefined) }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 100_000 }) })
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
    const { health, clock, changes } = make()
    let flips = 0
    for (const step of steps) {
      const before = health.state
      let flipped = false
      switch (step.do) {
        case 'probe': flipped = health.probed(step.ok, step.ok ? 'passed' : 'failed', thresholds); break
        case 'eject': flipped = health.eject('failures', { base: 1000, max: 10_000, checksLift: step.checksLift }); break
        case 'try': flipped = health.tried(step.ok, 'trial'); break
        case 'degrade': flipped = health.degrade(step.factor, 'busy', 5000, {}, step.key); break
        case 'pause': flipped = health.pause('asked', step.ms); break
        case 'say': flipped = health.say(step.state, 'said'); break
        case 'force': flipped = health.force(step.state, 'forced'); break
        case 'wait': clock.advance(step.ms); flipped = health.tick()
      }
      if (flipped) flips++
      if (flipped !== (before !== health.state)) throw new Error(`told ${flipped} for ${before} to ${health.state}`)
      if (health.reason === '') throw new Error('no reason')
      if (health.factor <= 0 || health.factor > 1) throw new Error(`factor ${health.factor}`)
      if (health.state === 'ejected' && health.ejectedUntil > clock.now() + Math.max(10_000, step.do === 'pause' ? step.ms : 60_000)) throw new Error('out for too long')
      if (health.forced === 'up' && health.state !== 'up') throw new Error(`forced up, but ${health.state}`)
      if (health.forced === 'maintenance' && health.state !== 'maintenance') throw new Error(`forced out, but ${health.state}`)
    }
    if (changes.length !== flips) throw new Error(`${changes.length} published for ${flips} flips`)
    changes.forEach((change, i) => {
      if (change.reason === '' || change.from === change.to || change.from !== (changes[i - 1]?.to ?? 'up')) throw new Error('a hole in the history')
      if (change.forced && change.decidedBy !== 'operator') throw new Error('forced by somebody else')
    })
    if (health.history.length > 32) throw new Error('history grows')
  }))
  t.pass()
})
