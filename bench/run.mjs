// npm run bench -- [options] [scenario …]: see --help. Each scenario is one file in bench/scenarios.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { tool } from './lib/load.mjs'
import { render, save } from './lib/report.mjs'
import { alternate, alternateAnew, judge, median, startTargets } from './lib/rounds.mjs'
import { startBackends, startHaproxy, startNginx } from './lib/servers.mjs'
import { PROXY_CORE, Skip, cores, costsOfSystem, find, startNode, stop, stopAll } from './lib/system.mjs'

const HELP = `npm run bench -- [options] [scenario …]

  --scenario NAME   only this one; may be repeated, or given without the option   (default: all)
  --rounds N        rounds of each scenario                                       (default 5)
  --seconds N       seconds of each round and target, whole                       (default 2)
  --target NAME     only these targets, and the baseline; may be repeated
  --json            the results as JSON on stdout, everything else on stderr
  --report          keep the results in bench/results and write docs/benchmarks.md with pictures
  --render          write docs/benchmarks.md from what is kept, without measuring
  --cpu-prof DIR    CPU profiles of the Node targets into DIR
  --list            the scenarios
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    scenario: { type: 'string', multiple: true }, rounds: { type: 'string' }, seconds: { type: 'string' }, target: { type: 'string', multiple: true },
    json: { type: 'boolean' }, report: { type: 'boolean' }, render: { type: 'boolean' }, 'cpu-prof': { type: 'string' }, list: { type: 'boolean' }, help: { type: 'boolean', short: 'h' }
  }
})

function wholeNumber (name, text, fallback) {
  if (text === undefined) return fallback
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new Error(`--${name} must be a whole number above 0; it is '${text}'`)
  return Number(text)
}

const say = values.json === true ? console.error : console.log
const folder = new URL('scenarios/', import.meta.url)
const scenarios = []
for (const file of readdirSync(folder).sort()) if (file.endsWith('.mjs')) scenarios.push((await import(new URL(file, folder))).default)
scenarios.sort((a, b) => a.order - b.order)

function versions () {
  const own = createRequire(import.meta.url)
  const installed = Object.fromEntries(['fastify', '@fastify/reply-from', '@fastify/http-proxy', 'http-proxy']
    .map((name) => [name, JSON.parse(readFileSync(join(fileURLToPath(new URL('node_modules', import.meta.url)), name, 'package.json'))).version]))
  const says = (command, args, pattern) => {
    if (find(command) === undefined) return {}
    const { stdout, stderr } = spawnSync(find(command), args, { encoding: 'utf8' })
    return { [command]: pattern.exec(stdout + stderr)?.[1] ?? '' }
  }
  return { Node: process.versions.node, ...installed, ...says('nginx', ['-v'], /nginx\/([\d.]+)/), ...says('haproxy', ['-v'], /version ([\d.]+)/), load: tool === 'wrk' ? 'by wrk' : `by autocannon ${own('autocannon/package.json').version}` }
}

/** `more` of a scenario: how many times the rounds, or the seconds, it takes until its figures hold still. Not for a smoke run. */
function settingsOf ({ more = {} }, settings) {
  if (settings.rounds === 1) return settings
  return { ...settings, rounds: settings.rounds * (more.rounds ?? 1), seconds: settings.seconds * (more.seconds ?? 1) }
}

async function alternateKept (targets, cases, context) {
  const { started, skipped } = await startTargets(targets, context)
  return { figures: await alternate(started, cases, context), skipped }
}

async function runScenario (scenario, settings) {
  const work = mkdtempSync(join(tmpdir(), 'headgate-bench-'))
  const profiles = values['cpu-prof']
  const context = {
    ...settings, work, say, profiles,
    node: (config) => startNode(PROXY_CORE, fileURLToPath(new URL('targets/node.mjs', import.meta.url)), { ports: context.ports, ...config },
      profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`, `--cpu-prof-name=${scenario.name}-${config.kind}-${Date.now()}.cpuprofile`]),
    nginx: (options) => startNginx(work, context.ports, options),
    startNginx: (ports, options) => startNginx(work, ports, options),
    startBackends: (count, reads) => startBackends(work, count, reads),
    stop,
    haproxy: (options) => startHaproxy(work, context.ports, options)
  }
  try {
    if (scenario.run !== undefined) {
      const { columns, rows, checks, skipped } = await scenario.run(context)
      return { scenario: scenario.name, columns, rows, checks, skipped }
    }
    context.ports = (await startBackends(work, scenario.backends ?? 1, scenario.reads)).ports
    const wanted = Object.entries(scenario.targets).filter(([name]) => values.target === undefined || values.target.includes(name) || name === scenario.base)
    const targets = Object.fromEntries(wanted)
    const cases = scenario.cases ?? { '': scenario.load }
    const { figures, skipped } = scenario.fresh === true ? await alternateAnew(targets, cases, context) : await alternateKept(targets, cases, context)
    const { checks = [], skipped: more, ...rest } = await scenario.within?.(context) ?? {}
    return {
      scenario: scenario.name, base: scenario.base, figures, skipped: { ...skipped, ...more }, ...rest,
      checks: [...judge(scenario.expect ?? [], figures), ...checks]
    }
  } finally {
    await stopAll()
    rmSync(work, { recursive: true, force: true })
  }
}

