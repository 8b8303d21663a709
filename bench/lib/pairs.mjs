// What one thing more costs, measured within one process: two processes that run the same differ by more than that, as V8 makes something
// else of the same code in each, and so does one machine from one second to the next. Here both apps run the same compiled code, and are
// asked in turns of a few milliseconds.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { startTargets } from './rounds.mjs'
import { LOAD_CORE, freePorts, pinned } from './system.mjs'

const bursts = fileURLToPath(new URL('../targets/bursts.mjs', import.meta.url))
/** Long enough that a request costs what it does under steady load, short enough that the machine is the same in the burst beside. */
const REQUESTS = 128
/** For each pair and second of a round: with less, chance is more than what a feature adds. */
const SECONDS = 3

/** The mean of the middle half: what hits few bursts, a collection of garbage or another process, is left out. */
function middle (list) {
  const sorted = list.toSorted((a, b) => a - b)
  const kept = sorted.slice(sorted.length >> 2, sorted.length - (sorted.length >> 2))
  return kept.reduce((sum, value) => sum + value, 0) / kept.length
}

async function startPair (node, pair) {
  const ports = await freePorts(pair.length)
  const apps = pair.map((config, i) => ({ ...config, port: ports[i] }))
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
 * `pairs`: by name, the configurations of two apps (see targets/app.mjs), with `headers` that they are asked with. Each round has new
 * processes, one for each pair, and the load goes round all of them. Gives figures[name] = { us: [], adds: [] }: CPU µs of the first app's
 * request, and what the second's costs more, one entry a round.
 */
export async function measurePairs (pairs, path, { rounds, seconds, turns, node, stop, say, ...context }) {
  const figures = {}
  let skipped = {}
  for (let round = 0; round < rounds; round++) {
    // Whichever app is made first finds another heap, so that changes, too.
    const inOrder = (list) => round % 2 === 0 ? list : list.toReversed()
    const targets = Object.fromEntries(Object.entries(pairs).map(([name, pair]) => [name, () => startPair(node, inOrder(pair))]))
    const all = await startTargets(targets, { ...context, say })
    skipped = all.skipped
    const started = Object.values(all.started)
    const results = await load({
      processes: started.map(({ port, apps }) => ({ port, apps })), path, connections: 64, requests: REQUESTS,
      warm: 400 * turns, seconds: SECONDS * seconds * started.length, first: round
    })
    for (const [i, name] of Object.keys(all.started).entries()) {
      const each = results[i].map(inOrder)
      const own = figures[name] ??= { us: [], adds: [] }
      own.us.push(middle(each.map(([us]) => us)))
      own.adds.push(middle(each.map(([without, withIt]) => withIt - without)))
    }
    await Promise.all(started.map(stop))
    say(`  round ${round + 1}: ${Object.entries(figures).map(([name, { adds }]) => `${name} ${adds.at(-1).toFixed(2)}`).join(', ')} µs`)
  }
  return { figures, skipped }
}
