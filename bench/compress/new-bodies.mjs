// Bodies that nobody has sent before: `node bench/compress/new-bodies.mjs [rounds] [coding | forwarded | own …]` (after `npm run build`). CPU µs and bytes per
// response of Headgate's compress beside @fastify/compress and nginx at the same levels (gzip 6, br 4, zstd 3), for forwarded responses, where
// @fastify/compress is given a stream, and for an app's own Buffers, where it makes one call up to a bound that hangs on the number of
// cores: 64 KiB on one (to which each server is bound here), 8 KiB on two, 4 KiB on more; so it is run with each bound. Rounds alternate
// between the targets, and quotients are of one round.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import zlib from 'node:zlib'
import { load } from '../lib/load.mjs'
import { compare, median } from '../lib/rounds.mjs'
import { LOAD_CORE, PROXY_CORE, Skip, cpu, freePorts, startNode, startProgram, stopAll } from '../lib/system.mjs'

const [, , count = '5', ...wanted] = process.argv
const rounds = Number(count)
/** Requests until the JIT has seen enough of a target, and of another coding. */
const [WARM, WARM_AGAIN] = [5000, 100]
/** Kinds and texts that bodies are made of. */
const ALL_KINDS = 60
const SIZES = [2048, 8192, 20_480, 61_440]
const script = fileURLToPath(new URL('target.mjs', import.meta.url))
const codings = ['gzip', 'br', ...zlib.createZstdCompress === undefined ? [] : ['zstd']]
  .filter((name, _, all) => wanted.includes(name) || !all.some((one) => wanted.includes(one)))

async function startNginx (work, backend) {
  const [port] = await freePorts(1)
  const module = '/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so'
  const brotli = existsSync(module)
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${work}/${name};`).join(' ')
  writeFileSync(join(work, 'nginx.conf'), `daemon off; master_process off; worker_processes 1; pid ${work}/pid; error_log stderr crit;
${brotli ? `load_module ${module};` : ''}
events { worker_connections 1024; }
http { access_log off; ${temp} keepalive_requests 1000000;
gzip on; gzip_comp_level 6; gzip_min_length 1024; gzip_types *; gzip_vary on; gzip_proxied any;
${brotli ? 'brotli on; brotli_comp_level 4; brotli_min_length 1024; brotli_types *;' : ''}
upstream u { server 127.0.0.1:${backend.port}; keepalive 64; }
server { listen 127.0.0.1:${port};
location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Accept-Encoding ""; } } }`)
  return { ...await startProgram(PROXY_CORE, 'nginx', ['-c', join(work, 'nginx.conf'), '-e', 'stderr'], port), codings: brotli ? ['gzip', 'br'] : ['gzip'], native: true }
}

/** Mean bytes of all kinds of content; fails unless they come encoded. */
async function bytesOf ({ port }, size, coding) {
  let bytes = 0
  for (let i = 0; i < ALL_KINDS; i++) {
    const path = `/text/${size}/${i}`
    await new Promise((resolve, reject) => {
      http.get({ port, path, host: '127.0.0.1', headers: { 'accept-encoding': coding } }, (response) => {
        if (response.headers['content-encoding'] !== coding) return reject(new Error(`${path}: asked for ${coding}, got ${response.headers['content-encoding']}`))
        response.on('data', (piece) => { bytes += piece.length }).on('end', resolve).on('error', reject)
      }).on('error', reject)
    })
  }
  return bytes / ALL_KINDS
}

/** CPU µs per response in a second, or in as many as `least` responses take. */
async function measure (server, path, coding, least = 1) {
  const before = cpu(server.pid)
  let done = 0
  while (done < least) {
    const { requests, errors } = await load(`http://127.0.0.1:${server.port}`, { seconds: 1, connections: 16, path, headers: { 'Accept-Encoding': coding } })
    if (errors > 0) throw new Error(`${path}: ${errors} errors`)
    done += requests
  }
  return (cpu(server.pid) - before) / done
}

const cell = (text, width = 13) => String(text).padStart(width)

async function table (part, title, start, base) {
  if (wanted.includes(part === 'own' ? 'forwarded' : 'own') && !wanted.includes(part)) return
  const targets = await start()
  const names = Object.keys(targets)
  console.log(`\n${title}: CPU µs per response, medians of ${rounds} rounds`)
  console.log(`${' '.repeat(12)}${names.map((name) => cell(name, Math.max(13, name.length + 2))).join('')}   throughput of headgate × (least–most)`)
  for (const name of names) await measure(targets[name], `/unique/${SIZES[0]}`, targets[name].asks ?? codings[0], targets[name].native ? WARM_AGAIN : WARM)
  for (const coding of codings) {
    for (const size of SIZES) {
      const path = `/unique/${size}`
      // What is not encoded is the same for all codings.
      const taking = names.filter((name) => targets[name].asks === undefined ? targets[name].codings?.includes(coding) ?? true : coding === codings[0])
      const figures = Object.fromEntries(taking.map((name) => [name, []]))
      for (const name of taking) await measure(targets[name], path, targets[name].asks ?? coding, WARM_AGAIN)
      for (let round = 0; round < rounds; round++) {
        for (let i = 0; i < taking.length; i++) {
          const name = taking[(i + round) % taking.length]
          figures[name].push(await measure(targets[name], path, targets[name].asks ?? coding))
        }
      }
      const bytes = []
      for (const name of taking) if (targets[name].asks === undefined) bytes.push(`${name} ${Math.round(await bytesOf(targets[name], size, coding))}`)
      const ratios = taking.filter((name) => name !== base && targets[name].asks === undefined).map((name) => {
        const { median, low, high } = compare(figures[name], figures[base])
        return `${name} ${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
      })
      console.log(`${coding.padEnd(5)}${cell(size, 7)}${names.map((name) => cell(figures[name] === undefined ? '–' : median(figures[name]).toFixed(0), Math.max(13, name.length + 2))).join('')}   ${ratios.join(', ')}\n${' '.repeat(17)}bytes: ${bytes.join(', ')}`)
    }
  }
}

const work = mkdtempSync(join(tmpdir(), 'headgate-bench-'))
try {
  const backend = await startNode(LOAD_CORE, script, { name: 'backend', sizes: SIZES })
  const start = (name, more = {}) => startNode(PROXY_CORE, script, { name, backend: backend.port, sizes: SIZES, ...more })
  const nginx = await startNginx(work, backend).catch((error) => {
    if (!(error instanceof Skip)) throw error
    console.log(`nginx is left out: ${error.message}`)
  })
  console.log(`Node ${process.version}; gzip 6, br 4, zstd 3`)
  await table('forwarded', 'Forwarded', async () => ({
    'headgate': await start('headgate-proxy'),
    'http-proxy': await start('http-proxy'),
    'reply-from': await start('reply-from'),
    ...nginx !== undefined && { nginx },
    'headgate, not encoded': { ...await start('plain-proxy'), asks: 'identity' },
    'http-proxy, not encoded': { ...await start('plain-http-proxy'), asks: 'identity' }
  }), 'headgate')
  await table('own', 'Own Buffers', async () => ({
    'headgate': await start('headgate'),
    '@f/c 64 KiB': await start('fastify-compress', { syncThreshold: 65_536 }),
    '@f/c 8 KiB': await start('fastify-compress', { syncThreshold: 8192 }),
    '@f/c 4 KiB': await start('fastify-compress', { syncThreshold: 4096 }),
    'not encoded': { ...await start('backend'), asks: 'identity' }
  }), 'headgate')
} finally {
  await stopAll()
  rmSync(work, { recursive: true })
}
