import { fileURLToPath } from 'node:url'
import { median, startTargets } from '../lib/rounds.mjs'
import { LOAD_CORE, cpu, startNode } from '../lib/system.mjs'

const echo = fileURLToPath(new URL('../targets/echo.mjs', import.meta.url))
const talkers = fileURLToPath(new URL('../targets/talkers.mjs', import.meta.url))
const targets = {
  headgate: ({ node }) => node({ kind: 'headgate' }),
  'TCP pass-through in Node': ({ node }) => node({ kind: 'tcp' }),
  nginx: ({ nginx }) => nginx({ location: 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";' }),
  'http-proxy': ({ node }) => node({ kind: 'http-proxy' })
}

export default {
  order: 95,
  name: 'websocket',
  title: 'Tunnels: echo of 64 B and 64 KB messages',
  text: '32 upgraded connections, each sends a message and waits for its echo. The bytes in the tunnel are passed on unread by all of these, so plain bytes stand for WebSocket frames. CPU µs per message and its echo.',
  remarks: 'Headgate reads both connections into buffers that are used again, where the others take 64 KB of fresh memory for each read: to fault its pages in and give them back costs as much as the copying, and how much of it malloc keeps for the next read is a matter of chance.',
  async run (context) {
    context.ports = [(await startNode(LOAD_CORE, echo)).port]
    const { started, skipped } = await startTargets(targets, context)
    const rows = []
    const checks = []
    for (const [label, size] of [['64 B', 64], ['64 KB', 65_536]]) {
      const us = {}
      for (let round = 0; round < context.rounds; round++) {
        for (const [name, { pid, port }] of Object.entries(started)) {
          const before = cpu(pid)
          const load = await startNode(LOAD_CORE, talkers, { port, size, connections: 32, seconds: context.seconds })
          ;(us[name] ??= []).push((cpu(pid) - before) / load.port)
          await context.stop(load)
        }
      }
      for (const [name, list] of Object.entries(us)) rows.push([`${label}, ${name}`, median(list), median(list.map((value, i) => value / us['TCP pass-through in Node'][i]))])
      const ratio = rows.find(([name]) => name === `${label}, headgate`)[2]
      checks.push({ text: `${label}: headgate ≤ 1.20 × TCP pass-through in Node`, value: ratio, met: ratio <= 1.2 })
    }
    return { columns: ['', 'µs', '× TCP in Node'], rows, checks, skipped }
  }
}
