import type { Pool } from './pool.ts'
import type { Upstream } from './upstream.ts'

/** Affinity's proposal for a request: read by {@link Pool.pick}, which still decides whether that upstream may be used. */
export interface AffinityHint {
  /** The upstream that the client belongs to. */
  readonly upstreamId: string
  /** May it be used while it drains, or with a weight of 0? */
  readonly whileDraining: boolean
  /** Nobody else will do: with it not usable there is no pick at all, in fallback pools neither. */
  readonly strict: boolean
}

/**
 * Whom one request's client belongs to. Put on the request by a session-affinity plugin, called by whoever forwards it. No
 * method may throw.
 */
export interface Affinity {
  /**
   * Called once for each pool that is tried, before its first pick. A promise is waited for, and must settle soon: the
   * client waits too.
   */
  propose (pool: Pool): AffinityHint | undefined | Promise<AffinityHint | undefined>
  /** An attempt is about to be sent; `headers` is a flat list of names and values, to be changed in place. */
  sending? (upstream: Upstream, headers: string[]): void
  /**
   * `upstream` gave the answer that the client will get (101 too), of which nothing is written yet: `headers`, a flat list,
   * may be changed in place, and fields may be added to the reply. Not called for answers that are retried elsewhere.
   */
  answered? (upstream: Upstream, status: number, headers: string[]): void
}
