import fc from 'fast-check'
import t from 'tap'
import { Bus } from '../../workers/test/bus.ts'
import { storeConformance } from '../src/conformance.ts'
import { ReplicatedStore } from '../src/index.ts'
import { FakeClock, origins, site } from './helpers.ts'

const turns = async (count = 60): Promise<void> => {
  for (let left = count; left > 0; left--) await new Promise((resolve) => { setImmediate(resolve) })
}

function tables (count: number, clock = new FakeClock(), bus = new Bus()): { tables: ReplicatedStore[]; clock: FakeClock; bus: Bus } {
  return { tables: Array.from({ length: count }, () => new ReplicatedStore(bus.join(), { clock })), clock, bus }
}

const key = (n: number): string => `${'ABab09-_'[n % 8]!}${String(n).padStart(21, '0')}`

t.test('it conforms', async (t) => {
  let clock = new FakeClock()
  const make = (): ReplicatedStore => tables(2, clock = new FakeClock()).tables[1]!
  for (const { name, run } of storeConformance(make, (ms) => { clock.advance(ms) })) await t.resolves(run(), name)
})

t.test('a later binding holds, whichever message comes first; of the same millisecond, one and the same everywhere', async (t) => {
  const { tables: [a, b, c] } = tables(3)
  a!.set(key(1), { upstreamId: 'late', boundAt: 20 }, 1000)
  b!.set(key(1), { upstreamId: 'early', boundAt: 10 }, 1000)
  a!.set(key(2), { upstreamId: 'x', boundAt: 10 }, 1000)
  b!.set(key(2), { upstreamId: 'y', boundAt: 10 }, 1000)
  await turns()
  for (const table of [a!, b!, c!]) {
    t.equal(table.get(key(1))?.upstreamId, 'late')
    t.equal(table.get(key(2))?.upstreamId, 'y')
  }
  a!.delete(key(1))
  b!.set(key(1), { upstreamId: 'again', boundAt: 30 }, 1000)
  await turns()
  for (const table of [a!, b!, c!]) t.equal(table.get(key(1))?.upstreamId, 'again', 'what was bound after what was deleted stays')
})

t.test('lives are prolonged everywhere, told once in a tenth of them', async (t) => {
  const { tables: [a, b], clock, bus } = tables(2)
  a!.set(key(1), { upstreamId: 'x', boundAt: 1 }, 1000)
  await turns()
  const before = bus.sent.get('sticky.changes')!
  for (let n = 0; n < 100; n++) {
    clock.advance(50)
    t.equal(a!.touch(key(1), 1000), true)
    await turns(2)
    if (b!.get(key(1)) === undefined) return t.fail(`gone after ${n}`)
  }
  await turns()
  const told = bus.sent.get('sticky.changes')! - before
  t.ok(told <= 50 && told >= 40, `every second one: ${told}`)
  clock.advance(1001)
  t.equal(b!.get(key(1)), undefined)
})

t.test('changes of one turn are one message', async (t) => {
  const { tables: [a, b], bus } = tables(2)
  for (let n = 0; n < 100; n++) a!.set(key(n), { upstreamId: 'x', boundAt: n }, 1000)
  await turns()
  t.equal(b!.size, 100)
  t.equal(bus.sent.get('sticky.changes'), 1)
})

t.test('one that comes later has all that there was before it is ready; without one who knows it begins empty', async (t) => {
  const { tables: [a], clock, bus } = tables(1)
  for (let n = 0; n < 200; n++) a!.set(key(n), { upstreamId: `u${n}`, boundAt: n }, 1000)
  await turns()
  clock.advance(400)
  const late = new ReplicatedStore(bus.join(), { clock })
  await late.ready
  t.equal(late.size, 200)
  t.same(late.get(key(7)), { upstreamId: 'u7', boundAt: 7 })
  clock.advance(601)
  t.equal(late.get(key(7)), undefined, 'with the life that is left')
  const deaf = { speaks: false, ready: Promise.resolve(), on: () => () => {}, tell: () => {} }
  const nobody = new ReplicatedStore({ ...deaf, ask: async () => Promise.reject(new Error('nobody')) })
  await t.resolves(nobody.ready)
  const hung = new ReplicatedStore({ ...deaf, ask: async () => new Promise(() => {}) }, { clock })
  await turns(3)
  clock.advance(5000)
  await t.resolves(hung.ready, 'nobody waits for ever')
})

t.test('whatever is changed where, in the end all have the same', async () => {
  const change = fc.record({ at: fc.nat(2), key: fc.nat(3), what: fc.constantFrom('set', 'set', 'set', 'touch', 'delete'), id: fc.constantFrom('a', 'b', 'c'), turns: fc.nat(3) })
  await fc.assert(fc.asyncProperty(fc.array(change, { maxLength: 40 }), fc.array(fc.nat(3), { minLength: 1 }), async (changes, delays) => {
    let n = 0
    const { tables: all } = tables(3, new FakeClock(), new Bus(() => delays[n++ % delays.length]!))
    for (const [time, { at, key: which, what, id, turns: wait }] of changes.entries()) {
      if (what === 'set') all[at]!.set(key(which), { upstreamId: id, boundAt: time }, 1000)
      else if (what === 'touch') all[at]!.touch(key(which), 1000)
      else all[at]!.delete(key(which))
      await turns(wait)
    }
    await turns(400)
    return [0, 1, 2, 3].every((which) => all.every((table) => JSON.stringify(table.get(key(which))) === JSON.stringify(all[0]!.get(key(which)))))
  }), { numRuns: Number(process.env['RUNS'] ?? 60) })
})

t.test('two proxies of one machine send a client to the same upstream; the app is ready when the table is', async (t) => {
  const bus = new Bus()
  const list = await origins(t, 'abc')
  const proxy = async (): Promise<string> => (await site(t, list, { by: 'header', name: 'x-user', table: { store: new ReplicatedStore(bus.join()) } })).url
  const ask = async (url: string, user: string): Promise<string> => (await fetch(url, { headers: { 'x-user': user } })).text()
  const first = [await proxy(), await proxy()]
  const homes = new Map<string, string>()
  for (const user of ['ada', 'bob', 'eve', 'kay', 'lin']) homes.set(user, await ask(first[0]!, user))
  await turns()
  const third = await proxy()
  for (const [user, home] of homes) for (const url of [...first, third]) t.equal(await ask(url, user), home)
})
