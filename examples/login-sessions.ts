// A login that lives in one process's memory, behind several such processes: the client stays with the one that knows it.
// `node examples/login-sessions.ts` (Node 22.18 or newer) starts three of them, and says where to look.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import balancer from '@headgate/balancer'
import stickySession from '@headgate/sticky-session'
import fastify, { type FastifyInstance } from 'fastify'

export interface App {
  readonly url: string
  readonly process: ChildProcess
}

/** Starts one of the applications; `process.kill()` ends it. */
export async function startApp (name: string): Promise<App> {
  const child = fork(fileURLToPath(new URL('login-sessions-app.mjs', import.meta.url)), [name], { execArgv: [] })
  const [{ port }] = await once(child, 'message') as [{ port: number }]
  return { url: `http://127.0.0.1:${port}`, process: child }
}

export async function build (options: { upstreams: string[]; keys: string[] }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, {
    pools: { web: { upstreams: options.upstreams, policy: 'round-robin' } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  // The same secrets in each proxy of the site, the current one first. An hour without a request ends a client's affinity.
  await app.register(stickySession, { keys: options.keys, idleTimeout: 3_600_000 })
  return app
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const apps = await Promise.all(['alpha', 'beta', 'gamma'].map(startApp))
  const proxy = await build({ upstreams: apps.map(({ url }) => url), keys: ['only for this example, never for a real site'] })
  const address = await proxy.listen({ port: Number(process.env['PORT'] ?? 8080) })
  console.log(`Log in at ${address} and reload: it is always the same process.`)
  for (const { url, process } of apps) console.log(`  ${url}  pid ${process.pid}`)
  console.log('Kill it (kill -9 PID) and reload: another takes over, and you log in once more.')
}
