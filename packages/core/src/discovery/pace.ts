import type { DiscoverySite } from './contract.ts'

/** Milliseconds after the first failure, doubled by each further one up to the last. */
const FIRST = 500
const LAST = 10_000

/** Waits `ms` milliseconds, or until nobody wants to know any more. */
export function pause ({ environment: { clock }, signal }: DiscoverySite, ms: number): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      clock.clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = clock.setTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}

/** Up to a tenth more than `ms`, so that many proxies do not ask at one moment. */
export function spread ({ environment }: DiscoverySite, ms: number): number {
  return ms * (1 + 0.1 * environment.random())
}

/** How long to wait after `failures` failures in a row. */
export function delayAfter (failures: number, site: DiscoverySite): number {
  return spread(site, Math.min(LAST, FIRST * 2 ** Math.min(failures - 1, 10)))
}

/**
 * Asks again and again: `ask` tells the site and says how many milliseconds to wait. What it throws is reported, and waited after: the longer the more
 * failures there are in a row. One that comes after a long time, as when a stream breaks, is the first of its row.
 */
export async function again (site: DiscoverySite, ask: () => Promise<number>): Promise<void> {
  const { clock } = site.environment
  for (let failures = 0; !site.signal.aborted;) {
    let wait: number
    const began = clock.now()
    try {
      wait = await ask()
      failures = 0
    } catch (error) {
      if (site.signal.aborted) return
      site.failed(error)
      if (clock.now() - began > LAST) failures = 0
      wait = delayAfter(++failures, site)
    }
    await pause(site, wait)
  }
}
