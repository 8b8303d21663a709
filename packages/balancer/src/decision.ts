import type { FastifyRequest } from 'fastify'
import type { Choice, Explanation, Lease, Outcome, Pool } from '@headgate/core'

/** One attempt of a request. Times in milliseconds. */
export interface DecisionAttempt {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  /** What made the pool take it. */
  readonly choice: Choice
  /** '' while it runs. */
  readonly outcome: Outcome | ''
  /** Why it failed or was repeated, in a word. */
  readonly reason: string
  /** 0 without a response head. */
  readonly status: number
  /** From the request's start to the pick. */
  readonly start: number
  /** From the pick to the response head, and to the end; `null` before. */
  readonly head: number | null
  readonly duration: number | null
  readonly sent: number
  readonly received: number
}

/** How it came that a request went where it went. */
export interface Decision {
  /** The pool that was asked last, and its policy. */
  readonly pool: string
  readonly policy: string
  readonly attempts: readonly DecisionAttempt[]
  /** What each pick had to choose from; empty unless the route's `explain` is on. */
  readonly picks: readonly Explanation[]
}

/** What is known of a request's way; an Exchange is one. */
export interface Deciding {
  readonly startedAt: number
  readonly pool: Pool
  readonly leases: readonly Lease[]
  readonly explanations: readonly Explanation[]
}

/** Key under which a request keeps its way. */
export const WAY: unique symbol = Symbol('headgate.way')

type Traced = FastifyRequest & { [WAY]: Deciding | null }

export function remember (request: FastifyRequest, way: Deciding): void {
  (request as Traced)[WAY] = way
}

export function attemptsOf (request: FastifyRequest): number {
  return (request as Traced)[WAY]?.leases.length ?? 0
}

/** Written out when somebody asks: a request of which nobody does pays nothing. */
export function decisionOf (request: FastifyRequest): Decision | null {
  const way = (request as Traced)[WAY]
  if (way === null || way === undefined) return null
  return {
    pool: way.pool.name,
    policy: way.pool.settings.policy.name,
    attempts: way.leases.map((lease) => ({
      pool: lease.pool.name, upstream: lease.upstream.id, url: lease.upstream.url, choice: lease.choice, outcome: lease.outcome, reason: lease.reason,
      status: lease.status, start: lease.startedAt - way.startedAt, head: lease.headAt < 0 ? null : lease.headAt - lease.startedAt,
      duration: lease.endedAt < 0 ? null : lease.endedAt - lease.startedAt, sent: lease.sent, received: lease.received
    })),
    picks: way.explanations
  }
}
