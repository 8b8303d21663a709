import type { Pool } from '@headgate/core'
import type { Binding, CommonOptions } from './contract.ts'
import { FirstRequests } from './first-requests.ts'
import { Rebalancer } from './rebalancer.ts'
import type { StickyReport } from './report.ts'
import { TABLE_IDLE } from './table.ts'
import type { Clock } from '@headgate/core'
import type { FastifyRequest } from 'fastify'

/** One set of options at work in one pool. */
export class Rule {
  readonly pool: Pool
  readonly binding: Binding
  readonly report: StickyReport
  readonly strict: boolean
  readonly keepsDraining: boolean
  readonly firsts: FirstRequests
  readonly rebalancer: Rebalancer | undefined
  /** Names clients that have no session yet, where the options say how. */
  readonly together: ((request: FastifyRequest) => string | undefined) | undefined
  readonly #clock: Clock
  readonly #borrows: boolean
  readonly #borrowTime: number
  /** Since when upstreams could not answer their own clients: milliseconds since the Unix epoch. */
  readonly #awaySince = new Map<string, number>()

  constructor (
    pool: Pool, options: CommonOptions, binding: Binding, together: Rule['together'], report: StickyReport, clock: Clock
  ) {
    this.pool = pool
    this.binding = binding
    this.together = together
    this.report = report
    this.#clock = clock
    this.strict = options.failover === 'strict'
    this.keepsDraining = options.drain !== 'move'
    this.#borrows = options.failover === 'borrow'
    this.#borrowTime = options.borrowTime ?? 60_000
    this.firsts = new FirstRequests(clock)
    const { rebalance = 0, idleTimeout = TABLE_IDLE } = options
    this.rebalancer = rebalance > 0 ? new Rebalancer(pool, rebalance, idleTimeout, clock) : undefined
    pool.on('removed', ({ id }) => { this.#awaySince.delete(id) })
  }

  /** Do clients of this upstream leave it for good? It drains, or has a weight of 0, and the options say so. */
  leaves (upstreamId: string): boolean {
    if (this.keepsDraining) return false
    const upstream = this.pool.get(upstreamId)
    return upstream !== undefined && (upstream.health.state === 'draining' || upstream.configuredWeight === 0)
  }

  /** An upstream answered one of its own clients. */
  isBack (upstreamId: string): void {
    if (this.#awaySince.size > 0) this.#awaySince.delete(upstreamId)
  }

  /** Somebody else answered a client of `upstreamId`: may it be waited for? */
  lends (upstreamId: string): boolean {
    const upstream = this.pool.get(upstreamId)
    if (!this.#borrows || upstream === undefined || this.leaves(upstreamId)) return false
    const now = this.#clock.wall()
    let since = this.#awaySince.get(upstreamId)
    if (since === undefined) this.#awaySince.set(upstreamId, since = now)
    if (!upstream.ready) since = Math.min(since, upstream.health.since)
    return now - since <= this.#borrowTime
  }
}
