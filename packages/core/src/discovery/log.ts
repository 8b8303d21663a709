import type { Pool } from '../pool.ts'

interface Log {
  info (what: object, message: string): void
  warn (what: object, message: string): void
}

const SENTENCES = { changed: 'the discovery changed the members', kept: 'the discovery names nobody: the members stay', failed: 'the discovery failed: the members stay' }

/** Writes what becomes of a pool's discovery into an app's log. */
export function logDiscovery (pool: Pool, log: Log): void {
  pool.on('discovery', ({ source: _source, ...message }) => {
    log[message.result === 'changed' ? 'info' : 'warn'](message, SENTENCES[message.result])
  })
}
