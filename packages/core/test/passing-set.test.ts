import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { PassingSet } from '../src/index.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const oldBytes = (): number => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')!.space_used_size

t.test('it is a Set, however much has passed', async (t) => {
  const operation = fc.record({ add: fc.boolean(), number: fc.nat({ max: 8 }), before: fc.constantFrom(0, 0, 0, 1023, 1024, 1025) })
  fc.assert(fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
    const passing = new PassingSet<number>()
    const set = new Set<number>()
    for (const { add, number, before } of operations) {
      for (let i = 0; i < before; i++) {
        passing.add(-1)
        if (!passing.delete(-1)) return false
      }
      if (add) {
        passing.add(number)
        set.add(number)
      } else if (passing.delete(number) !== set.delete(number)) return false
      const list = passing.list()
      if (passing.size !== set.size || passing.first() !== [...set][0] || list.length !== set.size || ![...set].every((one, i) => one === list[i])) return false
    }
    return true
  }))
  t.pass()
})

t.test('what has passed is not kept by it', async (t) => {
  const passing = new PassingSet<object>()
  const inside: object[] = []
  let before = 0
  let most = 0
  for (let i = 0; i < 50_000; i++) {
    // Some 2 KB.
    const one = Array.from({ length: 256 }, () => i)
    passing.add(one)
    passing.delete(inside[i % 64] ?? one)
    inside[i % 64] = one
    if (i % 1000 !== 999) continue
    // All that is there gets into the old generation by that, the table of the day too.
    if (i === 999) {
      collect()
      before = oldBytes()
    } else most = Math.max(most, oldBytes() - before)
  }
  // Hundreds of megabytes were allocated.
  t.ok(most < 10_000_000, `${most} bytes got into the old generation`)
})
