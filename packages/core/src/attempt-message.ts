import { channels } from './channels.ts'
import type { Lease, Outcome } from './lease.ts'

/** Publishes what became of an attempt that has just been released. */
export function tellAttempt (lease: Lease, outcome: Outcome, reason: string): void {
  const { pool, upstream, startedAt, headAt, endedAt, status, attempt, method, sent, received } = lease
  channels.attempt.publish({
    pool: pool.name, upstream: upstream.id, url: upstream.url, outcome, status, reason, headLatency: headAt >= 0 ? headAt - startedAt : -1,
    duration: endedAt - startedAt, attempt, method, sent, received, lease, source: pool
  })
}
