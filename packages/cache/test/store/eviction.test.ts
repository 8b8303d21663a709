import fc from 'fast-check'
import t from 'tap'
import { evictions } from '../../src/store/bounded.ts'
import { Ghost } from '../../src/store/ghost.ts'
import { KeyMap } from '../../src/store/key-map.ts'
import { MemoryStore } from '../../src/index.ts'
import { entry, put } from './helpers.ts'

const key = (name: string, n: number): string => `http://a.example/${name}/${n}`

for (const bound of ['entries', 'bytes'] as const) {
  t.test(`s3-fifo: a scan does not wash out what is in use, under a bound of ${bound}`, async (t) => {
    const store = new MemoryStore({ eviction: 's3-fifo', ...bound === 'entries' ? { maxEntries: 200 } : { maxBytes: 150_000 } })
    for (let n = 0; n < 50; n++) {
      const hot = (await put(store, entry(key('hot', n)), 'body'))!
      store.touch(hot)
    }
    for (let n = 0; n < 2000; n++) await put(store, entry(key('scan', n)), 'body')
    const left = Array.from({ length: 50 }, (_, n) => store.get(key('hot', n)).length).reduce((sum, one) => sum + one, 0)
    t.equal(left, 50)
    t.ok(bound === 'entries' ? store.stats.entries === 200 : store.stats.bytes <= 150_000)
  })
}

t.test('s3-fifo: who comes back soon after it went stays longer than the next ones', async (t) => {
  const store = new MemoryStore({ eviction: 's3-fifo', maxEntries: 100 })
  for (let n = 0; n < 130; n++) await put(store, entry(key('first', n)), 'body')
  t.equal(store.get(key('first', 20)).length, 0)
  await put(store, entry(key('first', 20)), 'body')
  for (let n = 0; n < 500; n++) await put(store, entry(key('scan', n)), 'body')
  t.equal(store.get(key('first', 20)).length, 1)
})

t.test('any order of uses, changes of size and removals leaves each policy consistent', async () => {
  const step = fc.tuple(fc.constantFrom('put', 'touch', 'delete', 'grow'), fc.integer({ min: 0, max: 40 }))
  for (const eviction of Object.keys(evictions) as (keyof typeof evictions)[]) {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 150 }), async (steps) => {
      const gone = new Set<string>()
      const store = new MemoryStore({ eviction, maxEntries: 12, maxBytes: 65_536 })
      store.onEvict = (one) => { gone.add(one.key) }
      const model = new Set<string>()
      for (const [action, n] of steps) {
        const name = key('x', n)
        const [found] = store.get(name)
        if (action === 'put') {
          await put(store, entry(name), 'b'.repeat(n * 100), found === undefined ? [] : [found])
          model.add(name)
        } else if (found !== undefined && action === 'touch') store.touch(found)
        else if (found !== undefined && action === 'grow') {
          found.encoded = new Map([['br', { body: Buffer.alloc(n * 50), head: undefined }]])
          store.grown(found)
        } else if (found !== undefined) {
          store.delete(found)
          model.delete(name)
        }
        for (const name of gone) model.delete(name)
        gone.clear()
        const { entries, bytes } = store.stats
        if (entries !== model.size || entries > 12 || bytes > 65_536) return false
        if ([...store.entries()].some((one) => !model.has(one.key) || store.get(one.key)[0]?.id !== one.id)) return false
      }
      for (const one of store.entries()) store.delete(one)
      return store.stats.entries === 0 && store.stats.bytes === 0
    }), { numRuns: 60 })
  }
})

t.test('ghosts: the latest are known, once, and those of long ago are not', async (t) => {
  const ghost = new Ghost()
  for (let n = 0; n < 1000; n++) ghost.remember(n, 10, 1000)
  t.ok(ghost.take(999))
  t.notOk(ghost.take(999))
  t.ok(ghost.take(960))
  t.notOk(ghost.take(800))
})

t.test('a map in parts is a map', async () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('set', 'delete'), fc.string({ maxLength: 80 })), { maxLength: 200 }), (steps) => {
    const map = new KeyMap<number>()
    const model = new Map<string, number>()
    for (const [i, [action, name]] of steps.entries()) {
      if (action === 'set') {
        map.set(name, i)
        model.set(name, i)
      } else {
        map.delete(name)
        model.delete(name)
      }
      if (map.get(name) !== model.get(name)) return false
    }
    return JSON.stringify([...map.values()].sort((a, b) => a - b)) === JSON.stringify([...model.values()].sort((a, b) => a - b))
  }))
})
