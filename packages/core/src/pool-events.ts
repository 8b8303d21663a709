import type { ComparisonMessage, DiscoveryMessage, MirrorMessage } from './channels.ts'
import type { HealthChange } from './health.ts'
import type { Lease, Outcome } from './lease.ts'
import type { Upstream } from './upstream.ts'

/** What a pool emits, and with which arguments. */
export interface PoolEvents {
  added: [upstream: Upstream]
  removed: [upstream: Upstream]
  drained: [upstream: Upstream]
  state: [upstream: Upstream, change: HealthChange]
  panic: [active: boolean]
  /** What became of what the pool's discovery said. */
  discovery: [message: DiscoveryMessage]
  /** A response head came: `lease.status`, and its fields as a flat list of names and values as received. */
  head: [lease: Lease, headers: readonly string[]]
  /** A response ended with trailer fields, likewise. */
  trailers: [lease: Lease, trailers: readonly string[]]
  /** One attempt ended: what passive health feeds on. */
  outcome: [upstream: Upstream, outcome: Outcome, lease: Lease, reason: string]
  /** A copy that the pool got as a shadow has ended, or was not sent. */
  mirrored: [message: MirrorMessage]
  /** Its answer was compared with the client's. */
  compared: [message: ComparisonMessage]
}
