import { latencies } from '../lib/load.mjs'
import { compare, median, startTargets, warm } from '../lib/rounds.mjs'
import { Skip, stop } from '../lib/system.mjs'

/** Seconds until the connections are open and their windows as large as they get. */
const OPENED = 1
const LARGE = ['headgate', 'nginx', 'haproxy']
const SHORT = [...LARGE, 'bare proxy in Node']

const targets = {
  headgate: ({ node }) => node({ kind: 'headgate' }),
  nginx: ({ nginx }) => nginx(),
  haproxy: ({ haproxy }) => haproxy(),
  'bare proxy in Node': ({ node }) => node({ kind: 'bare' })
}
/** `longer`: how many times the seconds; `opening`: what they wait for while connections are opened is asked, too. */
const cases = {
  '10 KB': { path: '/10k', connections: 64, of: SHORT, opening: true },
  '100 KB': { path: '/100k', connections: 64, of: SHORT, opening: true },
  '1 MB': { path: '/1m', connections: 32, of: LARGE },
  '10 MB': { path: '/10m', connections: 16, of: LARGE, longer: 3 }
}

/** Milliseconds by target and round; the targets take turns. */
async function measure (started, { path, connections, longer = 1, opening = false }, { rounds, seconds, turns }) {
  const names = Object.keys(started)
  for (const name of names) await warm(started[name], { path, connections }, turns)
  const waits = Object.fromEntries(names.map((name) => [name, { p50: [], p99: [], longest: [] }]))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length]
      const url = `http://127.0.0.1:${started[name].port}`
      const { p50, p99 } = await latencies(url, { path, connections, seconds: seconds * longer, warm: OPENED })
      waits[name].p50.push(p50)
      waits[name].p99.push(p99)
      if (opening) waits[name].longest.push((await latencies(url, { path, connections, seconds: 1, warm: 0 })).longest)
    }
  }
  return waits
}

export default {
  order: 55,
  name: 'waits',
  title: 'How long clients wait',
  text: 'Responses of 10 KB to 10 MB from one upstream over 64, 64, 32 and 16 connections that are open, each of which asks again as soon as it has its answer: by h2load over HTTP/1.1, after a second that is not counted.',
  remarks: 'Not by wrk, whose p99 stands in the other tables, of rounds of a second that begin with the opening of all connections at once. A connection is accepted in a turn of the event loop, by libuv since 1.45 as by nginx: by strace, 64 take 64 turns, in which those accepted before get their answers, so the last of them waits for tens of milliseconds, the longer the more a turn does, and Node does more in one than nginx. And to each wait of more than twice the mean wrk adds those that a client would have had who asks at fixed times, so few become many. The longest of a second that begins so is shown beside the waits on open connections. Where many clients come at once, workers accept in a process that does nothing else. At 10 KB p50 is twice nginx’s as well, and p99 twice p50 with both: that is the cost of a small request, of which the barest proxy has most. p99 of 10 MB is the second or third longest of some hundreds. Measured by itself, on a machine on which all took twice as long: evidence for what the run of the other tables says of p99, and no more.',
  async run (context) {
    context.ports = (await context.startBackends(1)).ports
    const rows = []
    const checks = []
    const skipped = {}
    for (const [name, options] of Object.entries(cases)) {
      const text = `${name}: headgate p99 ≤ 1.00 × nginx`
      const { started, skipped: absent } = await startTargets(Object.fromEntries(options.of.map((target) => [target, targets[target]])), context)
      Object.assign(skipped, absent)
      try {
        if (started.nginx === undefined) throw new Skip('there is no nginx to compare with')
        const waits = await measure(started, options, context)
        for (const [target, { p50, p99, longest }] of Object.entries(waits)) {
          const { median: value, low, high } = compare(p99, waits.nginx.p99)
          rows.push([name, target, median(p50), median(p99), value, `${low.toFixed(2)} – ${high.toFixed(2)}`, longest.length === 0 ? '' : median(longest)])
          if (target === 'headgate') checks.push({ text, value, low, high, met: value <= 1 })
        }
        context.say(`  ${name}, p99: ${Object.entries(waits).map(([target, { p99 }]) => `${target} ${median(p99).toFixed(1)}`).join(', ')} ms`)
      } catch (error) {
        if (!(error instanceof Skip)) throw error
        checks.push({ text, missing: true })
        skipped['p99'] = error.message
      }
      await Promise.all(Object.values(started).map(stop))
    }
    return { columns: ['', 'target', 'p50 ms', 'p99 ms', 'p99 × nginx', 'lowest–highest round', 'longest while 64 are opened, ms'], rows, checks, skipped }
  }
}
