// What one app costs more than another, measured within one process: two processes that run the same differ by more than a feature costs, as
// V8 makes something else of the same code in each, and so does one machine from one second to the next. Here the apps run the same compiled
// code, and are asked in turns of a few milliseconds.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { startTargets } from './rounds.mjs'
import { LOAD_CORE, freePorts, pinned } from './system.mjs'

const bursts = fileURLToPath(new URL('../targets/bursts.mjs', import.meta.url))
/** Long enough that a request costs what it does under steady load, short enough that the machine is the same in the burst beside. */
const REQUESTS = 128

/** The mean of the middle half: what hits few bursts, a collection of garbage or another process, is left out. */
export function middle (list) {
  const sorted = list.toSorted((a, b) => a - b)
  const kept = sorted.slice(sorted.length >> 2, sorted.length - (sorted.length >> 2))
  return kept.reduce((sum, value) => sum + value, 0) / kept.length
}

async function startGroup (node, group) {
  const ports = await freePorts(group.length)
  const apps = group.map((config, i) => ({ ...config, port: ports[i] }))
  return { ...await node({ kind: 'several', apps }), apps }
}

async function load (options) {
  const child = spawn(...pinned(LOAD_CORE, process.execPath, [bursts, JSON.stringify(options)]), { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const data of child.stdout) text += data
  if (text === '') throw new Error('the load ended without a result')
  return JSON.parse(text)
}

/**
 * `groups`: by name, the configurations of the apps of one process (see targets/app.mjs), with what says how they are asked (see
 * targets/bursts.mjs). Each round has new processes, one for each group, and the load goes round all of them, `seconds` for each. Gives
 * figures[name]: for each round a list of turns, each with the CPU µs of a request to each app.
 */
export async function measureTurns (groups, path, { rounds, seconds, turns, node, stop, say, ...context }) {
  const figures = {}
  let skipped = {}
  for (let round = 0; round < rounds; round++) {
    // Whichever app is made first finds another heap, so that changes, too.
    const inOrder = (list) => round % 2 === 0 ? list : list.toReversed()
    const targets = Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, () => startGroup(node, inOrder(group))]))
    const all = await startTargets(targets, { ...context, say })
    skipped = all.skipped
    const started = Object.values(all.started)
    const results = await load({
      processes: started.map(({ port, apps }) => ({ port, apps })), path, connections: 64, requests: REQUESTS,
      warm: 400 * turns, seconds: seconds * started.length, first: round
    })
    for (const [i, name] of Object.keys(all.started).entries()) (figures[name] ??= []).push(results[i].map(inOrder))
    await Promise.all(started.map(stop))
    say(`  round ${round + 1} of ${rounds}: ${Object.entries(figures).map(([name, all]) => `${name} ${all.at(-1)[0].map((_, i) => middle(all.at(-1).map((each) => each[i])).toFixed(1)).join(' ')}`).join(', ')} µs`)
  }
  return { figures, skipped }
}
