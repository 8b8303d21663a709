import { fileURLToPath } from 'node:url'
import { load } from '../lib/load.mjs'
import { median } from '../lib/rounds.mjs'
import { WORKER_CORES, cores, cpuOfAll, freePorts, startOwn } from '../lib/system.mjs'

const cli = fileURLToPath(new URL('../../packages/headgate/dist/cli.js', import.meta.url))
/** Twice the work in 1 / 1.85 of the time: the CPU time of a request may grow by so much. */
const DEARER = 2 / 1.85
/** Each has half of the connections. */
const STRANGERS = 'two processes that share nothing'
const sum = (list, key) => list.reduce((total, each) => total + each[key], 0)

export default {
  order: 130,
  name: 'workers',
  title: 'Two workers against one process',
  text: '`headgate serve` with `--workers 2` and without. With four cores or more: two for the workers, two for load and backends, and requests per second count. With less, both workers share one core, where more requests per second cannot be had: there the CPU time of a request, of all processes, tells what the sharing costs.',
  remarks: 'Two processes that know nothing of each other, with half of the connections each on one core, cost more than one with all of them, too, between 2 and 17 % from one run to the next, 14 % in this one ([scaling out](scaling-out.md#capacity-on-paper)): each does less in a turn of its event loop, and pushes the other\'s code and data out of the core\'s caches. What workers share adds nothing that can be seen.',
  async run ({ rounds, seconds, startBackends, stop }) {
    const [backend] = (await startBackends(1)).ports
    const serve = async (...more) => {
      const [port] = await freePorts(1)
      const started = await startOwn(WORKER_CORES, [cli, 'serve', '--listen', `127.0.0.1:${port}`, '--upstream', `http://127.0.0.1:${backend}`, '--log-level', 'error', ...more], port)
      await load(`http://127.0.0.1:${port}`, { seconds: 3 })
      return started
    }
    const started = { 'one process': [await serve()], 'two workers': [await serve('--workers', '2')], [STRANGERS]: [await serve(), await serve()] }
    const figures = {}
    const cpuOf = (processes) => processes.reduce((total, { pid }) => total + cpuOfAll(pid), 0)
    for (let round = 0; round < rounds; round++) {
      for (const [name, processes] of Object.entries(started)) {
        const before = cpuOf(processes)
        const loads = await Promise.all(processes.map(({ port }) => load(`http://127.0.0.1:${port}`, { seconds, connections: 64 / processes.length })))
        const own = figures[name] ??= { us: [], rps: [] }
        own.us.push((cpuOf(processes) - before) / sum(loads, 'requests'))
        own.rps.push(sum(loads, 'rps'))
      }
    }
    await Promise.all(Object.values(started).flat().map(stop))
    const ratio = (metric) => median(figures['two workers'][metric].map((value, i) => value / figures['one process'][metric][i]))
    return {
      columns: ['', 'µs per request', 'requests/s'],
      rows: Object.entries(figures).map(([name, { us, rps }]) => [name, median(us), median(rps)]),
      checks: [cores >= 4
        ? { text: 'two workers ≥ 1.85 × the requests/s of one process', value: ratio('rps'), met: ratio('rps') >= 1.85 }
        : { text: `two workers ≤ ${DEARER.toFixed(2)} × the CPU time per request of one process`, value: ratio('us'), met: ratio('us') <= DEARER }]
    }
  }
}
