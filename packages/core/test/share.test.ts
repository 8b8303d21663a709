import fc from 'fast-check'
import t from 'tap'
import { rateShareOf, setShare, shareOf } from '../src/share.ts'

t.teardown(() => { setShare(0, 1) })

t.test('the parts of a bound are together the bound, none is empty, and they differ by one at most', async () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 100_000 }), (count, bound) => {
    const parts: number[] = []
    for (let index = 0; index < count; index++) {
      setShare(index, count)
      try {
        parts.push(shareOf(bound, 'options.maxInFlight'))
      } catch (error) {
        if (bound >= count || !/at least \d+, one for each worker/.test((error as Error).message)) throw error
        return true
      }
    }
    return bound >= count && parts.reduce((sum, part) => sum + part) === bound && Math.max(...parts) - Math.min(...parts) <= 1
  }))
})

t.test('a rate is divided evenly; without a bound, or alone, nothing is', async (t) => {
  setShare(1, 4)
  t.equal(rateShareOf(10), 2.5)
  t.equal(shareOf(Infinity, 'x'), Infinity)
  t.equal(shareOf(0, 'x'), 0, 'none for all is none for each')
  setShare(0, 1)
  t.equal(shareOf(1, 'x'), 1)
  t.equal(rateShareOf(10), 10)
})
