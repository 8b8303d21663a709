// Kills one of three real upstreams under load and starts it again, with checks every 200 ms: how long until it gets no more
// requests, how long until it gets some again, and how many requests failed. `node bench/health.mjs [rounds] [requests at once]`
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import balancer from '@headgate/balancer'
import health from '@headgate/health'
import fastify from 'fastify'
import { Agent, request } from 'undici'

const rounds = Number(process.argv[2] ?? 5)
const concurrency = Number(process.argv[3] ?? 16)
const INTERVAL = 200
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]

/** Starts an upstream; resolves when it listens. */
function start (port) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'health-upstream.mjs'), String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.stdout.once('data', (data) => resolve({ child, port: Number(data) }))
  })
}

/** One way of watching: kills and restarts, under load, `rounds` times, each with upstreams that have no past. */
async function measure (name, options) {
  const figures = { eject: [], readmit: [], wasted: [], sent: 0, failed: 0 }
  for (let i = 0; i < rounds; i++) await round(options, figures)
  const { eject, readmit, wasted, sent, failed } = figures
  const show = (list) => `${median(list).toFixed(0).padStart(5)} ms (${Math.min(...list).toFixed(0)}–${Math.max(...list).toFixed(0)})`
  console.log(`${name.padEnd(26)} out after ${show(eject)}   back after ${show(readmit)}   ` +
    `attempts lost ${median(wasted)}   requests failed ${failed} of ${sent}`)
}

async function round (options, figures) {
  const upstreams = await Promise.all([0, 0, 0].map(start))
  const app = fastify()
  await app.register(balancer, {
    pools: { web: { upstreams: upstreams.map(({ port }) => `http://127.0.0.1:${port}`), policy: 'round-robin', slowStart: 0 } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  await app.register(health, options)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const pool = app.balancer.pool('web')
  const victim = pool.upstreams[0]
  const agent = new Agent({ connections: concurrency })
  const run = { on: true }
  // Up to the moment when it is known to be dead, requests are still tried there; they go elsewhere after that.
  let wasted = 0
  pool.on('outcome', (upstream, outcome) => { if (upstream === victim && outcome.startsWith('failed')) wasted++ })
  const load = Array.from({ length: concurrency }, async () => {
    while (run.on) {
      figures.sent++
      try {
        const { statusCode, body } = await request(url, { dispatcher: agent })
        await body.dump()
        if (statusCode !== 200) figures.failed++
      } catch {
        figures.failed++
      }
    }
  })
  const until = async (holds) => {
    const began = performance.now()
    while (!holds()) await pause(1)
    return performance.now() - began
  }
  await pause(1000)
  wasted = 0
  upstreams[0].child.kill('SIGKILL')
  figures.eject.push(await until(() => !victim.ready))
  await pause(1500)
  figures.wasted.push(wasted)
  upstreams[0] = await start(upstreams[0].port)
  const { picked } = victim.load
  figures.readmit.push(await until(() => victim.ready && victim.load.picked > picked))
  run.on = false
  await Promise.all(load)
  await agent.close()
  await app.close()
  for (const { child } of upstreams) child.kill('SIGKILL')
}

console.log(`${rounds} times each: SIGKILL of one of three upstreams, ${concurrency} requests at once, started again 1.5 s later`)
const check = { path: '/', interval: INTERVAL, timeout: INTERVAL }
await measure('checks alone', { check, passive: false })
await measure('checks and real traffic', { check })
await measure('real traffic alone', { check: false, passive: { baseEjection: 1000 } })
