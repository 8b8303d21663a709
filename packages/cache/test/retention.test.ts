import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { Fetch } from '../src/flight/fetch.ts'
import type { Flight } from '../src/flight/flight.ts'
import { UnderWay } from '../src/flight/under-way.ts'

const FLIGHTS = 50_000
const TOGETHER = 64
/** What a flight reaches: some 2 KB here, several times that in earnest. */
const SIZE = 256

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const oldBytes = (): number => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')!.space_used_size

t.test('a flight that has ended is not kept by what knew it while it was under way', async (t) => {
  const underWay = new UnderWay()
  const running: Flight[] = []
  let before = 0
  let most = 0
  for (let i = 0; i < FLIGHTS; i++) {
    const flight = { plan: { url: `http://localhost/${i}` }, fetch: undefined, all: Array.from({ length: SIZE }, () => i) } as unknown as Flight
    underWay.add(flight, {} as Fetch)
    running[i % TOGETHER] = flight
    const oldest = running[(i + 1) % TOGETHER]
    if (oldest !== undefined) underWay.delete(oldest)
    if (i % 1000 !== 999) continue
    // All that is there gets into the old generation by that, the table of the day too.
    if (i === 999) {
      collect()
      before = oldBytes()
    } else most = Math.max(most, oldBytes() - before)
  }
  t.equal(underWay.size, TOGETHER - 1)
  // Hundreds of megabytes were allocated.
  t.ok(most < 10_000_000, `${most} bytes got into the old generation`)
})
