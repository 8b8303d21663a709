import type { Explanation, HealthChange, HealthState } from '@headgate/core'

export type { HealthState }

/** What the API tells and the dashboard shows. Times are milliseconds, points in time milliseconds since the Unix epoch. */

/** Latencies and rates over the last few seconds (older ones fade out); `null`: nothing ended in that time. */
export interface Figures {
  /** Attempts that ended per second. */
  readonly rate: number
  /** Of those, the failed ones and the 5xx. */
  readonly errorRate: number
  readonly p50: number | null
  readonly p95: number | null
  readonly p99: number | null
}

export type OperatorState = 'auto' | 'up' | 'drain' | 'maintenance'

export interface UpstreamView extends Figures {
  readonly pool: string
  readonly id: string
  readonly url: string
  readonly state: HealthState
  readonly reason: string
  readonly since: number
  /** What an operator said; `auto`: nothing. */
  readonly operator: OperatorState
  /** It is being removed. */
  readonly leaving: boolean
  readonly ready: boolean
  readonly weight: number
  readonly configuredWeight: number
  readonly zone: string
  readonly priority: number
  readonly maxInFlight: number | null
  readonly inFlight: number
  readonly connections: { readonly open: number; readonly idle: number }
  readonly requests: number
  readonly errors: number
  readonly sent: number
  readonly received: number
}

export interface PoolView extends Figures {
  readonly name: string
  readonly policy: string
  /** Changes with every change of the pool's members, weights and operators' words. */
  readonly etag: string
  readonly upstreams: number
  readonly ready: number
  readonly states: Readonly<Record<HealthState, number>>
  readonly panic: boolean
  readonly inFlight: number
  readonly maxInFlight: number | null
  readonly queued: number
  readonly requests: number
  readonly errors: number
  readonly retries: number
  readonly budgetExhausted: number
  readonly shed: number
  /** Retries that could be made now. */
  readonly retryBudget: number
  /** How many upstreams there should be; `null` without `scaling` of `@headgate/metrics`. */
  readonly advice: AdviceView | null
}

export interface AdviceView {
  readonly desired: number
  /** Share of the ready upstreams' capacity that is used, 0–1; above 1 when it is not enough. */
  readonly utilisation: number
  /** Arrivals per second, averaged. */
  readonly arrivalRate: number
  readonly reason: string
}

/** What clients saw of the whole app, and what the plugins beside the balancer do. */
export interface TotalView extends Figures {
  readonly requests: number
  readonly errors: number
  readonly inFlight: number
  readonly queued: number
  readonly cache: CacheView | null
  readonly compress: CompressView | null
}

export interface CacheView {
  /** Share of the cacheable requests answered without an upstream; `null` before the first. */
  readonly hitRatio: number | null
  readonly lookups: Readonly<Record<string, number>>
  readonly servedBytes: number
  readonly storedBytes: number
  readonly evictions: number
}

export interface CompressView {
  readonly bytesIn: number
  readonly bytesOut: number
  readonly responses: number
}

export type Severity = 'info' | 'good' | 'warn' | 'bad'

export interface EventView {
  /** Ascending. */
  readonly id: number
  readonly at: number
  readonly kind: 'health' | 'membership' | 'panic' | 'audit' | 'purge' | 'scaling' | 'retry' | 'shed' | 'shadow'
  readonly severity: Severity
  readonly pool: string
  readonly upstream: string
  readonly url: string
  readonly text: string
  /** Who did it, for `audit`. */
  readonly actor: string
}

/** Names of the series of a pool, or of the whole app (`rate` and latencies are the clients' there). */
export const SERIES = ['rate', 'errors', 'p50', 'p95', 'p99', 'inFlight', 'queued', 'retries'] as const
export type SeriesName = (typeof SERIES)[number]

/** One second of a pool. */
export type Point = Readonly<Record<SeriesName, number | null>>

export interface SeriesView {
  /** When the last point was taken. */
  readonly at: number
  /** Milliseconds between points. */
  readonly step: number
  readonly points: number
  readonly series: Readonly<Record<SeriesName, readonly (number | null)[]>>
}

/** First message of the stream. */
export interface Snapshot {
  readonly at: number
  readonly version: string
  readonly startedAt: number
  readonly total: TotalView
  readonly pools: readonly PoolView[]
  readonly upstreams: readonly UpstreamView[]
  /** Rates of the last seconds, in the order of `upstreams`; empty where there are very many upstreams. */
  readonly rates: readonly (readonly number[])[]
  readonly routing: RoutingView
  readonly can: { readonly purge: boolean; readonly change: boolean }
}

/** How routes share requests among pools, and which are closed. */
export interface RoutingView {
  /** Changes with every change of a share or of maintenance. */
  readonly etag: string
  readonly splits: readonly SplitView[]
  readonly routes: readonly RouteView[]
}

export interface SplitView {
  readonly name: string
  /** By pool; what counts is their share of the sum. */
  readonly weights: Readonly<Record<string, number>>
}

export interface RouteView {
  readonly prefix: string
  /** It is closed: requests are answered 503, but for those that its options let through. */
  readonly maintenance: boolean
}

/** Every second: pools as they are, and the upstreams that changed. */
export interface Tick {
  readonly at: number
  readonly total: TotalView
  readonly pools: readonly PoolView[]
  readonly upstreams: readonly UpstreamView[]
  readonly removed: readonly { readonly pool: string; readonly id: string }[]
  /** The new point of each pool, and of the app under `''`. */
  readonly points: Readonly<Record<string, Point>>
  /** Where it has changed. */
  readonly routing?: RoutingView
}

/** A change that an operator asks for. */
export type Change =
  | { readonly op: 'add'; readonly pool: string; readonly upstream: AddedUpstream | string }
  | { readonly op: 'remove'; readonly pool: string; readonly id: string }
  | { readonly op: 'weight'; readonly pool: string; readonly id: string; readonly weight: number }
  | { readonly op: 'state'; readonly pool: string; readonly id: string; readonly state: OperatorState; readonly reason?: string }
  /** Weights of pools in a split; those that are not named keep theirs. */
  | { readonly op: 'split'; readonly split: string; readonly weights: Readonly<Record<string, number>> }
  /** Closes a route, named by its prefix, or opens it. */
  | { readonly op: 'maintenance'; readonly route: string; readonly active: boolean }

export interface AddedUpstream {
  readonly url: string
  readonly id?: string
  readonly weight?: number
  readonly zone?: string
  readonly priority?: number
  readonly backup?: boolean
  readonly maxInFlight?: number
}

/** One difference that a change makes. */
export interface Difference {
  /** '' for maintenance of a route. */
  readonly pool: string
  /** '' for what is no upstream's, and so is `url`. */
  readonly upstream: string
  readonly url: string
  /** Whose share it is; '' for all else. */
  readonly split: string
  /** Which is closed or opened; '' for all else. */
  readonly route: string
  readonly field: 'member' | 'weight' | 'operator' | 'share' | 'maintenance'
  readonly before: string | number | boolean
  readonly after: string | number | boolean
}

export interface Plan {
  /** Send it as `If-Match` to apply the plan to what it was made for. */
  readonly etag: string
  readonly diff: readonly Difference[]
  /** What an operator should know before. */
  readonly warnings: readonly string[]
}

export interface UpstreamDetail extends UpstreamView {
  readonly history: readonly HealthChange[]
  readonly series: SeriesView
}

/** Where a request would go: the balancer's answer to a dry run. */
export interface ExplainView {
  readonly route: string | null
  readonly target: string
  readonly pools: readonly Explanation[]
}
