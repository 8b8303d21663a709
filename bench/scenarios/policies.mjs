import { policies } from '@headgate/core'
import { median } from '../lib/rounds.mjs'
import { flight } from '../policies/flight.mjs'

const SIZES = [3, 10, 100, 1000, 10_000]
const EXTRA = 4
/** Those that must stay cheap at any size. */
const ANY_SIZE = ['adaptive', 'round-robin', 'hash']

/** Nanoseconds for pick, start and finish of one request, and for `extra` picks more, with two requests in flight for each upstream. */
function cost (policy, n, extra) {
  const { atOnce, one } = flight(policy, n, extra)
  const operations = 100_000
  let k = 0
  for (; k < atOnce + operations; k++) one(k)
  const start = process.cpuUsage()
  for (const end = k + operations; k < end; k++) one(k)
  const used = process.cpuUsage(start)
  return (used.user + used.system) * 1000 / operations
}

export default {
  order: 40,
  name: 'policies',
  more: { rounds: 3 },
  title: 'What a choice costs',
  text: 'CPU nanoseconds of each policy for pick, start and finish together, by size of the pool; the best of the rounds, in one process, without sockets. The targets are for the pick alone, which is what each of four picks more adds.',
  remarks: 'Nanoseconds are the machine\'s: the other one takes up to twice as long for the same. What `adaptive` takes more than before, up to 4,096 upstreams, is a heap that finds the fewest in flight of all.',
  run ({ rounds }) {
    const rows = []
    const checks = []
    for (const [name, policy] of Object.entries(policies)) {
      const costs = []
      const picks = []
      for (const n of SIZES) {
        const [whole, more] = [0, EXTRA].map((extra) => Math.min(...Array.from({ length: rounds }, () => cost(policy, n, extra))))
        costs.push(whole)
        picks.push((more - whole) / EXTRA)
      }
      rows.push([name, ...costs])
      for (const [i, n] of SIZES.entries()) {
        const limit = n <= 1000 ? (n >= 100 ? 500 : undefined) : ANY_SIZE.includes(name) ? 1000 : undefined
        if (limit !== undefined) checks.push({ text: `${name}, ${n.toLocaleString('en')} upstreams: pick ≤ ${limit} ns`, value: picks[i], met: picks[i] <= limit })
      }
    }
    rows.push(['median', ...SIZES.map((_, i) => median(rows.map((row) => row[i + 1])))])
    return { columns: ['policy', ...SIZES.map((n) => n.toLocaleString('en'))], rows, checks }
  }
}
