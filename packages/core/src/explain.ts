import type { HealthState } from './health.ts'
import type { Choice } from './lease.ts'
import type { NoLease, Pool } from './pool.ts'
import type { PoolContext } from './pool-options.ts'
import type { Upstream } from './upstream.ts'

/** One member of the pool, as a pick sees it. */
export interface ExplainedCandidate {
  readonly id: string
  readonly url: string
  readonly state: HealthState
  /** Effective weight. */
  readonly weight: number
  readonly inFlight: number
  /** Moving mean of milliseconds to the response head; 0 before the first. */
  readonly latency: number
  /** How often the policy would take it, 0–1; what a policy without chance or turns would take has 1. */
  readonly share: number
  /** Why it cannot be taken; '' for those that can. */
  readonly skipped: string
}

/** What a request would meet in a pool at this moment. */
export interface Explanation {
  readonly pool: string
  readonly policy: string
  readonly choice: Choice | NoLease
  /** Whom the policy would most likely take; '' when nobody can be taken. */
  readonly upstream: string
  readonly panic: boolean
  readonly candidates: readonly ExplainedCandidate[]
}

const DRAWS = 64

/**
 * Says where a request would go and why, without any effect on the pool: the policy is asked through a selector of its own, which
 * knows the upstreams' loads but not whose turn it is. Cold: takes time in proportion to the members.
 */
export function explainPick (pool: Pool, context: PoolContext): Explanation {
  const { settings: { policy }, environment, ready, upstreams } = pool
  const usable = ready.filter((upstream) => upstream.hasRoom && !context.hasTried(upstream))
  const open = usable.length > 0 ? usable : ready.filter((upstream) => upstream.hasRoom)
  const bound = boundTo(context, upstreams)
  const trial = upstreams.find((upstream) => upstream.health.ejectedUntil <= environment.clock.now())
  const full = pool.inFlight >= pool.settings.maxInFlight
  const shares = new Map<Upstream, number>()
  let choice: Explanation['choice']
  if (full && ready.length > 0) choice = 'saturated'
  else if (bound !== undefined) {
    choice = 'affinity'
    shares.set(bound, 1)
  } else if (trial !== undefined && (context.repeatable || ready.length === 0)) {
    choice = 'trial'
    shares.set(trial, 1)
  } else if (open.length === 0) choice = ready.length === 0 ? 'none-ready' : 'saturated'
  else {
    choice = context.attempts > 0 ? 'alternative' : 'policy'
    const selector = policy.create<Upstream>(environment)
    selector.rebuild(open)
    for (let draw = 0; draw < DRAWS; draw++) {
      const chosen = selector.select(context)
      shares.set(chosen, (shares.get(chosen) ?? 0) + 1 / DRAWS)
    }
  }
  let best: Upstream | undefined
  for (const [upstream, share] of shares) if (best === undefined || share > shares.get(best)!) best = upstream
  return {
    pool: pool.name, policy: policy.name, choice, upstream: best?.id ?? '', panic: pool.panic,
    candidates: upstreams.map((upstream) => ({
      id: upstream.id, url: upstream.url, state: upstream.health.state, weight: upstream.weight, inFlight: upstream.load.inFlight,
      latency: upstream.load.latency, share: shares.get(upstream) ?? 0,
      skipped: shares.has(upstream) ? '' : skipped(upstream, pool, context)
    }))
  }
}

function boundTo (context: PoolContext, upstreams: readonly Upstream[]): Upstream | undefined {
  const { affinity } = context
  if (affinity === undefined) return undefined
  const { upstreamId, whileDraining } = affinity
  return upstreams.find((upstream) => upstream.id === upstreamId && upstream.hasRoom && !context.hasTried(upstream) &&
    (upstream.ready || (whileDraining && upstream.health.state === 'draining')))
}

function skipped (upstream: Upstream, pool: Pool, context: PoolContext): string {
  const { health } = upstream
  if (upstream.configuredWeight === 0) return 'its weight is 0'
  if (!pool.ready.includes(upstream)) return health.ready ? `its tier (${upstream.priority}) is not in use` : `${health.state}: ${health.reason}`
  if (!upstream.hasRoom) return `full: ${upstream.load.inFlight} of ${upstream.maxInFlight} in flight`
  if (context.hasTried(upstream)) return 'already tried for this request'
  return ''
}
