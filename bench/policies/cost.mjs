// Nanoseconds for one pick, start and finish of each policy by size of the pool:  node bench/policies/cost.mjs
import { policies } from '@headgate/core'
import { flight } from './flight.mjs'

const SIZES = [3, 10, 100, 1000, 10_000]
const OPERATIONS = 300_000
console.log('ns for pick + start + finish'.padEnd(30), SIZES.map((n) => String(n).padStart(8)).join(''), ' rebuild at 10,000, ms')
for (const [name, policy] of Object.entries(policies)) {
  const row = []
  let rebuild = 0
  for (const n of SIZES) {
    const { selector, members, atOnce, one } = flight(policy, n)
    let k = 0
    for (; k < atOnce + OPERATIONS; k++) one(k)
    const start = performance.now()
    for (const end = k + OPERATIONS; k < end; k++) one(k)
    row.push(((performance.now() - start) * 1e6 / OPERATIONS).toFixed(0).padStart(8))
    if (n === 10_000) {
      const without = members.slice(1)
      const begin = performance.now()
      for (let turn = 0; turn < 20; turn++) selector.rebuild(turn % 2 === 0 ? without : members)
      rebuild = (performance.now() - begin) / 20
    }
  }
  console.log(name.padEnd(30), row.join(''), rebuild.toFixed(2).padStart(8))
}
