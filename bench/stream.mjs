// Layer 4 side by side with nginx `stream` and HAProxy `mode tcp`: `node bench/stream.mjs [rounds] [seconds]`. Each proxy runs in its
// own process with one thread, pinned to one core where taskset exists; load and servers are on the other. Rounds alternate.
// The figure that holds on a noisy machine is CPU time of the proxy for each unit of work; what came through is shown beside it.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const rounds = Number(process.argv[2] ?? 3)
const seconds = Number(process.argv[3] ?? 2)
const has = (command) => spawnSync('which', [command]).status === 0
const pinned = (core, command, args) => has('taskset') ? ['taskset', ['-c', String(core), command, ...args]] : [command, args]
const ticks = Number(spawnSync('getconf', ['CLK_TCK']).stdout) || 100
const work = mkdtempSync(join(tmpdir(), 'headgate-bench-'))
const children = []

/** Starts a process; resolves with the numbers that it prints first, or at once with what it was given. */
function start (core, command, args, given) {
  const child = spawn(...pinned(core, command, args), { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    if (given !== undefined) return setTimeout(() => resolve({ child, ports: given }), 700)
    child.stdout.once('data', (data) => resolve({ child, ports: String(data).trim().split(' ').map(Number) }))
  })
}

/** User and system microseconds of a process. */
function cpu (pid) {
  const own = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  return (Number(own[11]) + Number(own[12])) * 1e6 / ticks
}

/** Runs the load generator against a port; resolves with how many units of work were done. */
function load (kind, port) {
  return new Promise((resolve, reject) => {
    const child = spawn(...pinned(1, process.execPath, [join(here, 'stream-load.mjs'), kind, String(port), String(seconds)]), { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', (data) => { text += data })
    child.on('close', (code) => code === 0 ? resolve(Number(text)) : reject(new Error(`the load for ${kind} ended with ${code}`)))
  })
}

const { ports: [small, bulk, udp] } = await start(1, process.execPath, [join(here, 'stream-backend.mjs')])
const targets = { headgate: await start(0, process.execPath, [join(here, 'stream-target.mjs'), ...[small, bulk, udp].map(String)]) }
if (has('haproxy')) {
  const ports = [26_101, 26_102]
  writeFileSync(join(work, 'haproxy.cfg'), `global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${ports.map((port, i) => `listen l${i}\n  bind 127.0.0.1:${port}\n  server s 127.0.0.1:${[small, bulk][i]}\n`).join('')}`)
  targets.haproxy = await start(0, 'haproxy', ['-q', '-db', '-f', join(work, 'haproxy.cfg')], ports)
} else console.log('haproxy is not installed: left out')
const module = '/usr/lib/nginx/modules/ngx_stream_module.so'
if (has('nginx') && spawnSync('test', ['-e', module]).status === 0) {
  const ports = [26_111, 26_112, 26_113]
  writeFileSync(join(work, 'nginx.conf'), `load_module ${module};
daemon off; master_process off; worker_processes 1; pid ${work}/pid; error_log stderr crit;
events { worker_connections 4096; }
stream {
${ports.map((port, i) => `  server { listen 127.0.0.1:${port}${i === 2 ? ' udp' : ''}; proxy_pass 127.0.0.1:${[small, bulk, udp][i]}; }`).join('\n')}
}`)
  targets.nginx = await start(0, 'nginx', ['-c', join(work, 'nginx.conf'), '-e', 'stderr'], ports)
} else console.log("nginx with its stream module is not installed: left out (Debian's libnginx-mod-stream)")

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]
const kinds = {
  connect: { index: 0, unit: 'connection', scale: 1, shown: (rate) => `${Math.round(rate)} connections/s` },
  'round trip': { index: 0, unit: 'round trip', scale: 1, shown: (rate) => `${Math.round(rate)} round trips/s` },
  download: { index: 1, unit: 'MB', scale: 1e6, shown: (rate) => `${Math.round(rate / 1e6)} MB/s` },
  upload: { index: 1, unit: 'MB', scale: 1e6, shown: (rate) => `${Math.round(rate / 1e6)} MB/s` },
  udp: { index: 2, unit: 'datagram and answer', scale: 1, shown: (rate) => `${Math.round(rate)} answers/s` }
}
try {
  for (const [kind, { index, unit, scale, shown }] of Object.entries(kinds)) {
    const figures = {}
    for (let round = 0; round < rounds; round++) {
      for (const [name, { child, ports }] of Object.entries(targets)) {
        if (ports[index] === undefined) continue
        const before = cpu(child.pid)
        const done = await load(kind, ports[index])
        ;(figures[name] ??= []).push({ us: (cpu(child.pid) - before) / (done / scale), rate: done / seconds })
      }
    }
    console.log(kind)
    const reference = figures.haproxy ?? figures.nginx
    for (const [name, list] of Object.entries(figures)) {
      const ratios = reference === undefined ? [] : list.map(({ us }, i) => reference[i].us / us)
      console.log(`  ${name.padEnd(10)} ${median(list.map(({ us }) => us)).toFixed(1).padStart(8)} µs CPU/${unit}  ${shown(median(list.map(({ rate }) => rate)))}` +
        (ratios.length === 0 ? '' : `  ${median(ratios).toFixed(2)} × ${figures.haproxy === undefined ? 'nginx' : 'haproxy'}'s work per CPU (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`))
    }
  }
} finally {
  for (const child of children) child.kill()
  rmSync(work, { recursive: true })
}
