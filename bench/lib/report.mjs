// docs/benchmarks.md and its pictures, from what the scenarios left in bench/results.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { median } from './rounds.mjs'
import { plot } from './plot.mjs'

const root = new URL('../../', import.meta.url)
const results = new URL('bench/results/', root)
/** What another machine, or another Node, gave before. What is to be known of both stands in `about.md`, written by hand. */
const elsewhere = new URL('elsewhere/', results)
const number = (value) => value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const read = (name, folder) => {
  const file = new URL(`${name}.json`, folder)
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

const machineOf = ({ machine, costs }) => costs === undefined ? machine : `${machine}, a system call ${number(costs.systemCall)} µs, a page fault ${number(costs.pageFault)} µs`
const placeOf = (result) => `Node ${result.versions.Node}, ${machineOf(result)}`

/** The name of a processor does not tell a machine of its own from a virtual one on which each system call takes ten times as long. */
function isSamePlace (a, b) {
  if (a.versions.Node !== b.versions.Node || a.machine !== b.machine) return false
  if (a.costs === undefined || b.costs === undefined) return a.costs === b.costs
  return Math.max(a.costs.systemCall / b.costs.systemCall, b.costs.systemCall / a.costs.systemCall) < 2
}

export function save (result) {
  mkdirSync(elsewhere, { recursive: true })
  const before = read(result.scenario, results)
  if (before !== undefined && !isSamePlace(before, result)) renameSync(new URL(`${result.scenario}.json`, results), new URL(`${result.scenario}.json`, elsewhere))
  writeFileSync(new URL(`${result.scenario}.json`, results), JSON.stringify(result, (_key, value) => typeof value === 'number' ? Number(value.toPrecision(5)) : value, 1) + '\n')
}

function figuresTable ({ figures, base }) {
  const lines = []
  for (const [name, targets] of Object.entries(figures)) {
    const reference = targets[base]
    if (name !== '') lines.push('', `**${name}**`)
    lines.push('', `| | µs per request | × ${base} (lowest–highest round) | requests/s | p50 ms | p99 ms | RSS MB |`, '|---|---|---|---|---|---|---|')
    for (const [target, all] of Object.entries(targets)) {
      // A round in which nothing was answered has no cost per request, which JSON keeps as null.
      const rounds = all.us.flatMap((us, i) => us === null || reference?.us[i] === null ? [] : [i])
      if (rounds.length === 0) {
        lines.push(`| ${target} | nothing answered within a round | | | | | |`)
        continue
      }
      const figure = Object.fromEntries(Object.entries(all).map(([what, values]) => [what, rounds.map((i) => values[i])]))
      const ratios = reference === undefined ? undefined : figure.us.map((value, i) => value / reference.us[rounds[i]])
      const ratio = ratios === undefined ? '' : `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`
      lines.push(`| ${target} | ${number(median(figure.us))} | ${ratio} | ${Math.round(median(figure.rps)).toLocaleString('en')} | ${number(median(figure.p50))} | ${number(median(figure.p99))} | ${number(median(figure.rss) / 1e6)} |`)
    }
  }
  return lines
}

const cameOut = ({ value, low, high }) => `${number(value)}${low === undefined ? '' : ` (${number(low)}–${number(high)})`}`

function checks (list, before) {
  if (list.length === 0) return []
  const there = (text) => {
    const check = before.checks.find((each) => each.text === text)
    return check === undefined || check.missing === true ? '' : `${cameOut(check)}${check.met ? '' : ', not met'}`
  }
  const [more, line] = before === undefined ? ['', ''] : [' elsewhere |', '---|']
  return ['', `| target | came out | |${more}`, `|---|---|---|${line}`, ...list.map((check) =>
    `| ${check.text} | ${check.missing === true ? 'not measured | –' : `${cameOut(check)} | ${check.met ? 'met' : '**not met**'}`} |${before === undefined ? '' : ` ${there(check.text)} |`}`)]
}

export function render (scenarios) {
  const parts = ['# Benchmarks', '',
    'Made by `npm run bench -- --report`: each target runs in its own process on one core, load and backends share the other; targets take turns in',
    'rounds, and ratios are taken within a round. µs per request is the CPU time, user and system, of the proxy\'s process over the requests',
    'answered: the figure that holds when the machine is busy, where requests/s and latencies do not. `npm run bench -- --help` has the options,',
    '`bench/scenarios` one file a scenario.']
  const files = new Set(existsSync(results) ? readdirSync(results).map((file) => file.replace(/\.json$/, '')) : [])
  const all = scenarios.filter(({ name }) => files.has(name))
    .map((scenario) => ({ scenario, result: read(scenario.name, results), before: read(scenario.name, elsewhere) }))
  const judged = all.flatMap(({ result, before }) => result.checks
    .map((check) => ({ ...check, there: before?.checks.some(({ text, met }) => text === check.text && met) })))
  parts.push('', `${judged.filter(({ met }) => met === true).length} of ${judged.length} targets are met, ${judged.filter(({ met }) => met === false).length} are not (${judged.filter(({ met, there }) => met === false && there).length} of these were elsewhere: with another Node or on another machine, whose figures stand beside), ${judged.filter(({ missing }) => missing === true).length} were not measured.`)
  const about = new URL('about.md', results)
  if (existsSync(about)) parts.push('', readFileSync(about, 'utf8').trim())
  const missing = scenarios.filter(({ name }) => !files.has(name))
  if (missing.length > 0) parts.push('', `Without figures yet: ${missing.map(({ name, title }) => `${title} (\`npm run bench ${name}\`)`).join('; ')}.`)
  for (const { scenario, result, before } of all) {
    parts.push('', `## ${scenario.title}`, '', scenario.text)
    parts.push(...checks(result.checks, before))
    if (result.figures !== undefined) {
      const name = `bench-${scenario.name}.svg`
      const groups = {}
      for (const [key, targets] of Object.entries(result.figures)) {
        const answered = Object.entries(targets).map(([target, { us }]) => [target, us.filter((value) => value !== null)])
        groups[key] = Object.fromEntries(answered.filter(([, us]) => us.length > 0))
      }
      writeFileSync(new URL(`docs/images/${name}`, root), plot(scenario.title, 'CPU µs per request, median of rounds', groups))
      parts.push('', `![${scenario.title}](images/${name})`, ...figuresTable(result))
    }
    if (result.rows !== undefined) {
      parts.push('', `| ${result.columns.join(' | ')} |`, `|${'---|'.repeat(result.columns.length)}`, ...result.rows.map((row) => `| ${row.map((cell) => typeof cell === 'number' ? number(cell) : cell).join(' | ')} |`))
    }
    for (const [target, why] of Object.entries(result.skipped ?? {})) parts.push('', `${target} is left out: ${why}.`)
    if (scenario.remarks !== undefined) parts.push('', scenario.remarks)
    parts.push('', `<small>${result.date}, ${result.rounds} rounds of ${result.seconds} s; ${Object.entries(result.versions).map(([name, version]) => `${name} ${version}`).join(', ')}; ${machineOf(result)}${before === undefined ? '' : `. Elsewhere: ${before.date}, ${placeOf(before)}`}</small>`)
  }
  writeFileSync(new URL('docs/benchmarks.md', root), parts.join('\n') + '\n')
}
