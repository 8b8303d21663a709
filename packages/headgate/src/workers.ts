import { randomBytes, randomUUID } from 'node:crypto'
import { Supervisor, WorkerStartError, type Member } from '@headgate/workers'
import { INSTANCE_VARIABLE } from './instance.ts'
import type { ServeHealthOptions, ServeOptions } from './serve-options.ts'
import { KEYS_VARIABLE } from './sticky.ts'
import { UsageError } from './usage-error.ts'

/** `4` or `auto`. Throws {@link UsageError}. */
export function parseWorkers (text: string): number | 'auto' {
  if (text === 'auto') return text
  const count = Number(text)
  if (!/^\d+$/.test(text) || count < 1 || count > 1024) throw new UsageError(`--workers must be 1–1024 or auto; it is '${text}'`)
  return count
}

/** Runs workers until a signal ends them: SIGHUP renews them one after the other. They find out about the options themselves. */
export async function supervise (count: number | 'auto'): Promise<void> {
  // Outside production cookies are signed with a random secret: one for all.
  if (process.env[KEYS_VARIABLE] === undefined && process.env['NODE_ENV'] !== 'production') process.env[KEYS_VARIABLE] = randomBytes(32).toString('base64url')
  // They are one voice among the machines.
  process.env[INSTANCE_VARIABLE] = randomUUID()
  const supervisor = new Supervisor({
    count,
    log: (level, msg, fields) => { process.stdout.write(`${JSON.stringify({ level: { info: 30, warn: 40, error: 50 }[level], time: Date.now(), pid: process.pid, ...fields, msg })}\n`) }
  })
  let signals = 0
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(1)
      void supervisor.stop().then(() => process.exit(0))
    })
  }
  // What failed has been logged, by the worker as well.
  process.on('SIGHUP', () => { supervisor.reload().catch(() => {}) })
  try {
    await supervisor.start()
  } catch (error) {
    // The worker has said why.
    if (error instanceof WorkerStartError) process.exit(error.status)
    throw error
  }
}

/** What differs where several processes do the work. */
export function asWorker (options: ServeOptions, member: Member): ServeOptions {
  const { health = { check: false } } = options
  return { ...options, ...health !== false && { health: { ...health as ServeHealthOptions, sharing: member.checks } } }
}
