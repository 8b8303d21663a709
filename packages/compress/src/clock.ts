/** Opaque handle of a timer made by a {@link CompressClock}. */
export type Timer = unknown

/** Where the plugin's time comes from. */
export interface CompressClock {
  /** Monotonic milliseconds since an arbitrary start. */
  now (): number
  /** Calls `callback` once after `ms` milliseconds; never keeps the process alive. */
  setTimeout (callback: () => void, ms: number): Timer
  clearTimeout (timer: Timer): void
}

export const systemClock: CompressClock = {
  now: () => performance.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms).unref(),
  clearTimeout: (timer) => { clearTimeout(timer as NodeJS.Timeout) }
}
