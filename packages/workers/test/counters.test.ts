import t from 'tap'
import { FakeClock } from '../../core/test/clock.ts'
import { Counters } from '../src/index.ts'

const event = { name: 'all', key: 'me', window: 1000 }

t.test('a window begins with its first event; names and keys count apart', async (t) => {
  const clock = new FakeClock()
  const counters = new Counters(clock)
  t.same(counters.count(event), { count: 1, ttl: 1000 })
  clock.advance(600)
  t.same(counters.count(event), { count: 2, ttl: 400 })
  t.same(counters.count({ ...event, key: 'you' }), { count: 1, ttl: 1000 })
  t.same(counters.count({ ...event, name: '/login/' }), { count: 1, ttl: 1000 })
  clock.advance(399)
  t.same(counters.count(event), { count: 3, ttl: 1 })
  clock.advance(1)
  t.same(counters.count(event), { count: 1, ttl: 1000 })
})

t.test('excess may renew the window, or make it longer and longer', async (t) => {
  const clock = new FakeClock()
  const counters = new Counters(clock)
  const ttls = (how: 'whole' | 'doubled', key: string): number[] => Array.from({ length: 5 }, () => {
    clock.advance(10)
    return counters.count({ ...event, key, max: 2, renew: how }).ttl
  })
  t.same(ttls('whole', 'a'), [1000, 990, 1000, 1000, 1000])
  t.same(ttls('doubled', 'b'), [1000, 990, 1000, 2000, 4000])
  clock.advance(3999)
  t.equal(counters.count({ ...event, key: 'b', max: 2, renew: 'doubled' }).count, 6, 'as long as was said')
  for (let i = 0; i < 2000; i++) counters.count({ ...event, key: 'b', max: 2, renew: 'doubled' })
  t.ok(Number.isSafeInteger(counters.count({ ...event, key: 'b', max: 2, renew: 'doubled' }).ttl))
})

t.test('of so many keys those are remembered that came last', async (t) => {
  const counters = new Counters(new FakeClock())
  const count = (key: string): number => counters.count({ ...event, key, size: 2 }).count
  t.same(['a', 'b', 'a', 'c', 'a', 'b'].map(count), [1, 1, 2, 1, 3, 1])
})
