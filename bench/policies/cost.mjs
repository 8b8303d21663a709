// Nanoseconds for one pick, start and finish of each policy by size of the pool:  node bench/policies/cost.mjs
import { Load, policies, seeded } from '@headgate/core'

const SIZES = [3, 10, 100, 1000, 10_000]
const addresses = Array.from({ length: 4096 }, (_, k) => `10.${k >> 8}.${k & 255}.${k % 7}`)
console.log('ns for pick + start + finish'.padEnd(30), SIZES.map((n) => String(n).padStart(8)).join(''), ' rebuild at 10,000, ms')
for (const [name, policy] of Object.entries(policies)) {
  const row = []
  let rebuild = 0
  for (const n of SIZES) {
    let now = 0
    const clock = { now: () => now, wall: () => now, setTimeout () {}, clearTimeout () {} }
    const random = seeded(4)
    const selector = policy.create({ clock, random: seeded(9) })
    const members = Array.from({ length: n }, (_, slot) => ({ id: `upstream-${slot}`, slot, weight: 1, zone: undefined, location: undefined, load: new Load() }))
    selector.rebuild(members)
    const atOnce = 2 * n
    const flying = Array.from({ length: atOnce })
    const since = new Float64Array(atOnce)
    const context = { keyHash: 0, clientAddress: '10.1.2.3', clientLocation: undefined }
    const one = (k) => {
      const slot = k < atOnce ? k : Math.floor(random() * atOnce)
      now += 10 / atOnce
      if (k >= atOnce) {
        flying[slot].load.finished(true, now - since[slot])
        selector.finished?.(flying[slot], now, since[slot], now - since[slot], true)
      }
      context.clientAddress = addresses[k & 4095]
      context.keyHash = (Math.imul(k, 0x9e3779b9) ^ k >>> 7) >>> 0
      const upstream = flying[slot] = selector.select(context)
      since[slot] = now
      upstream.load.started()
      selector.started?.(upstream, now)
    }
    const operations = 300_000
    let k = 0
    for (; k < atOnce + operations; k++) one(k)
    const start = performance.now()
    for (const end = k + operations; k < end; k++) one(k)
    row.push(((performance.now() - start) * 1e6 / operations).toFixed(0).padStart(8))
    if (n === 10_000) {
      const without = members.slice(1)
      const begin = performance.now()
      for (let turn = 0; turn < 20; turn++) selector.rebuild(turn % 2 === 0 ? without : members)
      rebuild = (performance.now() - begin) / 20
    }
  }
  console.log(name.padEnd(30), row.join(''), rebuild.toFixed(2).padStart(8))
}
