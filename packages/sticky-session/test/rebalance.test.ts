import { Deadlines, Pool, seeded } from '@headgate/core'
import fc from 'fast-check'
import t from 'tap'
import { Rebalancer } from '../src/rebalancer.ts'
import type { StickyOptions } from '../src/index.ts'
import { cookiesOf, FakeClock, keys, origin, origins, results, site } from './helpers.ts'

/** A farm of clients that come by from time to time, as the plugin would tell of them. */
class Farm {
  readonly clock = new FakeClock()
  readonly pool: Pool
  readonly rebalancer: Rebalancer
  readonly homes = new Map<string, string>()
  readonly open = new Map<string, number>()

  constructor (ids: string, share: number) {
    this.pool = new Pool('web', { upstreams: ids.split('').map((id) => ({ id, url: `http://${id}` })), slowStart: 0 }, 'pool', { clock: this.clock, random: seeded(1) }, new Deadlines(this.clock))
    this.rebalancer = new Rebalancer(this.pool, share, 1_800_000, this.clock)
  }

  /** A request begins; gives whether it moved. */
  begin (key: string): boolean {
    const home = this.homes.get(key)!
    const to = this.rebalancer.opened(key, home)
    this.open.set(key, (this.open.get(key) ?? 0) + 1)
    if (to === undefined) return false
    if (to === home) throw new Error('moved to where it was')
    this.homes.set(key, to)
    this.rebalancer.settled(key, to)
    return true
  }

  end (key: string): void {
    this.rebalancer.closed(key)
    this.open.set(key, this.open.get(key)! - 1)
  }

  come (key: string): boolean {
    const moved = this.begin(key)
    this.end(key)
    return moved
  }

  count (id: string): number {
    return [...this.homes.values()].filter((home) => home === id).length
  }
}

t.test('a farm evens out after scaling, at the rate that is allowed, then stops', async (t) => {
  const farm = new Farm('ab', 0.1)
  const names = Array.from({ length: 300 }, (_, i) => `c${i}`)
  for (const [i, key] of names.entries()) farm.homes.set(key, 'ab'[i % 2]!)
  const minute = (): number => {
    let moved = 0
    for (let second = 0; second < 60; second++) {
      farm.clock.advance(1000)
      for (const [i, key] of names.entries()) if (i % 20 === second % 20) moved += Number(farm.come(key))
    }
    return moved
  }
  for (let i = 0; i < 3; i++) t.equal(minute(), 0, 'nobody moves between upstreams that were always there')
  farm.pool.add({ id: 'c', url: 'http://c' })
  const moves = []
  for (let i = 0; i < 6; i++) moves.push(minute())
  t.ok(moves.every((count) => count <= 31), `at most a tenth per minute, give or take one: ${moves.join(', ')}`)
  t.equal(farm.count('c'), 100, 'its fair share')
  t.ok(Math.abs(farm.count('a') - farm.count('b')) <= 2)
  t.equal(minute() + minute(), 0)
})

t.test('the longest idle move first, and never one with a request open', async (t) => {
  const farm = new Farm('a', 1)
  const names = Array.from({ length: 10 }, (_, i) => `c${i}`)
  for (const key of names) {
    farm.homes.set(key, 'a')
    farm.come(key)
    farm.clock.advance(1000)
  }
  farm.begin('c0')
  farm.homes.set('c0', 'a')
  farm.pool.add({ id: 'b', url: 'http://b' })
  // The budget grows by one sixth of a client per second.
  for (let i = 0; i < 61; i++) {
    farm.clock.advance(1000)
    farm.come('c9')
  }
  const moved = names.filter((key) => key !== 'c9' && farm.come(key))
  t.same(moved, ['c1', 'c2', 'c3', 'c4', 'c5'], 'c0 was idle for longer, but has a request open')
})

