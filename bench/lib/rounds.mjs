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

/** `cookies`: as a browser, it sends what it was given. */
async function asClient (target, options) {
  if (options.cookies !== true) return options
  const answer = await fetch(`${target.scheme ?? 'http'}://127.0.0.1:${target.port}${options.path}`)
  await answer.arrayBuffer()
  const cookies = answer.headers.getSetCookie().map((field) => field.slice(0, field.indexOf(';')))
  return cookies.length === 0 ? options : { ...options, headers: { ...options.headers, Cookie: cookies.join('; ') } }
}

/** Until the JIT has seen enough: a second is little on a busy machine. */
async function warm (target, options, most) {
  const limit = (options.path.startsWith('/10m') || options.bodySize > 1e6) ? 200 : options.path.startsWith('/1m') ? 1000 : 15_000
  const url = `${target.scheme ?? 'http'}://127.0.0.1:${target.port}`
  for (let requests = 0, turns = 0; requests < limit && turns < most; turns++) requests += (await load(url, { ...options, seconds: 1 })).requests
}

/**
 * `cases`: options of the load by name; `turns`: seconds of warming at most; `first`: number of the first round, where others were before.
 * Gives figures[case][target] = { us: [], rps: [], p50: [], p99: [], rss: [] }.
 */
export async function alternate (started, cases, { rounds, seconds, turns, first = 0, say }) {
  const figures = {}
  for (const [name, options] of Object.entries(cases)) {
    const own = figures[name] = {}
    const names = Object.keys(started).filter((target) => options.only === undefined || options.only.includes(target))
    const asked = {}
    for (const target of names) {
      asked[target] = await asClient(started[target], { ...options, ...options.of?.[target] })
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
 * as it lives, which can be more than what a feature adds.
 */
export async function alternateAnew (targets, cases, context) {
  const figures = {}
  let skipped = {}
  for (let round = 0; round < context.rounds; round++) {
    const all = await startTargets(targets, context)
    skipped = all.skipped
    for (const [name, own] of Object.entries(await alternate(all.started, cases, { ...context, rounds: 1, first: round }))) {
      const before = figures[name] ??= {}
      for (const [target, lists] of Object.entries(own)) {
        before[target] ??= { us: [], rps: [], p50: [], p99: [], rss: [] }
        for (const [key, list] of Object.entries(lists)) before[target][key].push(...list)
      }
    }
    await Promise.all(Object.values(all.started).map(context.stop))
  }
  return { figures, skipped }
}

/** Median and range of the quotients (or differences) of two lists, round by round. */
export function compare (list, base, by = 'ratio') {
  const each = list.map((value, i) => by === 'ratio' ? value / base[i] : value - base[i])
  return { median: median(each), low: Math.min(...each), high: Math.max(...each) }
}

const minus = (list, other) => list.map((value, i) => value - other[i])

/**
 * How an expectation is put into words and figures, by the property that it has beside `atMost`: the limit, lists that are compared,
 * how, and the text after the subject.
 */
const KINDS = {
  adds: ({ adds, of }) => ({ limit: adds, names: [of], by: 'difference', pair: (list, base) => [list, base], text: `≤ ${adds.toFixed(2)} µs more than ${of}` }),
  addsAs: ({ addsAs: [dear, cheap], of, atMost }) => ({
    limit: atMost, names: [of, dear, cheap], pair: (list, base, more, less) => [minus(list, base), minus(more, less)], text: `adds ≤ ${atMost.toFixed(2)} × what '${dear}' adds`
  }),
  own: ({ own: [dear, cheap], of, atMost }) => ({
    limit: atMost, names: [of, dear, cheap], pair: (list, base, more, less) => [minus(list, minus(more, less)), base],
    text: `≤ ${atMost.toFixed(2)} × ${of}, beside what '${dear}' costs more than '${cheap}'`
  }),
  atMost: ({ atMost, of, ofCase }) => ({ limit: atMost, names: [of], pair: (list, base) => [list, base], text: `≤ ${atMost.toFixed(2)} × ${ofCase ?? of}` })
}

/**
 * Each expectation with what came out: { text, value, low, high, met } or { text, missing }. An expectation names `what` (headgate),
 * `of` whom it is compared with (in `ofCase`, else the same case), and one of `atMost` (a ratio), `adds` (a difference),
 * `addsAs` [with, without] with `atMost`: the difference as a ratio to that other difference, or `own` [with, without] with `atMost`: the
 * ratio once that other difference is taken off.
 */
export function judge (expectations, figures) {
  return expectations.map((expectation) => {
    const { what = 'headgate', ofCase, metric = 'us', case: only = '' } = expectation
    const kind = Object.keys(KINDS).find((name) => expectation[name] !== undefined)
    const { limit, names, by, pair, text: rest } = KINDS[kind](expectation)
    const list = (target, name = only) => figures[name]?.[target]?.[metric]
    const text = `${only === '' ? '' : `${only}: `}${what}${metric === 'us' ? '' : ` ${metric}`} ${rest}`
    const [of, ...others] = names
    const needed = [list(what), list(of, ofCase), ...others.map((target) => list(target))]
    if (needed.includes(undefined)) return { text, missing: true }
    const { median, low, high } = compare(...pair(...needed), by)
    return { text, value: median, low, high, met: median <= limit }
  })
}
