import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import balancer from '@headgate/balancer'
import { seeded } from '@headgate/core'
import Fastify from 'fastify'
import fc from 'fast-check'
import t from 'tap'
import { upstream } from '../../balancer/test/helpers.ts'
import { FakeClock } from '../../core/test/clock.ts'
import metrics, { Advisor, type PoolAdvice } from '../src/index.ts'
import { erlangC, serversFor } from '../src/scaling/erlang.ts'

t.test('Erlang C is what the textbook sum gives', async (t) => {
  const sum = (load: number, servers: number): number => {
    let [term, below] = [1, 0]
    for (let n = 0; n < servers; n++) {
      below += term
      term *= load / (n + 1)
    }
    const all = term * servers / (servers - load)
    return all / (below + all)
  }
  fc.assert(fc.property(fc.integer({ min: 1, max: 40 }), fc.double({ min: 0.01, max: 0.99, noNaN: true }), (servers, utilisation) => {
    const load = servers * utilisation
    return Math.abs(erlangC(load, servers) - sum(load, servers)) < 1e-9
  }))
  t.equal(erlangC(5, 4), 1)
  t.ok(Number.isFinite(erlangC(5000, 5100)), 'no overflow')
})

/**
 * An M/M/c queue in closed loop: Poisson arrivals, exponential service, as many servers as were advised. Each second the advisor
 * sees what really happened in it. Gives the advice of each second after the first `warm` ones.
 */
function simulate (seed: number, rate: (second: number) => number, service: number, seconds: number, warm: number): number[] {
  const random = seeded(seed)
  const exponential = (mean: number): number => -Math.log(1 - random()) * mean
  const advisor = new Advisor({ min: 1, max: 500 })
  let servers: number[] = [0, 0, 0]
  const advised: number[] = []
  let next = 0
  let ends: { at: number; took: number }[] = []
  for (let second = 0; second < seconds; second++) {
    let arrivals = 0
    while (next < second + 1) {
      arrivals++
      let first = 0
      for (let i = 1; i < servers.length; i++) if (servers[i]! < servers[first]!) first = i
      const took = exponential(service / 1000)
      servers[first] = Math.max(servers[first]!, next) + took
      ends.push({ at: servers[first]!, took })
      next += exponential(1 / rate(next))
    }
    const ended = ends.filter(({ at }) => at <= second + 1)
    ends = ends.filter(({ at }) => at > second + 1)
    const mean = ended.length === 0 ? NaN : ended.reduce((sum, { took }) => sum + took, 0) / ended.length * 1000
    const { desired } = advisor.sample({ now: (second + 1) * 1000, arrivals, serviceTime: mean, ready: servers.length })
    while (servers.length < desired) servers.push(second + 1)
    if (servers.length > desired) servers = servers.toSorted((a, b) => b - a).slice(0, desired)
    if (second >= warm) advised.push(desired)
  }
  return advised
}

const changes = (advised: readonly number[]): number => advised.filter((desired, i) => i > 0 && desired !== advised[i - 1]).length

t.test('M/M/c: within one of the optimum, and calm under noise', async (t) => {
  for (const [rate, service] of [[20, 100], [60, 50], [100, 120], [200, 40]] as const) {
    for (const seed of [1, 2, 3]) {
      const optimum = serversFor(rate * service / 1000, 0.7, 0.05)
      const advised = simulate(seed, () => rate, service, 3600, 900)
      const [least, most] = [Math.min(...advised), Math.max(...advised)]
      t.ok(least >= optimum - 1 && most <= optimum + 1, `${rate}/s × ${service} ms: ${least}–${most}, optimum ${optimum}`)
      t.ok(changes(advised) <= 8, `${changes(advised)} changes in three quarters of an hour`)
    }
  }
})

t.test('a load that swings within minutes does not move the advice to and fro; one that rises moves it soon, one that falls late', async (t) => {
  const swinging = simulate(5, (at) => 60 + 40 * Math.sin(at / 60 * 2 * Math.PI), 100, 3600, 900)
  t.ok(changes(swinging) <= 8, `${changes(swinging)} changes`)
  const step = simulate(7, (at) => at < 600 ? 30 : at < 1800 ? 120 : 30, 100, 3600, 0)
  const optimum = serversFor(12, 0.7, 0.05)
  t.ok(step[690]! >= optimum - 1, 'after a minute and a half')
  t.ok(step[1900]! >= optimum - 1, 'not yet')
  t.ok(step[2700]! <= serversFor(3, 0.7, 0.05) + 1, 'after the calm')
})

t.test('limits, headroom, nothing known', async (t) => {
  const idle = new Advisor({ min: 2, max: 5, headroom: 1 }).sample({ now: 0, arrivals: 0, serviceTime: NaN, ready: 3 })
  t.match(idle, { desired: 3, ready: 3, concurrency: 0, utilisation: 0 })
  const busy = new Advisor({ max: 5, upAfter: 0 })
  t.equal(busy.sample({ now: 0, arrivals: 1000, serviceTime: 1000, ready: 3 }).desired, 5)
})

t.test('from a pool: advice, metric, channel, scaler', async (t) => {
  const clock = new FakeClock()
  const a = await upstream(t, (_, response) => { response.end('a') })
  const calls: PoolAdvice[] = []
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metrics, {
    route: { unsafe: true }, clock,
    scaling: { min: 2, upAfter: 5000, cooldown: 10_000, pools: { quiet: false }, scaler: { scale: async (advice) => { calls.push(advice) } } }
  })
  // The same clock, which stands still while requests run: a slow machine must not look like work.
  await app.register(balancer, { clock, pools: { web: [a.url], quiet: [a.url] }, routes: [{ prefix: '/', pool: 'web' }] })
  const published: PoolAdvice[] = []
  const listener = (message: unknown) => { published.push(message as PoolAdvice) }
  subscribe('headgate:pool:advice', listener)
  t.teardown(() => unsubscribe('headgate:pool:advice', listener))
  for (let i = 0; i < 5; i++) await app.inject('/')
  clock.advance(1000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.match(app.scaling.get('web'), { pool: 'web', desired: 2, ready: 1, arrivalRate: 5 })
  t.equal(app.scaling.get('quiet'), undefined)
  t.match(calls, [{ pool: 'web', desired: 2 }])
  clock.advance(9000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(calls.length, 1, 'not again before the cooldown')
  clock.advance(2000)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(calls.length, 2)
  const { body } = await app.inject('/metrics')
  t.match(body, 'headgate_pool_desired_upstreams{pool="web"} 2')
  await t.rejects(async () => Fastify().register(metrics, { route: false, scaling: { min: 9, max: 3 } }), { message: /options\.scaling\.min: must not be above max \(3\)/ })
})
