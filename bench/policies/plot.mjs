// Draws docs/images/policies-slow-upstream.svg: what each policy makes of one slow upstream among ten, in a simulation.
//   node bench/policies/plot.mjs
// One proxy, Poisson arrivals, upstreams of four workers and a queue, work of 10 ms on average (exponential), 60 % busy.
// A third into the run one upstream becomes 20 times slower; p99 is of what arrives after that. No health checks, no limits.
import { writeFileSync } from 'node:fs'
import { Load, mix32, policies, seeded } from '@headgate/core'

const UPSTREAMS = 10
const WORKERS = 4
const WORK = 10
const UTILISATION = 0.6
const SLOWER = 20
const REQUESTS = 120_000
/** The slow one's queue grows without end under policies that keep sending to it; clients give up after this. */
const TIMEOUT = 10_000

function simulate (policy) {
  let now = 0
  const chance = seeded(7)
  const exponential = (mean) => -Math.log(1 - chance()) * mean
  const clock = { now: () => now, wall: () => now, setTimeout () {}, clearTimeout () {} }
  const selector = policy.create({ clock, random: seeded(3) })
  const members = Array.from({ length: UPSTREAMS }, (_, slot) => ({
    id: `upstream-${slot}`, slot, weight: 1, configuredWeight: 1, zone: undefined, location: undefined, load: new Load(),
    free: new Float64Array(WORKERS) // when each worker is free again
  }))
  selector.rebuild(members)
  const flying = [] // soonest end last
  const latencies = []
  const context = { keyHash: 0, clientAddress: '', clientLocation: undefined }
  const slowFrom = REQUESTS / 3
  for (let k = 0; k < REQUESTS; k++) {
    const at = now + exponential(WORK / (UPSTREAMS * WORKERS * UTILISATION))
    while (flying.length > 0 && flying.at(-1).end <= at) {
      const { upstream, since, end, ok } = flying.pop()
      now = end
      upstream.load.finished(ok, end - since)
      selector.finished?.(upstream, end, since, end - since, ok)
    }
    now = at
    context.keyHash = mix32(Math.floor(chance() * 5000))
    context.clientAddress = `10.0.${context.keyHash & 15}.${context.keyHash >>> 24}`
    if (policy.name === 'reported-load') {
      for (const { free, load } of members) load.reported = free.filter((time) => time > now).length / WORKERS
    }
    const upstream = selector.select(context)
    upstream.load.started()
    selector.started?.(upstream, now)
    const worker = upstream.free.indexOf(Math.min(...upstream.free))
    const done = Math.max(now, upstream.free[worker]) + exponential(WORK) * (k >= slowFrom && upstream.slot === 0 ? SLOWER : 1)
    // Given up while it waits: its work is not done.
    const ok = done - now <= TIMEOUT
    if (ok) upstream.free[worker] = done
    const end = ok ? done : now + TIMEOUT
    if (k >= slowFrom) latencies.push(end - now)
    let place = flying.length
    while (place > 0 && flying[place - 1].end < end) place--
    flying.splice(place, 0, { upstream, since: now, end, ok })
  }
  latencies.sort((a, b) => a - b)
  return latencies[Math.floor(latencies.length * 0.99)]
}

// `first` sends everything to one upstream until the pool's limits say stop; without limits it has nothing to show here.
const rows = Object.entries(policies).filter(([name]) => name !== 'first').map(([name, policy]) => ({ name, p99: simulate(policy) }))
rows.sort((a, b) => a.p99 - b.p99)
for (const { name, p99 } of rows) console.log(name.padEnd(24), `${p99.toFixed(0)} ms`)

const LEFT = 170
const WIDTH = 720
const ROW = 26
const TOP = 64
const bottom = TOP + rows.length * ROW
const x = (ms) => LEFT + Math.log10(ms / 10) / 3 * (WIDTH - LEFT - 80)
const label = (ms) => ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(0)} ms`
const bars = rows.map(({ name, p99 }, k) => {
  const y = TOP + k * ROW
  return `<text x="${LEFT - 10}" y="${y + 16}" text-anchor="end">${name}</text>` +
    `<rect x="${LEFT}" y="${y + 3}" width="${(x(p99) - LEFT).toFixed(1)}" height="18" rx="2" fill="${name === 'adaptive' ? '#0b7285' : '#74a9b8'}"/>` +
    `<text x="${(x(p99) + 6).toFixed(1)}" y="${y + 16}">${label(p99)}</text>`
})
const grid = [10, 100, 1000, 10_000].map((ms) =>
  `<line x1="${x(ms)}" x2="${x(ms)}" y1="${TOP - 4}" y2="${bottom}" stroke="#ccc"/>` +
  `<text x="${x(ms)}" y="${bottom + 18}" text-anchor="middle" fill="#666">${ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`}</text>`)
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 30}" font-family="system-ui, sans-serif" font-size="13" role="img">
<title>p99 by policy when one of ${UPSTREAMS} upstreams becomes ${SLOWER} times slower</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="24" font-size="15" font-weight="600">One of ${UPSTREAMS} upstreams becomes ${SLOWER} times slower: p99 by policy</text>
<text x="16" y="44" fill="#666">Simulation, logarithmic; ${UTILISATION * 100} % busy, work of ${WORK} ms, no health checks, clients give up after ${TIMEOUT / 1000} s</text>
${[...grid, ...bars].join('\n')}
</svg>
`
writeFileSync(new URL('../../docs/images/policies-slow-upstream.svg', import.meta.url), svg)
