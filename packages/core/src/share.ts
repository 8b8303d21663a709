import { refuse } from './options.ts'

/** Which of how many processes of this machine this one is: bounds are for the machine, and each process takes its part of them. */
let own = { index: 0, count: 1 }

/** Set once, before pools are made; `index` counts from 0. */
export function setShare (index: number, count: number): void {
  own = { index, count }
}

/**
 * This process's part of a bound, so that all parts together are the bound. Throws `HG_POOL_INVALID_OPTION` for one that is too small to be divided:
 * a process without a part could do nothing.
 */
export function shareOf (bound: number, path: string): number {
  const { index, count } = own
  if (count === 1 || bound === Infinity) return bound
  if (bound < count && bound > 0) refuse(path, `must be at least ${count}, one for each worker`, bound)
  return Math.floor(bound / count) + (index < bound % count ? 1 : 0)
}

/** This process's part of a rate. */
export function rateShareOf (rate: number): number {
  return rate / own.count
}
