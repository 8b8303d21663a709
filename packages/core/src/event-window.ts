/** Milliseconds that a window can be made to last: a thousand years. */
export const LONGEST_WINDOW = 31_536_000_000_000

/** Events that are counted together. */
export interface EventWindow {
  count: number
  /** Clock time at which it ends. */
  until: number
}

/** What each event beyond `max` does to the window: begins it anew (`whole`), or makes it twice as long each time (`doubled`). */
export interface Renewal { readonly max: number; readonly how: 'whole' | 'doubled' }

/** Counts `n` events into the window that is open, or else into a new one of `ms` milliseconds, which begins with them. */
export function countInto (open: EventWindow | undefined, n: number, ms: number, now: number, renew: Renewal | undefined): EventWindow {
  const counted = open === undefined || open.until <= now ? { count: 0, until: now + ms } : open
  counted.count += n
  if (renew !== undefined && counted.count > renew.max) {
    counted.until = now + (renew.how === 'whole' ? ms : Math.min(LONGEST_WINDOW, ms * 2 ** (counted.count - renew.max - 1)))
  }
  return counted
}
