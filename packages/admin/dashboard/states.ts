import type { HealthState } from '@headgate/admin/model'
import { h } from './dom.ts'

/** What each state looks like and means. A sign of its own for each: colour alone tells not everybody. */
export const STATES: Readonly<Record<HealthState, { readonly sign: string; readonly rank: number; readonly means: string }>> = {
  down: { sign: '✕', rank: 0, means: 'Health checks fail: it gets no requests' },
  ejected: { sign: '▲', rank: 1, means: 'Real requests failed: it gets none for a while, then one on trial' },
  degraded: { sign: '◐', rank: 2, means: 'It gets a smaller share' },
  maintenance: { sign: '❙❙', rank: 3, means: 'An operator took it out' },
  draining: { sign: '↓', rank: 4, means: 'It finishes its work and gets nothing new' },
  up: { sign: '●', rank: 5, means: 'It gets requests' }
}

export const NAMES: readonly HealthState[] = ['up', 'degraded', 'ejected', 'down', 'draining', 'maintenance']

export function badge (state: HealthState): HTMLElement {
  return h('span', { class: `badge ${state}`, title: STATES[state].means }, h('span', { class: 'sign', 'aria-hidden': 'true' }, STATES[state].sign), state)
}

export function restyleBadge (element: HTMLElement, state: HealthState): void {
  if (element.classList.contains(state)) return
  element.replaceWith(badge(state))
}
