// How long clients wait: on connections that are open, and while many of them are opened at once.
import { latencies } from './load.mjs'
import { compare, median } from './rounds.mjs'
import { Skip } from './system.mjs'

/** Seconds until the connections are open and their windows as large as they get. */
const WARM = 1

/**
 * `cases`: by name, { path, connections, longer, only, opening }: `longer` is how many times the seconds it is asked, `opening` asks for the
 * second figure as well. The targets take turns. The checks hold headgate's p99 against that of `base`.
 */
export async function measureWaits (started, cases, base, context) {
  const rows = []
  const checks = []
  const skipped = {}
  for (const [name, options] of Object.entries(cases)) {
    const text = `${name}: headgate p99 ≤ 1.00 × ${base}`
    const names = options.only.filter((target) => started[target] !== undefined)
    try {
      const waits = await waitsOf(started, names, options, context)
      for (const target of names) {
        const { median: value, low, high } = compare(waits[target].p99, waits[base].p99)
        rows.push([name, target, median(waits[target].p50), median(waits[target].p99), value, `${low.toFixed(2)} – ${high.toFixed(2)}`, options.opening ? median(waits[target].longest) : ''])
        if (target === 'headgate') checks.push({ text, value, low, high, met: value <= 1 })
      }
      context.say(`  ${name}, p99: ${names.map((target) => `${target} ${median(waits[target].p99).toFixed(1)}`).join(', ')} ms`)
    } catch (error) {
      if (!(error instanceof Skip)) throw error
      checks.push({ text, missing: true })
      skipped.p99 = error.message
    }
  }
  return { columns: ['kept connections', 'target', 'p50 ms', 'p99 ms', `p99 × ${base}`, 'lowest–highest round', 'longest while 64 are opened, ms'], rows, checks, skipped }
}

async function waitsOf (started, names, { path, connections, longer = 1, opening = false }, { rounds, seconds }) {
  const waits = Object.fromEntries(names.map((target) => [target, { p50: [], p99: [], longest: [] }]))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const target = names[(i + round) % names.length]
      const url = `http://127.0.0.1:${started[target].port}`
      const { p50, p99 } = await latencies(url, { path, connections, seconds: seconds * longer, warm: WARM })
      waits[target].p50.push(p50)
      waits[target].p99.push(p99)
      if (opening) waits[target].longest.push((await latencies(url, { path, connections, seconds: 1, warm: 0 })).longest)
    }
  }
  return waits
}
