// Bytes and CPU per response: `node bench/compress/run.mjs [rounds] [coding …]` (after `npm run setup`). Headgate's compress beside
// @fastify/compress and nginx (gzip, and brotli if its module is there) at the same level, with real web content. Each target
// runs in its own process on a core of its own; rounds of a fixed number of requests alternate between the targets. CPU time is
// that of all threads of the process, so 1,000,000 / µs is what one core does in a second. "coder" is what encoding costs by itself,
// in a loop that does nothing else.
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import zlib from 'node:zlib'
import { encodings } from '@headgate/compress'
import { median } from '../lib/rounds.mjs'
import { LOAD_CORE, PROXY_CORE, Skip, cpu, freePorts, startNode, startProgram, stopAll } from '../lib/system.mjs'
import { bodies } from './bodies.mjs'

/** CPU time only ever grows by what disturbs the machine, so the least of the rounds is nearest to what the work costs. */
const least = (list) => Math.min(...list)
const autocannon = createRequire(import.meta.url)('autocannon')
const [, , count = '5', ...wanted] = process.argv
const rounds = Number(count)
const target = fileURLToPath(new URL('target.mjs', import.meta.url))
/** Requests until the JIT has seen enough of a target. */
const WARM = 3000
/** CPU microseconds of one measurement. */
const ENOUGH = 150_000
const decoders = Object.fromEntries(Object.entries({ gzip: zlib.createGunzip, br: zlib.createBrotliDecompress, zstd: zlib.createZstdDecompress })
  .filter(([name, decoder]) => decoder !== undefined && (wanted.length === 0 || wanted.includes(name))))

/** One response as it comes: bytes of its body, and milliseconds until something of it can be read. */
function once (port, path, encoding) {
  return new Promise((resolve, reject) => {
    const at = performance.now()
    http.get({ port, path, host: '127.0.0.1', agent: false, headers: { 'accept-encoding': encoding } }, (response) => {
      if (response.headers['content-encoding'] !== encoding) return reject(new Error(`${path}: asked for ${encoding}, got ${response.headers['content-encoding']}`))
      let bytes = 0
      let first
      response.on('data', (piece) => { bytes += piece.length })
      response.pipe(decoders[encoding]()).on('data', () => { first ??= performance.now() - at }).on('end', () => resolve({ bytes, first })).on('error', reject)
    }).on('error', reject)
  })
}

async function send ({ port }, path, encoding, amount) {
  const { errors, non2xx } = await autocannon({ url: `http://127.0.0.1:${port}${path}`, connections: 16, amount, timeout: 60, headers: { 'accept-encoding': encoding } })
  if (errors > 0 || non2xx > 0) throw new Error(`${path}: ${non2xx} wrong answers, ${errors} errors`)
}

async function measure (server, path, encoding, amount) {
  const before = cpu(server.pid)
  await send(server, path, encoding, amount)
  return (cpu(server.pid) - before) / amount
}

/** CPU of [label, server, path]s in alternating rounds. */
async function rounded (runs, encoding) {
  const figures = {}
  const amounts = []
  for (const [, server, path] of runs) amounts.push(Math.min(1000, Math.max(16, Math.round(ENOUGH / await measure(server, path, encoding, 32)))))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < runs.length; i++) {
      const at = (i + round) % runs.length
      const [label, server, path] = runs[at]
      ;(figures[label] ??= []).push(await measure(server, path, encoding, amounts[at]))
    }
  }
  return figures
}

const LEVELS = { gzip: 6, br: 4, zstd: 3 }

/** CPU microseconds of the coder alone, with its state at hand. */
function coderAlone (encoding, body) {
  const coder = encodings.get(encoding)
  const amount = Math.max(8, Math.round(2e6 / body.length))
  return least(Array.from({ length: 2 * rounds + 2 }, () => {
    const before = process.cpuUsage()
    for (let i = 0; i < amount; i++) coder.encodeSync(body, LEVELS[encoding])
    const { user, system } = process.cpuUsage(before)
    return (user + system) / amount
  }))
}

