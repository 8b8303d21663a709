// A pool of 10,000 members of which a discovery changes 100 a second: what a pick costs beside one without changes, what the changes cost,
// and what a hundred single calls of add and remove cost instead:  node bench/policies/churn.mjs [POLICY]
import { Deadlines, Lease, Pool, policies, seeded } from '@headgate/core'

const SIZES = [10, 1000, 10_000]
const SECONDS = 20
const CHANGES = 100
const PICKS = 2000
const chosen = process.argv[2] ?? 'adaptive'
if (!Object.hasOwn(policies, chosen)) throw new Error(`no policy '${chosen}'`)

/** Time that this program moves. */
class Clock {
  time = 0
  #timers = new Map()
  #next = 1
  now () { return this.time }
  wall () { return this.time }
  setTimeout (callback, ms) {
    this.#timers.set(this.#next, { at: this.time + ms, callback })
    return this.#next++
  }
  clearTimeout (timer) { this.#timers.delete(timer) }
  to (time) {
    this.time = time
    for (const [id, { at, callback }] of this.#timers) {
      if (at > time || !this.#timers.delete(id)) continue
      callback()
    }
  }
}

const context = { keyHash: 0, clientAddress: '10.0.0.1', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false }
/** Milliseconds of CPU time so far: the machine may have other work. */
const cpu = () => process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000
const settle = () => new Promise((resolve) => { setImmediate(resolve) })

function member (n) {
  return { id: `u${n}`, url: `http://10.${n >> 16 & 255}.${n >> 8 & 255}.${n & 255}:80` }
}

async function run (size, changes) {
  const clock = new Clock()
  let site
  const members = Array.from({ length: size }, (_, n) => member(n))
  const discovery = { name: 'bench', start (given) { site = given } }
  const pool = new Pool('bench', { discovery, policy: chosen }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock))
  const started = pool.discover()
  const begin = cpu()
  site.update([...members])
  await started
  const joined = cpu() - begin
  let next = size
  let picking = 0
  let changing = 0
  let longest = 0
  const random = seeded(2)
  const flying = []
  // The first seconds are for the compiler.
  for (let second = -5; second < SECONDS; second++) {
    if (second === 0) picking = changing = longest = 0
    for (let tenth = 0; tenth < 10; tenth++) {
      for (let k = 0; k < changes / 10; k++) members[Math.floor(random() * size)] = member(next++)
      const before = cpu()
      if (changes > 0) site.update([...members])
      clock.to(clock.time + 100)
      await settle()
      const took = cpu() - before
      changing += took
      longest = Math.max(longest, took)
      const start = cpu()
      for (let k = 0; k < PICKS / 10; k++) {
        if (flying.length >= 200) flying[k].release('ok')
        context.keyHash = (Math.imul(k, 0x9e3779b9) ^ second) >>> 0
        const lease = pool.pick(context)
        if (!(lease instanceof Lease)) throw new Error(lease)
        lease.head(200, clock.time)
        flying[k] = lease
      }
      picking += cpu() - start
    }
  }
  if (pool.upstreams.length > size * 1.05 + 500) throw new Error(`${pool.upstreams.length} members`)
  await pool.close()
  return { joined, pick: picking * 1e6 / (PICKS * SECONDS), changing: changing / SECONDS, longest }
}

async function single (size) {
  const clock = new Clock()
  const pool = new Pool('bench', { upstreams: Array.from({ length: size }, (_, n) => member(n)), policy: chosen }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock))
  const begin = cpu()
  for (let k = 0; k < CHANGES / 2; k++) {
    pool.add(member(size + k))
    await pool.remove(`u${k}`)
  }
  const took = cpu() - begin
  await pool.close()
  return took
}

console.log(`${chosen}: 2,000 picks and ${CHANGES} changed members a second`)
console.log(['members', 'joining all, ms', 'ns a pick, still', 'ns a pick, churn', 'changes, ms CPU a second', 'longest, ms', 'by single calls, ms'].map((title) => title.padStart(26)).join(''))
for (const size of SIZES) {
  const still = await run(size, 0)
  const churn = await run(size, CHANGES)
  const calls = await single(size)
  console.log([size, still.joined.toFixed(1), still.pick.toFixed(0), churn.pick.toFixed(0), churn.changing.toFixed(1), churn.longest.toFixed(1), calls.toFixed(0)].map((figure) => String(figure).padStart(26)).join(''))
}
