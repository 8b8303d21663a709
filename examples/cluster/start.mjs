// `node examples/cluster/start.mjs`: three proxies, Redis, a DNS server, upstreams and load that come and go, until Ctrl-C.
// `--plan 2,5,1` goes through so many upstreams instead, one of which crashes in between, and ends with what it counted.
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Cluster } from './cluster.mjs'
import { Load } from './load.mjs'

const { values: { plan } } = parseArgs({ options: { plan: { type: 'string' } } })
/** Requests per second that one upstream is meant to carry, and the milliseconds between two looks at how many there are. */
const EACH = 60
const LOOK = 3000
const MOST = 8

const cluster = new Cluster()
const stop = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { stop.abort() })

try {
  await cluster.start()
  const load = new Load(cluster.urls)
  console.error(`Dashboards: ${cluster.urls.map((url) => `${url}/headgate/`).join('  ')}`)
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

/** The load goes up and down, and upstreams follow what the dashboards show. */
async function waves (load) {
  for (let turn = 0; !stop.signal.aborted; turn++) {
    load.clients = Math.round(3 + 12 * (1 - Math.cos(turn / 5)))
    await setTimeout(LOOK, undefined, { signal: stop.signal }).catch(() => {})
    if (stop.signal.aborted) return
    const pools = await Promise.all(cluster.urls.map((url) => cluster.pool(url)))
    const rate = pools.reduce((sum, pool) => sum + pool.rate, 0)
    const wanted = Math.min(MOST, Math.max(1, Math.ceil(rate / EACH)))
    if (wanted !== cluster.size) await cluster.scale(wanted)
    console.error(`${load.requests} requests, ${load.failed} failed; ${Math.round(rate)}/s to ${cluster.size} upstreams`)
  }
}
