import type { FastifyRequest } from 'fastify'
import { Deadlines, Pool, seeded } from '@headgate/core'
import fc from 'fast-check'
import t from 'tap'
import { HashBinding } from '../src/kinds/hash-binding.ts'
import { networkOf } from '../src/kinds/source-ip.ts'
import { FakeClock } from './helpers.ts'

const CLIENTS = 10_000

function make (weights: readonly number[]): Pool {
  const clock = new FakeClock()
  const upstreams = weights.map((weight, i) => ({ url: `http://10.1.0.${i + 1}:3000`, weight }))
  return new Pool('web', { upstreams, slowStart: 0 }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock))
}

const keyOf = (request: FastifyRequest): string | undefined => networkOf(request.ip, 32, 64)

function homes (binding: HashBinding, clients: readonly string[]): string[] {
  return clients.map((ip) => binding.find({ ip } as FastifyRequest)!.upstreamId!)
}

function addresses (count: number, random: () => number): string[] {
  const set = new Set<string>()
  while (set.size < count) set.add([0, 0, 0, 0].map(() => Math.floor(random() * 256)).join('.'))
  return [...set]
}

/** Pearson's statistic of counts against shares. */
function chiSquare (counts: ReadonlyMap<string, number>, shares: ReadonlyMap<string, number>, total: number): number {
  let sum = 0
  for (const [id, share] of shares) sum += ((counts.get(id) ?? 0) - share * total) ** 2 / (share * total)
  return sum
}

/**
 * The value that chi-square with `k` degrees of freedom exceeds with a probability of 1 in 10,000 (Wilson & Hilferty 1931): the
 * clients are drawn with a fixed seed, so that the test says the same each time.
 */
function critical (k: number): number {
  const z = 3.719
  return k * (1 - 2 / (9 * k) + z * Math.sqrt(2 / (9 * k))) ** 3
}

function tally (list: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const id of list) counts.set(id, (counts.get(id) ?? 0) + 1)
  return counts
}

t.test('10,000 random clients are spread by weight', async (t) => {
  for (const [i, weights] of [[1, 1, 1], [1, 1, 1, 1, 1], [1, 2, 3, 4], [10, 1], Array.from({ length: 20 }, () => 1)].entries()) {
    const pool = make(weights)
    const counts = tally(homes(new HashBinding(keyOf, pool, {}), addresses(CLIENTS, seeded(i + 1))))
    const total = weights.reduce((a, b) => a + b)
    const shares = new Map(pool.upstreams.map(({ id, configuredWeight }) => [id, configuredWeight / total]))
    const statistic = chiSquare(counts, shares, CLIENTS)
    t.ok(statistic < critical(weights.length - 1), `weights ${String(weights)}: chi-square ${statistic.toFixed(1)} under ${critical(weights.length - 1).toFixed(1)}`)
  }
})

t.test('neighbouring addresses are spread as well', async (t) => {
  const pool = make([1, 1, 1, 1])
  const clients = Array.from({ length: CLIENTS }, (_, i) => `10.20.${i >> 8}.${i & 255}`)
  const counts = tally(homes(new HashBinding(keyOf, pool, {}), clients))
  const statistic = chiSquare(counts, new Map(pool.upstreams.map(({ id }) => [id, 0.25])), CLIENTS)
  t.ok(statistic < critical(3), `chi-square ${statistic.toFixed(1)}`)
})

t.test('adding or removing one of N moves no more than 1/N + 2 %, and nobody between those that stay', async (t) => {
  const clients = addresses(CLIENTS, seeded(7))
  for (const n of [2, 3, 5, 10, 20]) {
    const pool = make(Array.from({ length: n - 1 }, () => 1))
    const binding = new HashBinding(keyOf, pool, {})
    const before = homes(binding, clients)
    const added = pool.add({ url: 'http://10.1.0.99:3000' })
    const after = homes(binding, clients)
    const moved = after.filter((id, i) => id !== before[i])
    t.ok(moved.length <= CLIENTS * (1 / n + 0.02), `to ${n}: ${moved.length} of ${CLIENTS} moved`)
    t.ok(moved.every((id) => id === added.id), 'all that moved went to the newcomer')
    await pool.remove(added.id)
    t.same(homes(binding, clients), before, 'and back')
    const gone = pool.upstreams[0]!
    if (n === 2) continue
    await pool.remove(gone.id)
    const left = homes(binding, clients)
    const displaced = left.filter((id, i) => id !== before[i]).length
    t.ok(displaced <= CLIENTS * (1 / (n - 1) + 0.02), `from ${n - 1}: ${displaced} moved`)
    t.ok(left.every((id, i) => id === before[i] || before[i] === gone.id))
  }
})

t.test('a client moves only while its upstream cannot be used, whatever happens to the others', async (t) => {
  type Event = readonly [number, 'down' | 'up' | 'drain' | 'undrain']
  const event: fc.Arbitrary<Event> = fc.tuple(fc.nat(4), fc.constantFrom('down' as const, 'up' as const, 'drain' as const, 'undrain' as const))
  fc.assert(fc.property(fc.array(event, { maxLength: 30 }), fc.ipV4(), fc.constantFrom('keep' as const, 'move' as const), fc.boolean(), (events, ip, drain, strict) => {
    const pool = make([1, 1, 1, 1, 1])
    const binding = new HashBinding(keyOf, pool, { drain, failover: strict ? 'strict' : 'rebind' })
    const home = binding.find({ ip } as FastifyRequest)!.upstreamId
    for (const [which, what] of events) {
      const { health } = pool.upstreams[which]!
      if (what === 'down' || what === 'up') health.probed(what === 'up', 'test', { rise: 1, fall: 1 })
      else health.force(what === 'drain' ? 'drain' : undefined, 'test')
      const own = pool.get(home!)!.health.state
      const usable = own === 'up' || (own === 'draining' && drain === 'keep')
      const there = binding.find({ ip } as FastifyRequest)!.upstreamId
      if ((usable || strict) !== (there === home) && (usable || there !== undefined)) throw new Error(`${own}: ${there}`)
    }
  }))
  t.pass('as the rule says')
})
