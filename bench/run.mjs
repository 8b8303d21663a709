// CPU per request of proxies side by side: `npm run bench`. Each target runs in its own process, pinned to one core where
// taskset exists; load and backends run on the other. Rounds alternate between the targets; medians and ratios are shown.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRequire } from 'node:module'

const here = dirname(fileURLToPath(import.meta.url))
const autocannon = createRequire(import.meta.url)('autocannon')
const rounds = Number(process.argv[2] ?? 5)
const seconds = Number(process.argv[3] ?? 2)
const has = (command) => spawnSync('which', [command]).status === 0
const pinned = (core, command, args) => has('taskset') ? ['taskset', ['-c', String(core), command, ...args]] : [command, args]
const ticks = Number(spawnSync('getconf', ['CLK_TCK']).stdout) || 100

/** Starts a process and resolves when it prints its port, or after it answers on `port`. */
function start (core, command, args, port) {
  const child = spawn(...pinned(core, command, args), { stdio: ['ignore', 'pipe', 'inherit'] })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    if (port !== undefined) return setTimeout(() => resolve({ child, port }), 700)
    child.stdout.once('data', (data) => resolve({ child, port: Number(data) }))
  })
}

/** User and system microseconds of a process (and, for nginx, of its worker). */
function cpu (pid) {
  const own = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  return (Number(own[11]) + Number(own[12])) * 1e6 / ticks
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]
const backend = await start(1, process.execPath, [join(here, 'backend.mjs')])
const work = mkdtempSync(join(tmpdir(), 'headgate-bench-'))
const targets = {}
for (const name of ['reply-from', 'http-proxy', 'headgate']) targets[name] = await start(0, process.execPath, [join(here, 'target.mjs'), name, String(backend.port)])
if (has('nginx')) {
  const port = 21_990
  writeFileSync(join(work, 'nginx.conf'), `daemon off; master_process off; worker_processes 1; pid ${work}/pid; error_log stderr crit;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path ${work}/b; proxy_temp_path ${work}/p; fastcgi_temp_path ${work}/f; uwsgi_temp_path ${work}/u; scgi_temp_path ${work}/s;
upstream u { server 127.0.0.1:${backend.port}; keepalive 64; }
server { listen 127.0.0.1:${port}; keepalive_requests 1000000; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`)
  targets.nginx = await start(0, 'nginx', ['-c', join(work, 'nginx.conf'), '-e', 'stderr'], port)
} else console.log('nginx is not installed: left out')

const figures = {}
for (let round = 0; round < rounds; round++) {
  for (const [name, { child, port }] of Object.entries(targets)) {
    const before = cpu(child.pid)
    const result = await autocannon({ url: `http://127.0.0.1:${port}/x`, connections: 64, duration: seconds })
    const used = cpu(child.pid) - before
    if (result.non2xx > 0 || result.errors > 0) throw new Error(`${name}: ${result.non2xx} wrong answers, ${result.errors} errors`)
    ;(figures[name] ??= []).push({ us: used / result.requests.total, rps: result.requests.average, p99: result.latency.p99 })
  }
}
const base = figures['reply-from'].map(({ us }) => us)
for (const [name, list] of Object.entries(figures)) {
  const us = list.map((figure) => figure.us)
  const ratios = us.map((value, i) => value / base[i])
  console.log(`${name.padEnd(12)} ${median(us).toFixed(1).padStart(6)} µs/request  ${Math.round(median(list.map(({ rps }) => rps)))} requests/s  p99 ${median(list.map(({ p99 }) => p99))} ms  ` +
    `${median(ratios).toFixed(2)} × reply-from (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`)
}
for (const { child } of [backend, ...Object.values(targets)]) child.kill()
rmSync(work, { recursive: true })
