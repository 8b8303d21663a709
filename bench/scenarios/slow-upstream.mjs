import { fileURLToPath } from 'node:url'
import { load } from '../lib/load.mjs'
import { median } from '../lib/rounds.mjs'
import { LOAD_CORE, startNode } from '../lib/system.mjs'

const script = fileURLToPath(new URL('../targets/worker.mjs', import.meta.url))
const targets = {
  headgate: ({ node }) => node({ kind: 'headgate' }),
  'headgate, round-robin': ({ node }) => node({ kind: 'headgate', pool: { policy: 'round-robin' } }),
  'nginx, round robin': ({ nginx }) => nginx(),
  'nginx, least_conn': ({ nginx }) => nginx({ method: 'least_conn;' }),
  'haproxy, leastconn': ({ haproxy }) => haproxy({ balance: 'leastconn' })
}

export default {
  order: 100,
  name: 'slow-upstream',
  more: { seconds: 2 },
  title: 'One of three upstreams is 20 times slower',
  text: 'Upstreams that take 10 ms, 64 connections, no health checks; then one of the three takes 200 ms. p99 in ms, median of the rounds: with all alike, and with the slow one.',
  async run (context) {
    const rows = []
    const checks = []
    const skipped = {}
    for (const [name, start] of Object.entries(targets)) {
      const result = []
      for (const slow of [false, true]) {
        const workers = []
        for (let i = 0; i < 3; i++) workers.push(await startNode(LOAD_CORE, script, { delay: slow && i === 0 ? 200 : 10 }))
        context.ports = workers.map(({ port }) => port)
        const target = await start(context)
        await load(`http://127.0.0.1:${target.port}`, { seconds: 1 })
        const p99 = []
        for (let round = 0; round < context.rounds; round++) p99.push((await load(`http://127.0.0.1:${target.port}`, { seconds: context.seconds })).p99)
        result.push(median(p99))
        await Promise.all([target, ...workers].map(context.stop))
      }
      rows.push([name, ...result, result[1] / result[0]])
      if (name === 'headgate') checks.push({ text: 'headgate p99 with the slow one ≤ 1.10 × without', value: result[1] / result[0], met: result[1] / result[0] <= 1.1 })
    }
    return { columns: ['', 'all alike', 'one slow', 'ratio'], rows, checks, skipped }
  }
}
