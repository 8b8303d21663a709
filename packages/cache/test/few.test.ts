import fc from 'fast-check'
import t from 'tap'
import { Few } from '../src/flight/few.ts'

const things = Array.from({ length: 4 }, (_, id) => ({ id }))

t.test('it is a Set, in the order in which things came', async (t) => {
  const operation = fc.record({ what: fc.constantFrom('add', 'add', 'delete', 'take'), thing: fc.constantFrom(...things) })
  fc.assert(fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
    const few = new Few<{ id: number }>()
    const set = new Set<{ id: number }>()
    for (const { what, thing } of operations) {
      if (what === 'delete' && few.delete(thing) !== set.delete(thing)) return false
      if (what === 'take') {
        const all = few.take()
        if (all.length !== set.size || all.some((one) => !set.delete(one))) return false
      }
      if (what === 'add') {
        few.add(thing)
        set.add(thing)
      }
      const list = few.list()
      const expected = [...set]
      if (few.size !== set.size || list.length !== set.size || list.some((one, i) => one !== expected[i])) return false
    }
    return true
  }))
  t.pass()
})

t.test('those of a list may go while it is gone through', async (t) => {
  const few = new Few<object>()
  for (const thing of things) few.add(thing)
  const seen: object[] = []
  for (const thing of few.list()) {
    seen.push(thing)
    few.delete(thing)
  }
  t.same(seen, things)
  t.equal(few.size, 0)
})
