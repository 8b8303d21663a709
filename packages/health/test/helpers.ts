import type { AddressInfo, Server as NetServer } from 'node:net'
import { createServer, type RequestListener, type Server } from 'node:http'
import { Deadlines, Pool, type PoolOptions, seeded } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import { FakeClock } from '../../core/test/clock.ts'
import { type HealthOptions, parseHealth, poolHealth } from '../src/options.ts'
import { phases, PoolMonitor } from '../src/pool-monitor.ts'

type Test = { teardown (action: () => unknown): void }

/** A log that keeps its lines. */
export function keepingLog (): { log: FastifyBaseLogger; lines: { level: string; fields: Record<string, unknown>; message: string }[] } {
  const lines: { level: string; fields: Record<string, unknown>; message: string }[] = []
  const write = (level: string) => (fields: Record<string, unknown>, message: string) => { lines.push({ level, fields, message }) }
  return { lines, log: { info: write('info'), warn: write('warn'), error: write('error'), debug: write('debug') } as unknown as FastifyBaseLogger }
}

/** A pool under a fake clock, watched. */
export function watched (
  options: HealthOptions, poolOptions: Partial<PoolOptions> = {}, seed = 1
): { pool: Pool; clock: FakeClock; monitor: PoolMonitor; lines: ReturnType<typeof keepingLog>['lines'] } {
  const clock = new FakeClock()
  const deadlines = new Deadlines(clock)
  const pool = new Pool('p', { upstreams: ['http://a', 'http://b', 'http://c'], policy: 'round-robin', slowStart: 0, ...poolOptions }, 'pool', { clock, random: seeded(seed) }, deadlines)
  parseHealth(options, new Map([['p', pool]]))
  const { log, lines } = keepingLog()
  const monitor = new PoolMonitor(pool, poolHealth(options, pool), deadlines, log, phases())
  monitor.start()
  return { pool, clock, monitor, lines }
}

/** A real HTTP server on a free port; closed with the test. */
export async function upstream (t: Test, listener: RequestListener, port = 0): Promise<{ url: string; port: number; server: Server; stop (): Promise<void> }> {
  const server = createServer(listener)
  const stop = (): Promise<void> => new Promise((resolve) => {
    server.closeAllConnections()
    server.close(() => { resolve() })
  })
  t.teardown(stop)
  const { port: bound } = await listen(server, port)
  return { url: `http://127.0.0.1:${bound}`, port: bound, server, stop }
}

/** Binds a server to a free port of the loopback. */
export async function listen (server: NetServer, port = 0): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return server.address() as AddressInfo
}

/** Waits until `holds`, looking often; the test's own time limit ends it. */
export async function until (holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => { setTimeout(resolve, 5) })
}
