import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { PassingMap } from '../src/passing-map.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const oldBytes = (): number => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')!.space_used_size

t.test('it is a Map, however much has passed', async (t) => {
  const operation = fc.record({ set: fc.boolean(), key: fc.nat({ max: 8 }), value: fc.nat(), before: fc.constantFrom(0, 0, 0, 1023, 1024, 1025) })
  fc.assert(fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
    const passing = new PassingMap<number, number>()
    const map = new Map<number, number>()
    for (const { set, key, value, before } of operations) {
      for (let i = 0; i < before; i++) {
        passing.set(-1, i)
        passing.delete(-1)
      }
      if (set) {
        passing.set(key, value)
        map.set(key, value)
      } else {
        passing.delete(key)
        map.delete(key)
      }
      for (let each = -1; each <= 8; each++) if (passing.get(each) !== map.get(each)) return false
    }
    return true
  }))
  t.pass()
})

t.test('what has passed is not kept by it', async (t) => {
  const passing = new PassingMap<number, number[]>()
  let before = 0
  let most = 0
  for (let i = 0; i < 50_000; i++) {
    // Some 2 KB.
    passing.set(i, Array.from({ length: 256 }, () => i))
    passing.delete(i - 64)
    if (i % 1000 !== 999) continue
    // All that is there gets into the old generation by that, the table of the day too.
    if (i === 999) {
      collect()
      before = oldBytes()
    } else most = Math.max(most, oldBytes() - before)
  }
  t.ok(most < 10_000_000, `${most} bytes got into the old generation`)
})