function show ({ figures, base, rows, columns, checks }) {
  for (const [name, targets] of Object.entries(figures ?? {})) {
    if (name !== '') say(`  ${name}`)
    for (const [target, { us, rps, p50, p99, rss }] of Object.entries(targets)) {
      const reference = targets[base]?.us
      const ratios = reference === undefined ? [NaN] : us.map((value, i) => value / reference[i])
      say(`  ${target.padEnd(26)} ${median(us).toFixed(1).padStart(8)} µs  ${median(ratios).toFixed(2)} × ${base} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})  ` +
        `${Math.round(median(rps))}/s  p50 ${median(p50).toFixed(2)} p99 ${median(p99).toFixed(2)} ms  ${(median(rss) / 1e6).toFixed(0)} MB`)
    }
  }
  if (rows !== undefined) for (const row of [columns, ...rows]) say('  ' + row.map((cell) => String(typeof cell === 'number' ? Number(cell.toPrecision(4)) : cell).padEnd(18)).join(' '))
  for (const { text, missing, value, low, high, met } of checks) {
    say(missing === true ? `  –       ${text}: not measured` : `  ${met ? 'met    ' : 'NOT MET'} ${text}: ${value.toFixed(2)}${low === undefined ? '' : ` (${low.toFixed(2)}–${high.toFixed(2)})`}`)
  }
}

async function main () {
  if (values.help) return console.log(HELP)
  if (values.list) return console.log(scenarios.map(({ name, title }) => `${name.padEnd(18)} ${title}`).join('\n'))
  if (values.render) return render(scenarios)
  const names = [...values.scenario ?? [], ...positionals]
  for (const name of names) if (!scenarios.some((scenario) => scenario.name === name)) throw new Error(`unknown scenario '${name}'; there are ${scenarios.map(({ name }) => name).join(', ')}`)
  const settings = { rounds: wholeNumber('rounds', values.rounds, 5), seconds: wholeNumber('seconds', values.seconds, 2), say }
  // A smoke run is not worth warming for.
  settings.turns = settings.rounds === 1 ? 1 : 8
  if (values['cpu-prof'] !== undefined) mkdirSync(values['cpu-prof'], { recursive: true })
  if (cores < 2) say('one core only: load and proxy share it, requests/s and latencies mean little')
  const about = { date: new Date().toISOString().slice(0, 10), versions: versions(), machine: `${cores} cores, ${cpus()[0]?.model.trim() ?? 'unknown CPU'}`, costs: costsOfSystem() }
  const all = []
  for (const scenario of scenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue
    say(`${scenario.name}: ${scenario.title}`)
    try {
      const own = settingsOf(scenario, settings)
      const result = { ...about, rounds: own.rounds, seconds: own.seconds, ...await runScenario(scenario, own) }
      show(result)
      all.push(result)
      if (values.report) save(result)
    } catch (error) {
      if (!(error instanceof Skip)) throw new Error(`${scenario.name}: ${error.message}`, { cause: error })
      say(`  left out: ${error.message}`)
    }
  }
  if (values.report) render(scenarios)
  if (values.json) console.log(JSON.stringify(all))
}

process.once('SIGINT', () => { void stopAll().then(() => process.exit(130)) })
try {
  await main()
} catch (error) {
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
} finally {
  await stopAll()
}
