import fc from 'fast-check'
import t from 'tap'
import { storeConformance } from '../src/conformance.ts'
import { MemoryStore, type StickEntry, type StickStore } from '../src/index.ts'
import { FakeClock } from './helpers.ts'

t.test('the memory store conforms', async (t) => {
  let clock = new FakeClock()
  const cases = storeConformance(() => new MemoryStore(100, clock = new FakeClock()), (ms) => { clock.advance(ms) })
  for (const { name, run } of cases) await t.resolves(run(), name)
})

t.test('so does one that answers later', async (t) => {
  let clock = new FakeClock()
  const make = (): StickStore => {
    const memory = new MemoryStore(100, clock = new FakeClock())
    return {
      get: async (key) => memory.get(key),
      set: async (key, entry, ttl) => { memory.set(key, entry, ttl) },
      touch: async (key, ttl) => memory.touch(key, ttl),
      delete: async (key) => memory.delete(key),
      expire: async (limit) => memory.expire(limit)
    }
  }
  for (const { name, run } of storeConformance(make, (ms) => { clock.advance(ms) })) await t.resolves(run(), name)
})

t.test('the suite finds stores that break their promise', async (t) => {
  const broken: Record<string, new (maxEntries: number, clock: FakeClock) => MemoryStore> = {
    'never forgets': class extends MemoryStore {
      override set (key: string, entry: StickEntry): void { super.set(key, entry, 1e12) }
    },
    'touch does nothing': class extends MemoryStore {
      override touch (key: string): boolean { return this.get(key) !== undefined }
    },
    'touch lies': class extends MemoryStore {
      override touch (key: string, ttl: number): boolean { return super.touch(key, ttl) || true }
    },
    'get prolongs': class extends MemoryStore {
      override get (key: string): StickEntry | undefined {
        this.touch(key, 10_000)
        return super.get(key)
      }
    },
    'delete forgets nothing': class extends MemoryStore {
      override delete (key: string): boolean { return this.get(key) !== undefined }
    },
    'expire takes the living': class extends MemoryStore {
      override expire (): number { return Number(this.delete('key-000000000000000001')) }
    }
  }
  for (const [name, Broken] of Object.entries(broken)) {
    let clock = new FakeClock()
    const cases = storeConformance(() => new Broken(100, clock = new FakeClock()), (ms) => { clock.advance(ms) })
    const verdicts = []
    for (const { run } of cases) verdicts.push(await run().then(() => 'kept', () => 'broken'))
    t.ok(verdicts.includes('broken'), name)
  }
})

t.test('it is bounded, and forgets what was not used for the longest time', async (t) => {
  type Step = readonly ['set' | 'touch' | 'get' | 'delete', number] | readonly ['wait' | 'expire', number]
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.tuple(fc.constantFrom('set' as const, 'set' as const, 'touch' as const, 'get' as const, 'delete' as const), fc.nat(11)),
    fc.tuple(fc.constantFrom('wait' as const, 'expire' as const), fc.nat(40))
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const clock = new FakeClock()
    const store = new MemoryStore(5, clock)
    // The model: an ordered list, the longest unused first.
    let model: { key: string; value: string; until: number }[] = []
    let value = 0
    for (const [what, n] of steps) {
      const key = `k${n}`
      const live = model.find((entry) => entry.key === key && entry.until > clock.time)
      if (what === 'wait') clock.advance(n)
      else if (what === 'expire') store.expire(n)
      else if (what === 'get') {
        if (store.get(key)?.upstreamId !== live?.value) throw new Error(`get ${key}`)
        if (live === undefined) model = model.filter((entry) => entry.key !== key)
      } else if (what === 'delete') {
        if (store.delete(key) !== (live !== undefined)) throw new Error(`delete ${key}`)
        model = model.filter((entry) => entry.key !== key)
      } else if (what === 'touch') {
        if (store.touch(key, 100) !== (live !== undefined)) throw new Error(`touch ${key}`)
        model = model.filter((entry) => entry.key !== key)
        if (live !== undefined) model.push({ ...live, until: clock.time + 100 })
      } else {
        store.set(key, { upstreamId: String(++value), boundAt: 0 }, 100)
        model = model.filter((entry) => entry.key !== key)
        // What is over may still take up room, or not: both are right, so the living alone are compared below.
        model.push({ key, value: String(value), until: clock.time + 100 })
      }
      if (store.size > 5) throw new Error('too many')
      // All lives are equally long here, so the order of use is that of expiry: the five used last are never forgotten early.
      const mustLive = model.filter((entry) => entry.until > clock.time).slice(-5)
      for (const entry of mustLive) if (store.get(entry.key)?.upstreamId !== entry.value) throw new Error(`${entry.key} was forgotten early`)
      model = mustLive
    }
  }))
  t.pass('as the model')
})
