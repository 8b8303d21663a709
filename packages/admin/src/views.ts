import type { HealthState, Pool } from '@headgate/core'
import type { CacheRecord, EncodingRecord, PoolAdvice, PoolRecord, UpstreamRecord } from '@headgate/metrics'
import type { AdviceView, CacheView, CompressView, Figures, PoolView, UpstreamView } from './model.ts'
import { etagOf, isLeaving, operatorOf } from './state.ts'
import { rounded } from './track.ts'

/** What a worker sees of an upstream, beside what is counted. */
export type UpstreamGauges = Omit<UpstreamView, keyof Figures | 'requests' | 'errors' | 'sent' | 'received'>
/** And of a pool. */
export type PoolGauges = Pick<PoolView, 'inFlight' | 'queued' | 'maxInFlight' | 'retryBudget' | 'panic'>

const limit = (value: number): number | null => value === Infinity ? null : value
/** `null`: without a bound. */
const sumOfLimits = (one: number | null, other: number | null): number | null => one === null || other === null ? null : one + other

/** How much a state means: of what several workers say the gravest counts. */
const gravity: Readonly<Record<HealthState, number>> = { up: 0, degraded: 1, draining: 2, maintenance: 3, ejected: 4, down: 5 }
const NO_FIGURES: Figures = { rate: 0, errorRate: 0, p50: null, p95: null, p99: null }

export function upstreamGauges (pool: Pool, { upstream }: UpstreamRecord): UpstreamGauges {
  const { health } = upstream
  const { open, idle } = upstream.transport.stats
  return {
    pool: pool.name, id: upstream.id, url: upstream.url,
    state: health.state, reason: health.reason, since: health.since, operator: operatorOf(upstream), leaving: isLeaving(upstream),
    ready: upstream.ready, weight: rounded(upstream.weight) ?? 0, configuredWeight: upstream.configuredWeight,
    zone: upstream.zone ?? '', priority: upstream.priority, maxInFlight: limit(upstream.maxInFlight),
    inFlight: upstream.load.inFlight, connections: { open, idle }
  }
}

/** What several workers see of one upstream, as one. */
export function merged (own: UpstreamGauges, others: readonly UpstreamGauges[]): UpstreamGauges {
  if (others.length === 0) return own
  const all = [own, ...others]
  const worst = all.reduce((one, other) => gravity[other.state] > gravity[one.state] ? other : one)
  const same = all.filter(({ state }) => state === worst.state).length
  return {
    ...own,
    state: worst.state,
    reason: same === all.length ? worst.reason : `${worst.reason} (${same} of ${all.length} workers)`,
    since: worst.since,
    ready: all.some(({ ready }) => ready),
    maxInFlight: all.map(({ maxInFlight }) => maxInFlight).reduce(sumOfLimits),
    inFlight: total(all, ({ inFlight }) => inFlight),
    connections: { open: total(all, ({ connections }) => connections.open), idle: total(all, ({ connections }) => connections.idle) }
  }
}

export function upstreamView (gauges: UpstreamGauges, { count, errors, sent, received }: UpstreamRecord, figures: Figures): UpstreamView {
  return { ...gauges, requests: count, errors, sent, received, ...figures }
}

/** One that is a member elsewhere alone: it is on its way out, or in. */
export function foreignView (gauges: readonly UpstreamGauges[]): UpstreamView {
  return { ...merged(gauges[0]!, gauges.slice(1)), requests: 0, errors: 0, sent: 0, received: 0, ...NO_FIGURES }
}

export function poolGauges (pool: Pool): PoolGauges {
  const { inFlight, queued, settings, retryBudget, panic } = pool
  return { inFlight, queued, maxInFlight: limit(settings.maxInFlight), retryBudget: retryBudget.available, panic }
}

/** `members`: as the machine sees them, where there are other workers. */
export function poolView (
  record: PoolRecord, figures: Figures, advice: PoolAdvice | undefined, others: readonly PoolGauges[], members: readonly UpstreamGauges[] | undefined
): PoolView {
  const { pool, count, errors, retried, budgetExhausted, shed } = record
  const states: Record<HealthState, number> = { up: 0, degraded: 0, ejected: 0, down: 0, draining: 0, maintenance: 0 }
  if (members === undefined) for (const { health } of pool.upstreams) states[health.state]++
  else for (const { state } of members) states[state]++
  const all = [poolGauges(pool), ...others]
  return {
    name: pool.name, policy: pool.settings.policy.name, etag: etagOf(pool), upstreams: members?.length ?? pool.upstreams.length,
    ready: members === undefined ? pool.ready.length : members.filter(({ ready }) => ready).length, states,
    panic: all.some(({ panic }) => panic), inFlight: total(all, ({ inFlight }) => inFlight), queued: total(all, ({ queued }) => queued),
    maxInFlight: all.map(({ maxInFlight }) => maxInFlight).reduce(sumOfLimits),
    requests: count, errors, retries: retried, budgetExhausted, shed: shed.total, retryBudget: total(all, ({ retryBudget }) => retryBudget),
    ...figures, advice: adviceView(advice)
  }
}

function adviceView (advice: PoolAdvice | undefined): AdviceView | null {
  if (advice === undefined) return null
  const { desired, utilisation, arrivalRate, reason } = advice
  return { desired, utilisation: rounded(utilisation) ?? 0, arrivalRate: rounded(arrivalRate) ?? 0, reason }
}

export function total<T> (list: readonly T[], of: (one: T) => number): number {
  return list.reduce((sum, one) => sum + of(one), 0)
}

/** `null` until the cache says something: there may be none. */
export function cacheView (cache: CacheRecord): CacheView | null {
  if (cache.lookups.total + cache.stored + cache.refused === 0) return null
  const { lookups, servedBytes, storedBytes, evictions } = cache
  return withRatio({ lookups: Object.fromEntries(lookups.entries()), servedBytes, storedBytes, evictions })
}

export function compressView (encodings: readonly Pick<EncodingRecord, keyof CompressView>[]): CompressView | null {
  if (encodings.length === 0) return null
  return {
    bytesIn: total(encodings, ({ bytesIn }) => bytesIn),
    bytesOut: total(encodings, ({ bytesOut }) => bytesOut),
    responses: total(encodings, ({ responses }) => responses)
  }
}

/** The caches of several workers as one. */
export function mergedCache (views: readonly (CacheView | null)[]): CacheView | null {
  const some = views.filter((view) => view !== null)
  if (some.length < 2) return some[0] ?? null
  const lookups: Record<string, number> = {}
  for (const view of some) for (const [result, count] of Object.entries(view.lookups)) lookups[result] = (lookups[result] ?? 0) + count
  return withRatio({
    lookups, servedBytes: total(some, ({ servedBytes }) => servedBytes), storedBytes: total(some, ({ storedBytes }) => storedBytes),
    evictions: total(some, ({ evictions }) => evictions)
  })
}

export function mergedCompress (views: readonly (CompressView | null)[]): CompressView | null {
  return compressView(views.filter((view) => view !== null))
}

function withRatio (view: Omit<CacheView, 'hitRatio'>): CacheView {
  const { lookups } = view
  const of = (result: string): number => lookups[result] ?? 0
  const asked = total(Object.values(lookups), (count) => count) - of('bypass')
  return { hitRatio: rounded((of('hit') + of('stale') + of('collapsed')) / asked), ...view }
}
