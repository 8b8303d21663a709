// Load for some seconds: wrk where it is, else autocannon. Gives { requests, rps, p50, p99 (ms), errors }.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { LOAD_CORE, find, pinned } from './system.mjs'

const script = fileURLToPath(new URL('load.lua', import.meta.url))
const wrk = find('wrk')
export const tool = wrk === undefined ? 'autocannon' : 'wrk'

/** `requests`: { method, path, distinct: number of different paths, bodySize, headers }. */
export async function load (url, { seconds, connections = 64, method = 'GET', path = '/small', distinct = 0, bodySize = 0, headers = {}, expected = 200 }) {
  return wrk === undefined ? autocannon(url, arguments[1]) : withWrk(url, { seconds, connections, method, path, distinct, bodySize, headers, expected })
}

async function withWrk (url, options) {
  const env = {
    ...process.env, LOAD_METHOD: options.method, LOAD_PATH: options.path, LOAD_DISTINCT: String(options.distinct), LOAD_BODY: String(options.bodySize),
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

async function autocannon (url, { seconds, connections = 64, method = 'GET', path = '/small', distinct = 0, bodySize = 0, headers = {}, expected = 200 }) {
  const run = createRequire(import.meta.url)('autocannon')
  let n = 0
  const requests = [{
    method, path, headers, ...(bodySize > 0 && { body: Buffer.alloc(bodySize, 'x') }),
    ...(distinct > 0 && { setupRequest: (request) => ({ ...request, path: `${path}${n++ % distinct}` }) })
  }]
  const result = await run({ url, connections, duration: seconds, requests })
  const wrong = Object.entries(result.statusCodeStats ?? {}).filter(([status]) => Number(status) !== expected).reduce((sum, [, { count }]) => sum + count, 0)
  const { latency, throughput, errors } = result
  return {
    requests: result.requests.total, rps: result.requests.average, p50: latency.p50, p99: latency.p99, bytes: throughput.total, errors: errors + wrong
  }
}
