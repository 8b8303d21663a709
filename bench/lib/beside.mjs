// What TLS or HTTP/2 to clients adds to a proxy, beside what it adds to an app that answers by itself.
import { measureTurns, middle } from './turns.mjs'
import { median, spread } from './rounds.mjs'

/** For each process and second of a round. */
const SECONDS = 5

const groupOf = (name, kind) => name === '' ? kind : `${name}, ${kind}`
const prefixOf = (name) => name === '' ? '' : `${name}: `

/**
 * `cases`: by name, { secured, asked, named }: what the apps are given for it (`tls`, `http2`), how all of them are asked, and how the four
 * are called. In one process each: the proxy and a hello with it, the proxy and the hello without; for the barest proxy as well.
 * A check says how many times the hello's cost with it the proxy's is, once what proxying costs without it is taken off.
 */
export async function measureBeside (cases, atMost, { seconds, ...context }) {
  const groups = {}
  for (const [name, { secured, asked }] of Object.entries(cases)) {
    for (const kind of ['headgate', 'bare']) {
      const app = (kind, more) => ({ kind, ...asked, ...more })
      groups[groupOf(name, kind)] = [app(kind, secured), app('hello', secured), app(kind), app('hello')]
    }
  }
  const { figures, skipped } = await measureTurns(groups, '/small', { ...context, seconds: SECONDS * seconds })
  const rows = []
  const checks = []
  for (const [name, { named: [proxy, hello, plainProxy, plainHello] }] of Object.entries(cases)) {
    for (const kind of ['headgate', 'bare']) {
      const rounds = figures[groupOf(name, kind)]
      const { median: value, low, high } = spread(rounds.map((turns) => middle(turns.map(([dear, base, more, less]) => (dear - (more - less)) / base))))
      const us = [0, 1, 2, 3].map((i) => median(rounds.map((turns) => middle(turns.map((each) => each[i])))))
      rows.push([`${prefixOf(name)}${kind === 'bare' ? 'bare proxy' : kind}`, ...us, value, `${low.toFixed(2)} – ${high.toFixed(2)}`])
      if (kind === 'headgate') {
        checks.push({
          text: `${prefixOf(name)}${proxy} ≤ ${atMost.toFixed(2)} × ${hello}, beside what '${plainProxy}' costs more than '${plainHello}'`,
          value, low, high, met: value <= atMost
        })
      }
    }
  }
  return { rows, checks, skipped }
}
