import { fileURLToPath } from 'node:url'
import { LOAD_CORE, cpu, rss, startNode } from '../lib/system.mjs'
import { proxies } from './small-get.mjs'

const COUNT = 10_000
const script = fileURLToPath(new URL('../targets/idlers.mjs', import.meta.url))

export default {
  order: 110,
  name: 'idle',
  title: '10,000 idle client connections',
  text: 'Each has had one answer and is kept open. Memory beyond that of the fresh process, by connection, and CPU time in ten seconds in which nothing happens.',
  async run (context) {
    const { startBackends } = context
    context.ports = (await startBackends(1)).ports
    const rows = []
    const checks = []
    const skipped = {}
    for (const name of ['headgate', 'nginx', 'reply-from']) {
      const target = await proxies[name](context)
      const fresh = rss(target.pid)
      const idlers = await startNode(LOAD_CORE, script, { port: target.port, count: COUNT })
      const kept = idlers.port
      await new Promise((resolve) => { setTimeout(resolve, 2000) })
      const each = (rss(target.pid) - fresh) / kept
      const before = cpu(target.pid)
      await new Promise((resolve) => { setTimeout(resolve, 10_000) })
      const idle = (cpu(target.pid) - before) / 1000
      rows.push([name, kept, fresh / 1e6, each / 1024, idle])
      if (name === 'headgate') checks.push({ text: 'headgate: CPU while idle ≤ 0.5 % of a core (50 ms in 10 s)', value: idle, met: idle <= 50 })
      await context.stop(idlers)
      await context.stop(target)
    }
    return { columns: ['', 'connections', 'fresh MB', 'KB a connection', 'CPU ms in 10 s'], rows, checks, skipped }
  }
}