async function startNginx (work, backend) {
  const [port] = await freePorts(1)
  mkdirSync(join(work, 'same'))
  for (const [index, { path }] of bodies.entries()) symlinkSync(path, join(work, 'same', String(index)))
  const module = '/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so'
  const brotli = existsSync(module)
  const types = bodies.map(({ type }, index) => `location = /same/${index} { types {} default_type ${type}; }`).join('\n')
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${work}/${name};`).join(' ')
  writeFileSync(join(work, 'nginx.conf'), `daemon off; master_process off; worker_processes 1; pid ${work}/pid; error_log stderr crit;
${brotli ? `load_module ${module};` : ''}
events { worker_connections 1024; }
http { access_log off; ${temp} open_file_cache max=100; sendfile on; keepalive_requests 1000000;
gzip on; gzip_comp_level 6; gzip_min_length 1024; gzip_types *; gzip_vary on;
${brotli ? 'brotli on; brotli_comp_level 4; brotli_min_length 1024; brotli_types *;' : ''}
upstream u { server 127.0.0.1:${backend.port}; keepalive 64; }
server { listen 127.0.0.1:${port}; root ${work};
${types}
location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Accept-Encoding ""; } } }`)
  const server = await startProgram(PROXY_CORE, 'nginx', ['-c', join(work, 'nginx.conf'), '-e', 'stderr'], port)
  return { server, encodings: brotli ? ['gzip', 'br'] : ['gzip'] }
}

const cell = (text, width = 11) => String(text).padStart(width)
const work = mkdtempSync(join(tmpdir(), 'headgate-bench-'))
try {
  const backend = await startNode(LOAD_CORE, target, { name: 'backend' })
  const [theirs, ours, proxy] = await Promise.all(['fastify-compress', 'headgate', 'headgate-proxy'].map((name) => startNode(PROXY_CORE, target, { name, backend: backend.port })))
  const nginx = await startNginx(work, backend).catch((error) => {
    if (!(error instanceof Skip)) throw error
    console.log(`nginx is left out: ${error.message}`)
  })
  for (const server of [theirs, ours, proxy]) for (const encoding of Object.keys(decoders)) await send(server, '/new/2', encoding, WARM)

  console.log(`Node ${process.version}; gzip 6, br 4, zstd 3; least of ${rounds} rounds. "new": each body for the first time; "again": the same body`)
  const all = { new: [], again: [], newNginx: [], againNginx: [] }
  for (const encoding of Object.keys(decoders)) {
    const beside = nginx?.encodings.includes(encoding) === true ? nginx.server : undefined
    console.log(`\n${encoding.padEnd(24)}bytes${' '.repeat(39)} | CPU µs per response${' '.repeat(46)} | throughput × @f/compress | CPU / nginx`)
    console.log(`${' '.repeat(24)}${cell('plain')}${cell('@f/compress')}${cell('headgate')}${cell('nginx')} |${cell('@f/c new')}${cell('@f/c again')}${cell('hg new')}${cell('hg again')}${cell('nginx')}${cell('coder')} |` +
      `${cell('new', 13)}${cell('again', 12)} |${cell('new', 6)}${cell('again', 6)}`)
    for (const [index, { name, body }] of bodies.entries()) {
      const bytes = []
      for (const server of [theirs, ours, beside]) bytes.push(server === undefined ? '–' : (await once(server.port, `/same/${index}`, encoding)).bytes)
      const found = await rounded([
        ['theirs new', theirs, `/new/${index}`], ['theirs again', theirs, `/same/${index}`], ['ours new', ours, `/new/${index}`], ['ours again', ours, `/same/${index}`],
        ...beside === undefined ? [] : [['nginx', beside, `/same/${index}`]]
      ], encoding)
      found.coder = [coderAlone(encoding, body)]
      const ratio = (a, b, list) => {
        if (found[a] === undefined || found[b] === undefined) return '–'
        const quotient = least(found[a]) / least(found[b])
        if (body.length < 65_536) list.push(quotient)
        return quotient.toFixed(2)
      }
      const us = ['theirs new', 'theirs again', 'ours new', 'ours again', 'nginx', 'coder'].map((label) => cell(found[label] === undefined ? '–' : least(found[label]).toFixed(0)))
      console.log(`${name.padEnd(24)}${cell(body.length)}${bytes.map((count) => cell(count)).join('')} |${us.join('')} |` +
        `${cell(ratio('theirs new', 'ours new', all.new), 13)}${cell(ratio('theirs again', 'ours again', all.again), 12)} |` +
        `${cell(ratio('ours new', 'nginx', all.newNginx), 6)}${cell(ratio('ours again', 'nginx', all.againNginx), 6)}`)
    }
  }
  console.log('\nBodies under 64 KiB, medians of the columns:')
  for (const [label, list] of [
    ['throughput × @fastify/compress, new bodies', all.new], ['throughput × @fastify/compress, the same body', all.again],
    ['CPU / nginx, new bodies', all.newNginx], ['CPU / nginx, the same body', all.againNginx]
  ]) {
    const sorted = list.toSorted((a, b) => a - b)
    if (sorted.length > 0) console.log(`  ${label.padEnd(48)}${median(sorted).toFixed(2)}  (${sorted[0].toFixed(2)}–${sorted.at(-1).toFixed(2)})`)
  }

  if (nginx !== undefined && 'gzip' in decoders) {
    console.log('\nForwarded, gzip, new bodies: CPU µs per response of the proxy')
    for (const [index, { name }] of bodies.entries()) {
      const found = await rounded([['ours', proxy, `/new/${index}`], ['nginx', nginx.server, `/new/${index}`]], 'gzip')
      console.log(`${name.padEnd(24)}${cell(least(found.ours).toFixed(0))} headgate${cell(least(found.nginx).toFixed(0))} nginx${cell((least(found.ours) / least(found.nginx)).toFixed(2))}`)
    }
  }
  console.log('\nA stream whose first 100 bytes come at once and the rest 300 ms later: ms until the client can read something')
  for (const encoding of Object.keys(decoders)) {
    for (const [name, server] of Object.entries({ '@fastify/compress': theirs, headgate: ours, 'headgate, forwarded': proxy, ...nginx?.encodings.includes(encoding) && { 'nginx, forwarded': nginx.server } })) {
      const firsts = []
      for (let round = 0; round < 9; round++) firsts.push((await once(server.port, '/slow/3', encoding)).first)
      console.log(`  ${encoding.padEnd(6)}${name.padEnd(22)}${cell(median(firsts).toFixed(1))}`)
    }
  }
} finally {
  await stopAll()
  rmSync(work, { recursive: true })
}
