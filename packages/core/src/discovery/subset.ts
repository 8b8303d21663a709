import { hash32 } from '../hash.ts'

export interface SubsetOptions {
  /** How many of the members this proxy uses, ≥ 1. */
  readonly size: number
  /** Which of the proxies this one is: 0, 1, 2 … up to 65,535, each number once. */
  readonly index: number
}

/** The bits of `index` behind a binary point in reverse: 0, 1/2, 1/4, 3/4, 1/8 … fills [0, 1) evenly at any length (van der Corput, 1935). */
function fraction (index: number): number {
  let result = 0
  for (let bits = index, step = 0.5; bits > 0; bits >>>= 1, step /= 2) if ((bits & 1) === 1) result += step
  return result
}

/**
 * The part of many members that one of many proxies uses, as in "Reinventing Backend Subsetting at Google" (ACM Queue 20(5), 2022): the
 * members lie on a ring in an order that all proxies share, and each proxy takes `size` in a row from a place that its number gives. So
 * members have almost equally many proxies each; one that comes or goes changes at most two of a proxy's; another proxy changes nobody's.
 */
export function subsetOf (ids: readonly string[], { size, index }: SubsetOptions): readonly string[] {
  if (ids.length <= size) return ids
  const ring = ids.map((id) => ({ id, place: hash32(id) }))
  ring.sort((a, b) => a.place - b.place || (a.id < b.id ? -1 : 1))
  const start = Math.floor(fraction(index) * ring.length)
  return Array.from({ length: size }, (_, k) => ring[(start + k) % ring.length]!.id)
}
