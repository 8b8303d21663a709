import type { Deciding } from './decision.ts'

/**
 * Value of `Server-Timing` when the response head is here: the time before the first pick, then each attempt with the upstream's id
 * (an address would tell clients about the inside) and why it was not the last.
 */
export function serverTiming ({ startedAt, leases }: Deciding, now: number): string {
  const metrics = [`queue;dur=${milliseconds(leases[0]!.startedAt - startedAt)}`]
  for (const [i, { upstream, startedAt: begun, endedAt, reason }] of leases.entries()) {
    // Ids and reasons are words of a few signs: no quoting is needed inside.
    const why = i === leases.length - 1 ? '' : ` ${reason}`
    metrics.push(`attempt${i + 1};dur=${milliseconds((endedAt < 0 ? now : endedAt) - begun)};desc="${upstream.id}${why}"`)
  }
  metrics.push(`total;dur=${milliseconds(now - startedAt)}`)
  return metrics.join(', ')
}

const milliseconds = (value: number): number => Math.round(value * 10) / 10
