import type { Random } from './random.ts'

/** Opaque handle of a timer made by a {@link Clock}. */
export type Timer = unknown

/** Where time comes from. Everything in Headgate that waits or measures takes one, so that tests need not wait. */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start, with fractions. Only differences mean something. */
  now (): number
  /** Milliseconds since the Unix epoch, as `Date.now`. */
  wall (): number
  /** Calls `callback` once after `ms` milliseconds. Keeps the process alive only when `awaited`: somebody waits for just this. */
  setTimeout (callback: () => void, ms: number, awaited?: boolean): Timer
  clearTimeout (timer: Timer): void
}

/** What every constructor that needs time or chance takes, with real defaults. */
export interface Environment {
  readonly clock: Clock
  readonly random: Random
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  setTimeout: (callback, ms, awaited = false) => awaited ? setTimeout(callback, ms) : setTimeout(callback, ms).unref(),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout)
}
