// Load for some seconds: wrk where it is, else autocannon; h2load for HTTP/2. Gives { requests, rps, p50, p99 (ms), errors }.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LOAD_CORE, Skip, find, pinned } from './system.mjs'

const script = fileURLToPath(new URL('load.lua', import.meta.url))
const wrk = find('wrk')
export const tool = wrk === undefined ? 'autocannon' : 'wrk'

/** `requests`: { method, path, distinct: number of different paths, seed: above 0 they are drawn at random, else taken in turn, bodySize, headers }. */
export async function load (url, { seconds, connections = 64, method = 'GET', path = '/small', distinct = 0, seed = 0, bodySize = 0, headers = {}, expected = 200, http2 = false }) {
  if (http2) return withH2load(`${url}${path}`, seconds, connections)
  return wrk === undefined ? autocannon(url, arguments[1]) : withWrk(url, { seconds, connections, method, path, distinct, seed, bodySize, headers, expected })
}

async function withWrk (url, options) {
  const env = {
    ...process.env, LOAD_METHOD: options.method, LOAD_PATH: options.path, LOAD_DISTINCT: String(options.distinct),
    LOAD_SEED: String(options.seed), LOAD_BODY: String(options.bodySize),
    LOAD_HEADERS: Object.entries(options.headers).map(([name, value]) => `${name}\t${value}`).join('\n'), LOAD_EXPECTED: String(options.expected)
  }
  const args = ['-t1', `-c${options.connections}`, `-d${Math.max(1, Math.ceil(options.seconds))}s`, '--timeout', '20s', '-s', script, url]
  const child = spawn(...pinned(LOAD_CORE, wrk, args), { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const data of child.stdout) text += data
  const line = /^RESULT (.*)$/m.exec(text)
  if (line === null) throw new Error(`wrk: ${text}`)
  const result = JSON.parse(line[1])
  return { requests: result.requests, rps: result.requests / result.seconds, p50: result.p50, p99: result.p99, bytes: result.bytes, errors: result.errors }
}

/** Ten streams at once on each connection. */
async function withH2load (url, seconds, connections) {
  const whole = Math.max(1, Math.ceil(seconds))
  const { text, times } = await runH2load([`-c${Math.ceil(connections / 10)}`, '-m10', `-D${whole}`, url])
  const [, requests, succeeded] = /^requests: (\d+) total, .* (\d+) succeeded/m.exec(text) ?? []
  if (!text.includes('Application protocol: h2')) throw new Error(`h2load: ${text}`)
  const done = Number(succeeded)
  return { requests: done, rps: done / seconds, p50: at(times, 0.5), p99: at(times, 0.99), errors: Number(requests) - done }
}

/**
 * Milliseconds that GETs over HTTP/1.1 took, { p50, p99, longest }. `warm`: for so many seconds before, nothing is counted, so that the
 * connections are open; with none the first answers, which also wait for their connections to be accepted, are among them. Not by wrk,
 * which cannot leave those out, and adds to what it measured: for each long one, those that a client who did not wait would have had.
 */
export async function latencies (url, { path, seconds, connections, warm }) {
  const { text, times } = await runH2load(['--h1', `-c${connections}`, '-m1', `-D${Math.max(1, Math.ceil(seconds))}`, ...(warm > 0 ? [`--warm-up-time=${warm}`] : []), `${url}${path}`])
  const [, failed, errored, timeout] = /(\d+) failed, (\d+) errored, (\d+) timeout/.exec(text) ?? []
  if (times.length === 0 || [failed, errored, timeout].some((count) => count !== '0')) throw new Error(`h2load: ${text}`)
  return { p50: at(times, 0.5), p99: at(times, 0.99), longest: times.at(-1) }
}

const at = (times, share) => times[Math.floor((times.length - 1) * share)]

/** What it printed, and the milliseconds of each request, sorted. */
async function runH2load (args) {
  if (find('h2load') === undefined) throw new Skip('h2load is not installed (Debian package nghttp2-client)')
  const folder = mkdtempSync(join(tmpdir(), 'headgate-h2load-'))
  try {
    const log = join(folder, 'log')
    const child = spawn(...pinned(LOAD_CORE, find('h2load'), ['-t1', `--log-file=${log}`, ...args]), { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    for await (const data of child.stdout) text += data
    // A line a request: its start, status and microseconds.
    const lines = readFileSync(log, 'utf8').trim()
    return { text, times: lines === '' ? [] : lines.split('\n').map((line) => Number(line.split('\t')[2]) / 1000).sort((a, b) => a - b) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function autocannon (url, { seconds, connections = 64, method = 'GET', path = '/small', distinct = 0, seed = 0, bodySize = 0, headers = {}, expected = 200 }) {
  const run = createRequire(import.meta.url)('autocannon')
  let n = 0
  const requests = [{
    method, path, headers, ...(bodySize > 0 && { body: Buffer.alloc(bodySize, 'x') }),
    ...(distinct > 0 && { setupRequest: (request) => ({ ...request, path: `${path}${seed > 0 ? Math.floor(Math.random() * distinct) : n++ % distinct}` }) })
  }]
  const result = await run({ url, connections, duration: seconds, requests })
  const wrong = Object.entries(result.statusCodeStats ?? {}).filter(([status]) => Number(status) !== expected).reduce((sum, [, { count }]) => sum + count, 0)
  const { latency, throughput, errors } = result
  return {
    requests: result.requests.total, rps: result.requests.average, p50: latency.p50, p99: latency.p99, bytes: throughput.total, errors: errors + wrong
  }
}
