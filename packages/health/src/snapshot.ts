import type { EvidenceSource, ForcedState, HealthChange, HealthState } from '@headgate/core'
import type { LastAgent } from './agent.ts'
import type { LastCheck } from './check.ts'
import type { Member, PoolMonitor } from './pool-monitor.ts'

/** Times are milliseconds since the Unix epoch, lengths of time milliseconds. */
export interface UpstreamSnapshot {
  readonly id: string
  readonly url: string
  readonly state: HealthState
  /** May be given new work. */
  readonly ready: boolean
  readonly reason: string
  /** Who decided on the state. */
  readonly decidedBy: EvidenceSource
  readonly since: number
  /** An operator's word in force; `null` without one. */
  readonly forced: ForcedState | null
  /** Share of its weight that its health leaves it. */
  readonly factor: number
  readonly weight: number
  /** Until the ejection ends; 0 when it is not ejected. */
  readonly ejectedFor: number
  readonly inFlight: number
  /** Peak-sensitive mean of real answers; −1 when it is not known. */
  readonly latency: number
  /** Utilization that it reported, 0–1; `null` when it did not, or long ago. */
  readonly reportedLoad: number | null
  /** `null`: not checked, or not yet. */
  readonly lastCheck: (LastCheck & { readonly kind: string }) | null
  readonly lastAgent: LastAgent | null
  /** Checks passed and failed in a row. */
  readonly streak: { readonly successes: number; readonly failures: number }
  /** Since it joined. `spared`: ejections that `maxEjectionPercent` forbade. */
  readonly counts: { readonly checks: number; readonly failedChecks: number; readonly ejections: number; readonly spared: number }
  /** The last 32 changes, oldest first. */
  readonly history: readonly HealthChange[]
}

export interface PoolSnapshot {
  readonly ready: number
  readonly total: number
  /** Ejections are overridden, since too few would be left. */
  readonly panic: boolean
  /** Readiness of the app depends on it. */
  readonly required: boolean
  readonly upstreams: readonly UpstreamSnapshot[]
}

export interface HealthSnapshot {
  /** What the readiness route says. */
  readonly ready: boolean
  readonly pools: Readonly<Record<string, PoolSnapshot>>
}

function upstreamSnapshot (monitor: PoolMonitor, { upstream, check, agent, ejections, spared }: Member): UpstreamSnapshot {
  const { health, load } = upstream
  const left = health.ejectedUntil - monitor.pool.environment.clock.now()
  return {
    id: upstream.id,
    url: upstream.url,
    state: health.state,
    ready: upstream.ready,
    reason: health.reason,
    decidedBy: health.decidedBy,
    since: health.since,
    forced: health.forced ?? null,
    factor: health.factor,
    weight: upstream.configuredWeight,
    ejectedFor: left < Infinity ? Math.max(0, Math.round(left)) : 0,
    inFlight: load.inFlight,
    latency: monitor.latencyOf(upstream),
    reportedLoad: load.reported ?? null,
    lastCheck: check?.last === undefined ? null : { kind: monitor.settings.check!.probe.kind, ...check.last },
    lastAgent: agent?.last ?? null,
    streak: health.streak,
    counts: { checks: check?.checks ?? 0, failedChecks: check?.failures ?? 0, ejections, spared },
    history: [...health.history]
  }
}

export function poolSnapshot (monitor: PoolMonitor, required: boolean): PoolSnapshot {
  const { pool, members } = monitor
  return {
    ready: pool.ready.length,
    total: pool.upstreams.length,
    panic: pool.panic,
    required,
    upstreams: [...members.values()].map((member) => upstreamSnapshot(monitor, member))
  }
}
