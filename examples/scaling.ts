// Upstreams that are started and stopped on this machine as the load asks for it.
import { type ChildProcess, spawn } from 'node:child_process'
import balancer from '@headgate/balancer'
import metrics, { type PoolAdvice, type Scaler } from '@headgate/metrics'
import fastify, { type FastifyInstance } from 'fastify'

const SERVER = `
  const server = require('node:http').createServer((_, response) => response.end(String(process.pid)))
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))
  process.on('SIGTERM', () => server.close(() => process.exit(0)))`

/** Starts a server; resolves to its address when it listens. */
function start (): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, ['-e', SERVER], { stdio: ['ignore', 'pipe', 'inherit'] })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', () => { reject(new Error('the upstream ended while it started')) })
    child.stdout.once('data', (port: Buffer) => { resolve({ child, url: `http://127.0.0.1:${port.toString().trim()}` }) })
  })
}

export async function build (options: { min: number; max: number }): Promise<FastifyInstance> {
  const children = new Map<string, ChildProcess>()
  const first = await start()
  children.set('local-0', first.child)
  let next = 1

  const scaler: Scaler = {
    async scale ({ pool: name, desired, ready }: PoolAdvice) {
      const pool = app.balancer.pool(name)
      for (let missing = desired - ready; missing > 0; missing--) {
        const id = `local-${next++}`
        const { child, url } = await start()
        children.set(id, child)
        pool.add({ id, url })
      }
      for (const { id } of pool.upstreams.slice(desired)) {
        // Its requests end before the process does.
        await pool.remove(id)
        children.get(id)?.kill('SIGTERM')
        children.delete(id)
      }
    }
  }
  const app = fastify()
  await app.register(metrics, { route: { unsafe: true }, scaling: { ...options, concurrency: 4, cooldown: 5000, scaler } })
  await app.register(balancer, { pools: { web: [{ id: 'local-0', url: first.url }] }, routes: [{ prefix: '/', pool: 'web' }] })
  app.addHook('onClose', async () => { for (const child of children.values()) child.kill('SIGTERM') })
  return app
}
