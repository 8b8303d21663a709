import type { Upstream } from './upstream.ts'

export interface ReadySet {
  /** All of the tier that might be ready, were they well. */
  readonly tier: readonly Upstream[]
  readonly ready: readonly Upstream[]
  readonly panic: boolean
  /** Members of the tier that are ready by their own verdict, and those that could be but for passive ejection. */
  readonly left: number
  readonly eligible: number
}

/**
 * Who may be chosen: the lowest tier in which enough are left; else the lowest in which anybody is; and where passive
 * ejection alone would leave fewer than `panicThreshold` of a tier without a better one, its ejected members too.
 */
export function readySet (members: readonly Upstream[], panicThreshold: number): ReadySet {
  const priorities = [...new Set(members.map((upstream) => upstream.priority))].sort((a, b) => a - b)
  let fallback: ReadySet = { tier: [], ready: [], panic: false, left: 0, eligible: 0 }
  for (const priority of priorities) {
    const tier = members.filter((upstream) => upstream.priority === priority && upstream.configuredWeight > 0 && !upstream.health.leaving)
    const ready = tier.filter((upstream) => upstream.ready)
    const eligible = tier.filter((upstream) => upstream.ready || upstream.health.state === 'ejected')
    if (ready.length > 0 && ready.length >= panicThreshold * eligible.length) {
      return { tier, ready, panic: false, left: ready.length, eligible: eligible.length }
    }
    if (fallback.ready.length === 0 && eligible.length > 0 && panicThreshold > 0) {
      fallback = { tier, ready: eligible, panic: true, left: ready.length, eligible: eligible.length }
    } else if (fallback.ready.length === 0 && ready.length > 0) {
      fallback = { tier, ready, panic: false, left: ready.length, eligible: eligible.length }
    }
  }
  return fallback
}
