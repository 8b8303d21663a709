import { mkdtempSync } from 'node:fs'
import { load } from './lib/load.mjs'
import { median } from './lib/rounds.mjs'
import { startBackends, startNginx } from './lib/servers.mjs'
import { PROXY_CORE, cpu, startNode, stopAll } from './lib/system.mjs'
const [, , rounds = '6', mode = 'get', only = ''] = process.argv
const work = mkdtempSync('/tmp/perf-ab-')
try {
  const post = mode.startsWith('post')
  const { ports } = await startBackends(work, 3, post)
  const t = { old: ['/work/main/bench/targets/node.mjs', { kind: 'headgate' }], new: ['/work/wt/perf/bench/targets/node.mjs', { kind: 'headgate' }], bare: ['/work/wt/perf/bench/targets/node.mjs', { kind: 'bare' }], hello: ['/work/wt/perf/bench/targets/node.mjs', { kind: 'hello' }], 'reply-from': ['/work/wt/perf/bench/targets/node.mjs', { kind: 'reply-from' }], 'http-proxy': ['/work/wt/perf/bench/targets/node.mjs', { kind: 'fastify-http-proxy' }] }
  if (post) { delete t.bare; delete t.hello; delete t['http-proxy'] }
  if (only) for (const k of Object.keys(t)) if (!only.split(',').includes(k)) delete t[k]
  const options = mode === 'get' ? { path: '/small' } : mode === 'post1k' ? { path: '/post', method: 'POST', bodySize: 1024 } : mode === 'post100k' ? { path: '/post', method: 'POST', bodySize: 102400 } : mode === 'post10m' ? { path: '/post', method: 'POST', bodySize: 10485760, connections: 8 } : { path: '/' + mode }
  const s = {}
  for (const [k, [f, c]] of Object.entries(t)) s[k] = await startNode(PROXY_CORE, f, { ports, ...c })
  if (!post && !only) s.nginx = await startNginx(work, ports, {})
  for (const k in s) await load(`http://127.0.0.1:${s[k].port}`, { ...options, seconds: 2 })
  const us = {}
  for (let r = 0; r < Number(rounds); r++) for (const k in s) { const b = cpu(s[k].pid); const { requests, errors } = await load(`http://127.0.0.1:${s[k].port}`, { ...options, seconds: 1 }); if (errors) console.log(k, errors, 'errors'); (us[k] ??= []).push((cpu(s[k].pid) - b) / requests) }
  for (const k in us) console.log(k.padEnd(12), median(us[k]).toFixed(1), 'min', Math.min(...us[k]).toFixed(1), us.old ? 'x old ' + median(us[k].map((v, i) => v / us.old[i])).toFixed(3) : '', us[k].map(x => x.toFixed(0)).join(' '))
} finally { await stopAll() }
