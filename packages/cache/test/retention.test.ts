import { getHeapSpaceStatistics } from 'node:v8'
import t from 'tap'
import type { Fetch } from '../src/flight/fetch.ts'
import type { Flight } from '../src/flight/flight.ts'
import { UnderWay } from '../src/flight/under-way.ts'

const FLIGHTS = 200_000
const TOGETHER = 64
/** What a flight reaches: some 2 KB here, several times that in earnest. */
const SIZE = 256

const oldBytes = (): number => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')!.space_used_size

t.test('a flight that has ended is not kept by what knew it while it was under way', async (t) => {
  const underWay = new UnderWay()
  const running: Flight[] = []
  let least = oldBytes()
  let most = 0
  for (let i = 0; i < FLIGHTS; i++) {
    const flight = { plan: { url: `http://localhost/${i}` }, fetch: undefined, all: Array.from({ length: SIZE }, () => i) } as unknown as Flight
    underWay.add(flight, {} as Fetch)
    running[i % TOGETHER] = flight
    const oldest = running[(i + 1) % TOGETHER]
    if (oldest !== undefined) underWay.delete(oldest)
    if (i % 1000 !== 999) continue
    const now = oldBytes()
    least = Math.min(least, now)
    most = Math.max(most, now - least)
  }
  t.equal(underWay.size, TOGETHER - 1)
  // Hundreds of megabytes were allocated.
  t.ok(most < 20_000_000, `${most} bytes got into the old generation`)
})
