// `node examples/cluster/start.mjs`: three proxies, Redis, a DNS server, upstreams and load that come and go, until Ctrl-C or for `--seconds 60`.
// `--plan 2,5,1` goes through so many upstreams instead, one of which crashes at the end. The last line is what it counted, as JSON.
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Cluster } from './cluster.mjs'
import { Load } from './load.mjs'

const { values: { plan, seconds } } = parseArgs({ options: { plan: { type: 'string' }, seconds: { type: 'string' } } })
/** Requests per second that one upstream is meant to carry, and the milliseconds between two looks at how many there are. */
const EACH = 60
const LOOK = 3000
const SPARE = 0.7
const MOST = 8

const cluster = new Cluster()
const stop = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { stop.abort() })

try {
  await cluster.start()
  const load = new Load(cluster.urls)
  const says = (text) => { console.error(text) }
  says('Three proxies share a Redis. A DNS server names their upstreams, of which there are as many as the load needs. Look at any proxy:')
  for (const [index, url] of cluster.urls.entries()) says(`  dashboard of proxy ${index + 1}: ${url}/headgate/`)
  if (seconds !== undefined) AbortSignal.timeout(Number(seconds) * 1000).addEventListener('abort', () => { stop.abort() })
  if (plan === undefined) await waves(load)
  else await steps(load, plan.split(',').map(Number))
  await load.stop()
  const pools = await Promise.all(cluster.urls.map((url) => cluster.pool(url)))
  console.log(JSON.stringify({
    requests: load.requests, failed: load.failed, failures: Object.fromEntries(load.failures), hits: load.hits, shown: pools.map(({ upstreams }) => upstreams),
    attempts: pools.map(({ requests }) => requests)
  }))
  if (load.failed > 0) process.exitCode = 1
} finally {
  await cluster.stop()
}

async function steps (load, counts) {
  load.clients = 6
  for (const count of counts) {
    await cluster.scale(count)
    const from = load.requests
    while (load.requests < from + 100 && !stop.signal.aborted) await setTimeout(20)
    if (stop.signal.aborted) return
  }
  await cluster.scale(3)
  await cluster.crash()
}

/** One more when those there are have too much to do, one less only when the others would have room to spare: so that the number does not waver. */
function wanted (rate, size) {
  const most = Math.ceil(rate / (EACH * SPARE))
  return Math.min(MOST, Math.max(1, Math.ceil(rate / EACH), Math.min(size, most)))
}

/** The load goes up and down, and upstreams follow what the dashboards show. */
async function waves (load) {
  const columns = (...cells) => { console.error(cells.map((cell, index) => index < 7 ? String(cell).padStart([6, 8, 9, 7, 11, 8, 10][index]) : `  ${cell}`).join('')) }
  const began = performance.now()
  console.error('The load rises and falls by itself; Ctrl-C ends everything and tells the sum.')
  columns('second', 'clients', 'requests', 'failed', 'from cache', 'slowest', 'forwarded', 'upstreams')
  for (let turn = 0; !stop.signal.aborted; turn++) {
    load.clients = Math.round(3 + 12 * (1 - Math.cos(turn / 5)))
    await setTimeout(LOOK, undefined, { signal: stop.signal }).catch(() => {})
    if (stop.signal.aborted) return
    const pools = await Promise.all(cluster.urls.map((url) => cluster.pool(url)))
    const rate = pools.reduce((sum, pool) => sum + pool.rate, 0)
    const before = cluster.upstreams
    await cluster.scale(wanted(rate, cluster.size))
    const { upstreams } = cluster
    const changes = [...upstreams.filter((one) => !before.includes(one)).map((one) => `+${one}`), ...before.filter((one) => !upstreams.includes(one)).map((one) => `-${one}`)]
    columns(
      Math.round((performance.now() - began) / 1000), load.clients, load.requests, load.failed, `${Math.round(100 * load.hits / load.requests)}%`, `${Math.round(load.slowest)} ms`,
      `${Math.round(rate)}/s`, [upstreams.length, ...changes].join(' ')
    )
    for (const [reason, count] of load.failures) console.error(`  failed: ${reason}, ${count} times`)
    load.slowest = 0
  }
}
