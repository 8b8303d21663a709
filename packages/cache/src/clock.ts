/** Opaque handle of a timer made by a {@link CacheClock}. */
export type Timer = unknown

/** Where the cache's time comes from. */
export interface CacheClock {
  /** Milliseconds since the Unix epoch, as `Date.now`. */
  now (): number
  /** Calls `callback` once after `ms` milliseconds; never keeps the process alive. */
  setTimeout (callback: () => void, ms: number): Timer
  clearTimeout (timer: Timer): void
}

export const systemClock: CacheClock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms).unref(),
  clearTimeout: (timer) => { clearTimeout(timer as NodeJS.Timeout) }
}

/** What comes of the work, or what there is of it `meanwhile`, after `ms` milliseconds. */
export function within<T> (clock: CacheClock, work: Promise<T>, ms: number, meanwhile: () => T): Promise<T> {
  return new Promise((resolve) => {
    const timer = clock.setTimeout(() => { resolve(meanwhile()) }, ms)
    void work.then((result) => {
      clock.clearTimeout(timer)
      resolve(result)
    })
  })
}
