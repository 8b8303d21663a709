import { createHash } from 'node:crypto'
import type { Pool, Upstream } from '@headgate/core'
import type { OperatorState } from './model.ts'

/** It drains because it leaves, not because an operator said so. */
export function isLeaving (upstream: Upstream): boolean {
  return upstream.health.state === 'draining' && upstream.health.forced !== 'drain'
}

export function operatorOf (upstream: Upstream): OperatorState {
  return upstream.health.forced ?? 'auto'
}

export function digest (value: unknown): string {
  return `"${createHash('sha256').update(JSON.stringify(value)).digest('base64url').slice(0, 16)}"`
}

/** A strong entity tag (RFC 9110 8.8.3) of what operators can change in a pool: members, weights, and their words. */
export function etagOf (pool: Pool): string {
  // In an order that does not depend on how they came: workers of one machine agree.
  return digest(pool.upstreams.map((upstream) => [
    upstream.id, upstream.url, upstream.configuredWeight, operatorOf(upstream), isLeaving(upstream), upstream.priority, upstream.zone
  ]).toSorted(([one], [other]) => one! < other! ? -1 : 1))
}

/** One for several pools, and for routing where its etag is given; for one of them alone that one's own. */
export function etagOfAll (pools: readonly Pool[], routing?: string): string {
  const own = routing === undefined ? [] : [routing]
  if (pools.length + own.length === 1) return own[0] ?? etagOf(pools[0]!)
  return digest([...pools.map((pool) => `${pool.name} ${etagOf(pool)}`).toSorted(), ...own])
}

/** What the configuration gives a pool, as long as nobody has changed it; members that are discovered are not part of it. */
export function baseOf (pool: Pool): string {
  if (pool.settings.discovery !== undefined) return 'discovered'
  return digest(pool.upstreams.map(({ id, url, configuredWeight }) => [id, url, configuredWeight]).toSorted(([one], [other]) => one! < other! ? -1 : 1))
}

/** Does an `If-Match` value hold for `etag`? (RFC 9110 13.1.1: strong comparison.) */
export function matches (ifMatch: string, etag: string): boolean {
  return ifMatch.trim() === '*' || ifMatch.split(',').some((candidate) => candidate.trim() === etag)
}
