// Many requests with faults on both sides, and what the proxy holds meanwhile: node bench/soak/run.mjs [REQUESTS, default 200000]
// Loopback only; ends by itself. Build first (npm run build).
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import { fileURLToPath } from 'node:url'
import { seeded } from '@headgate/core'

const TOTAL = Number(process.argv[2] ?? 200_000)
const CLIENTS = 64
const LENGTH = 20_000
const random = seeded(1)
const children = []

async function start (script, args, flags = []) {
  const child = spawn(process.execPath, [...flags, fileURLToPath(new URL(script, import.meta.url)), ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const [line] = await once(child.stdout, 'data')
  return Number(line.toString())
}

const counts = { ok: 0, left: 0, 'failed POST': 0, 'failed GET': 0, 'wrong length': 0 }

/** One request; some clients leave in the middle. */
function one (port, agent) {
  return new Promise((resolve) => {
    const post = random() < 0.1
    const leaves = random() < 0.02
    const failed = () => {
      counts[leaves ? 'left' : post ? 'failed POST' : 'failed GET']++
      resolve()
    }
    const request = httpRequest({ port, host: '127.0.0.1', agent, path: `/item/${Math.floor(random() * 1000)}`, method: post ? 'POST' : 'GET' }, (response) => {
      let bytes = 0
      response.on('data', (chunk) => {
        bytes += chunk.length
        if (leaves) request.destroy()
      })
      response.on('end', () => {
        if (response.statusCode !== 200) return failed()
        counts[bytes === LENGTH ? 'ok' : 'wrong length']++
        resolve()
      })
      response.on('error', failed)
    })
    request.on('error', failed)
    request.end(post ? 'x'.repeat(Math.floor(random() * 5000)) : undefined)
  })
}

try {
  const upstreams = await Promise.all([1, 2, 3].map((seed) => start('upstream.mjs', [String(seed)])))
  const port = await start('proxy.mjs', upstreams.map(String), ['--expose-gc'])
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  const figures = async () => (await fetch(`http://127.0.0.1:${port}/-/figures`)).json()
  const megabytes = (bytes) => (bytes / 1_048_576).toFixed(1)
  console.log('requests  heap MB  external MB  RSS MB  descriptors  in flight')
  for (let done = 0; done < TOTAL;) {
    let left = Math.min(Math.ceil(TOTAL / 10), TOTAL - done)
    done += left
    await Promise.all(Array.from({ length: CLIENTS }, async () => { while (left-- > 0) await one(port, agent) }))
    // What clients left behind takes a moment to be noticed.
    await new Promise((resolve) => { setTimeout(resolve, 1000) })
    const { heapUsed, external, rss, descriptors, inFlight } = await figures()
    console.log([done, megabytes(heapUsed), megabytes(external), megabytes(rss), descriptors, inFlight].join('  '))
  }
  console.log(counts)
  agent.destroy()
} finally {
  for (const child of children) child.kill('SIGTERM')
}
