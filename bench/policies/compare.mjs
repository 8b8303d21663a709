// How a policy does beside the suite's others at p99, in simulation, scenario by scenario:
//   node bench/policies/compare.mjs [--policy adaptive] [--others NAME,…] [--seeds 20] [--only TEXT,…] [--requests SHARE]
// The best of the others is chosen by the even seeds and compared by the odd ones: chosen and compared by the same, the luckiest of several
// would win. Every policy is given the same requests, so the ratio is taken seed by seed; the interval is Student's of its logarithm, 95 %.
// p99 is of what was answered: policies that fail more requests, by more than one in 10,000, are not compared with.
// All policies and scenarios with 20 seeds take an hour or more of one core: --only, --others and --requests make it less.
import { parseArgs } from 'node:util'
import { policies } from '@headgate/core'
import { scenarios } from './scenarios.mjs'
import { simulate } from './simulator.mjs'

const { values } = parseArgs({
  options: {
    policy: { type: 'string', default: 'adaptive' }, others: { type: 'string' }, only: { type: 'string' }, seeds: { type: 'string', default: '20' },
    requests: { type: 'string', default: '1' }
  }
})
// Who looks at keys or at places is not asked for the shortest queue, and `first` fills one upstream until limits stop it: here are none.
const others = values.others?.split(',') ?? Object.keys(policies).filter((name) => !['first', 'hash', 'ip-hash', 'nearest', values.policy].includes(name))
const seeds = Number(values.seeds)
const share = Number(values.requests)
for (const name of [values.policy, ...others]) if (!Object.hasOwn(policies, name)) throw new Error(`--policy, --others: no policy '${name}'`)
if (!Number.isInteger(seeds) || seeds < 8) throw new Error(`--seeds: '${values.seeds}' is not a whole number of 8 or more`)
if (!(share > 0 && share <= 1)) throw new Error(`--requests: '${values.requests}' is not a share above 0, up to 1`)
const chosen = scenarios.filter(({ name }) => values.only === undefined || values.only.split(',').some((text) => name.includes(text)))
if (chosen.length === 0) throw new Error(`--only: no scenario has '${values.only}' in its name`)

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length
/** Two-sided 95 % of Student's t, within 1 %, by Cornish and Fisher's expansion from the normal's. */
function student (freedom) {
  const z = 1.959964
  const terms = [(z ** 3 + z) / 4, (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96, (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384]
  return terms.reduce((sum, term, k) => sum + term / freedom ** (k + 1), z)
}
const even = (_, k) => k % 2 === 0
const odd = (_, k) => k % 2 === 1
const p99Of = (runs) => Math.exp(mean(runs.map(({ p99 }) => Math.log(p99)))).toFixed(1).padStart(9)
/** So much more of the requests may fail under a policy that is compared with. */
const MORE = 0.0001

const all = []
console.log(`${'scenario'.padEnd(24)}${'p99, ms'.padStart(9)}  best of the others   p99 ratio, 95 % interval`)
for (const scenario of chosen) {
  const run = (name) => Array.from({ length: seeds }, (_, seed) =>
    simulate({ ...scenario, requests: Math.round((scenario.requests ?? 150_000) * share) }, policies[name], seed + 1))
  const own = run(values.policy)
  const failures = (runs) => mean(runs.filter(even).map(({ failed }) => failed))
  const score = (runs) => mean(runs.filter(even).map(({ p99 }) => Math.log(p99)))
  const results = others.map((name) => ({ name, runs: run(name) })).filter(({ runs }) => failures(runs) <= failures(own) + MORE)
  if (results.length === 0) {
    console.log(`${scenario.name.padEnd(24)}${p99Of(own)}  all others fail more`)
    continue
  }
  const best = results.reduce((low, one) => score(one.runs) < score(low.runs) ? one : low)
  const ratios = own.map(({ p99 }, k) => Math.log(p99 / best.runs[k].p99)).filter(odd)
  const middle = mean(ratios)
  const half = student(ratios.length - 1) * Math.sqrt(ratios.reduce((sum, ratio) => sum + (ratio - middle) ** 2, 0) / (ratios.length - 1) / ratios.length)
  all.push(middle)
  const verdict = middle - half > 0 ? 'worse' : middle + half < 0 ? 'better' : 'as good'
  console.log(`${scenario.name.padEnd(24)}${p99Of(own)}  ${best.name.padEnd(20)} ` +
    `${Math.exp(middle).toFixed(3)}  ${Math.exp(middle - half).toFixed(3)}–${Math.exp(middle + half).toFixed(3)}  ${verdict}`)
}
if (all.length > 0) console.log(`geometric mean ${Math.exp(mean(all)).toFixed(3)}`)
