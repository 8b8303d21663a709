// Measures targets in alternating rounds, so that what disturbs the machine disturbs all of them, and compares within each round.
import { load } from './load.mjs'
import { Skip, cpu, rss } from './system.mjs'

export const median = (list) => {
  const sorted = list.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Starts each target; those that cannot be are told by message. */
export async function startTargets (targets, context) {
  const started = {}
  const skipped = {}
  for (const [name, start] of Object.entries(targets)) {
    try {
      started[name] = await start(context)
    } catch (error) {
      if (!(error instanceof Skip)) throw new Error(`${name}: ${error.message}`, { cause: error })
      skipped[name] = error.message
      context.say(`  ${name} is left out: ${error.message}`)
    }
  }
  return { started, skipped }
}

async function measure (target, options) {
  const before = cpu(target.pid)
  const result = await load(`${target.scheme ?? 'http'}://127.0.0.1:${target.port}`, options)
  const us = (cpu(target.pid) - before) / result.requests
  if (result.errors > 0) throw new Error(`${result.errors} errors or wrong answers in ${result.requests} requests`)
  return { us, rps: result.rps, p50: result.p50, p99: result.p99, rss: rss(target.pid) }
}

/**
 * Until the JIT has done with it: a second is little on a busy machine, and what a proxy in Node takes for a small request falls until some
 * 40,000 were answered.
 */
export async function warm (target, options, most) {
  const limit = (options.path.startsWith('/10m') || options.bodySize > 1e6) ? 600 : options.path.startsWith('/1m') ? 1000 : 40_000
  const url = `${target.scheme ?? 'http'}://127.0.0.1:${target.port}`
  for (let requests = 0, turns = 0; requests < limit && turns < most; turns++) requests += (await load(url, { ...options, seconds: 1 })).requests
}

/**
 * `cases`: options of the load by name; `turns`: seconds of warming at most; `first`: the number of the first round. Gives
 * figures[case][target] = { us: [], rps: [], p50: [], p99: [], rss: [] }.
 */
export async function alternate (started, cases, { rounds, seconds, turns, first = 0, say }) {
  const figures = {}
  for (const [name, options] of Object.entries(cases)) {
    const own = figures[name] = {}
    const names = Object.keys(started).filter((target) => options.only === undefined || options.only.includes(target))
    const asked = {}
    for (const target of names) {
      asked[target] = { ...options, ...options.of?.[target] }
      await warm(started[target], asked[target], turns)
    }
    for (let round = first; round < first + rounds; round++) {
      // Another one begins each time.
      for (let i = 0; i < names.length; i++) {
        const target = names[(i + round) % names.length]
        let figure
        try {
          figure = await measure(started[target], { ...asked[target], seconds })
        } catch (error) {
          throw new Error(`${target}${name === '' ? '' : `, ${name}`}: ${error.message}`, { cause: error })
        }
        own[target] ??= { us: [], rps: [], p50: [], p99: [], rss: [] }
        for (const [key, value] of Object.entries(figure)) own[target][key].push(value)
      }
    }
    say(`  ${name}${name === '' ? '' : ': '}${names.map((target) => `${target} ${median(own[target].us).toFixed(1)}`).join(', ')} µs`)
  }
  return figures
}

/**
 * The same with new processes in each round: what V8 makes of the same code differs from one process to the next, and stays so for as long
 * as it lives.
 */
export async function alternateAnew (targets, cases, context) {
  const figures = {}
  let skipped = {}
  for (let round = 0; round < context.rounds; round++) {
    const all = await startTargets(targets, context)
    skipped = all.skipped
    for (const [name, own] of Object.entries(await alternate(all.started, cases, { ...context, rounds: 1, first: round }))) {
      figures[name] ??= {}
      for (const [target, lists] of Object.entries(own)) {
        figures[name][target] ??= Object.fromEntries(Object.keys(lists).map((key) => [key, []]))
        for (const [key, list] of Object.entries(lists)) figures[name][target][key].push(...list)
      }
    }
    await Promise.all(Object.values(all.started).map(context.stop))
  }
  return { figures, skipped }
}

/** Median and range of a list. */
export const spread = (list) => ({ median: median(list), low: Math.min(...list), high: Math.max(...list) })

/** The same of the quotients of two lists, round by round. */
export const compare = (list, base) => spread(list.map((value, i) => value / base[i]))

/**
 * Each expectation with what came out: { text, value, low, high, met } or { text, missing }. An expectation names `what` (headgate),
 * `of` whom it is compared with (in `ofCase`, else the same case), and `atMost` (a ratio).
 */
export function judge (expectations, figures) {
  return expectations.map(({ what = 'headgate', of, ofCase, atMost, case: only = '' }) => {
    const text = `${only === '' ? '' : `${only}: `}${what} ≤ ${atMost.toFixed(2)} × ${ofCase ?? of}`
    const [list, base] = [[what, only], [of, ofCase ?? only]].map(([target, name]) => figures[name]?.[target]?.us)
    if (list === undefined || base === undefined) return { text, missing: true }
    const { median, low, high } = compare(list, base)
    return { text, value: median, low, high, met: median <= atMost }
  })
}