t.test('the budget is kept, and nobody with an open request moves, whatever happens', async (t) => {
  type Step = readonly ['come' | 'begin' | 'end', number] | readonly ['wait', number] | readonly ['add' | 'remove' | 'down' | 'up', number]
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(fc.constantFrom('come' as const, 'begin' as const, 'end' as const), fc.nat(29)) },
    { weight: 4, arbitrary: fc.tuple(fc.constant('wait' as const), fc.integer({ min: 100, max: 20_000 })) },
    { weight: 1, arbitrary: fc.tuple(fc.constantFrom('add' as const, 'remove' as const, 'down' as const, 'up' as const), fc.nat(4)) }
  )
  const ids = 'abcde'
  fc.assert(fc.property(fc.array(step, { maxLength: 400 }), fc.double({ min: 0.02, max: 1, noNaN: true }), (steps, share) => {
    const farm = new Farm('ab', share)
    for (let i = 0; i < 30; i++) farm.homes.set(`c${i}`, 'ab'[i % 2]!)
    let newcomers = false
    let moved = 0
    const start = farm.clock.time
    for (const [what, n] of steps) {
      const key = `c${n}`
      const id = ids[n]!
      const member = what === 'add' || what === 'remove' || what === 'down' || what === 'up' ? farm.pool.get(id) : undefined
      if (what === 'wait') farm.clock.advance(n)
      else if (what === 'add') {
        if (member === undefined) farm.pool.add({ id, url: `http://${id}` })
        newcomers = true
      } else if (what === 'remove') void (n > 1 && member !== undefined && farm.pool.remove(id))
      else if (what === 'down' || what === 'up') {
        member?.health.probed(what === 'up', 'test', { rise: 1, fall: 1 })
        newcomers = true
      } else if (what === 'end') {
        if ((farm.open.get(key) ?? 0) > 0) farm.end(key)
      } else {
        const busy = (farm.open.get(key) ?? 0) > 0
        const before = farm.homes.get(key)!
        if (farm.begin(key)) {
          moved++
          if (busy) throw new Error('moved with a request open')
          if (!newcomers) throw new Error('moved without a newcomer')
          if (farm.pool.get(farm.homes.get(key)!)?.ready !== true) throw new Error(`moved from ${before} to one that is not ready`)
        }
        if (what === 'come') farm.end(key)
      }
    }
    const allowed = share * 30 * (farm.clock.time - start) / 60_000
    if (moved > allowed + Math.max(1, share * 30)) throw new Error(`${moved} moved, ${allowed} were allowed`)
  }))
  t.pass('as the rule says')
})

for (const [kind, options] of [['cookie', { keys }], ['table', { by: 'header', name: 'x-user' }]] as [string, StickyOptions][]) {
  t.test(`through the proxy, by ${kind}: without the option nobody moves to a newcomer, with it they do`, async (t) => {
    for (const rebalance of [0, 1]) {
      const clock = new FakeClock()
      const { url, app } = await site(t, await origins(t, 'a'), { ...options, clock, rebalance } as StickyOptions, { slowStart: 0 })
      const seen = results(t, () => app)
      const cookies = new Map<string, string>()
      const ask = async (user: string): Promise<string> => {
        const response = await fetch(url, { headers: { 'x-user': user, cookie: cookies.get(user) ?? '' } })
        cookies.set(user, cookiesOf(response)[0] ?? cookies.get(user) ?? '')
        return response.text()
      }
      const users = ['u0', 'u1', 'u2', 'u3']
      for (const user of users) await ask(user)
      const { url: added } = await origin(t, 'b')
      app.balancer.pool('web').add({ id: 'b', url: added })
      let homes: string[] = []
      for (let i = 0; i < 60; i++) {
        clock.advance(2000)
        homes = []
        for (const user of users) homes.push(await ask(user))
      }
      t.equal(homes.filter((home) => home === 'b').length, rebalance === 0 ? 0 : 2, homes.join())
      t.equal(seen.filter((result) => result === 'rebalance').length, rebalance === 0 ? 0 : 2)
      t.equal(seen.filter((result) => result === 'new').length, 4)
      t.notOk(seen.includes('rebind'))
    }
  })
}

t.test('a client is named in its cookie only where rebalancing needs it', async (t) => {
  const list = await origins(t, 'a')
  for (const rebalance of [0, 0.5]) {
    const { url } = await site(t, list, { keys, rebalance })
    const [one, two] = [cookiesOf(await fetch(url))[0]!, cookiesOf(await fetch(url))[0]!]
    t.equal(one.split('.').length, rebalance === 0 ? 4 : 5)
    t.equal(one === two || one.split('.')[2] !== two.split('.')[2], rebalance === 0)
  }
})
