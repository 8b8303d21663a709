import { deepEqual, equal } from 'node:assert/strict'
import type { StickEntry, StickStore } from './store.ts'

export interface ConformanceCase {
  /** What is promised. */
  readonly name: string
  /** Rejects when the store breaks the promise. */
  run (): Promise<void>
}

/**
 * What every {@link StickStore} must do, as cases for any test runner. `make` gives an empty store; `wait` lets that many
 * milliseconds pass for it (a fake clock will do). `unit` is a length of time in milliseconds that the store can tell apart.
 */
export function storeConformance (make: () => StickStore | Promise<StickStore>, wait: (ms: number) => void | Promise<void>, unit = 1000): ConformanceCase[] {
  const a: StickEntry = { upstreamId: 'a', boundAt: 1_700_000_000_000 }
  const b: StickEntry = { upstreamId: 'b', boundAt: 1_700_000_000_123 }
  const key = (n: number): string => `key-${String(n).padStart(18, '0')}`
  const cases: [string, (store: StickStore) => Promise<void>][] = [
    ['an unknown key has no entry', async (store) => {
      equal(await store.get(key(1)), undefined)
      equal(await store.touch(key(1), unit), false)
      equal(await store.delete(key(1)), false)
    }],
    ['an entry comes back as it was written, and a later one replaces it', async (store) => {
      await store.set(key(1), a, 10 * unit)
      await store.set(key(2), b, 10 * unit)
      deepEqual(await store.get(key(1)), a)
      await store.set(key(1), b, 10 * unit)
      deepEqual(await store.get(key(1)), b)
      deepEqual(await store.get(key(2)), b)
    }],
    ['an entry is gone when its time is over, and reading does not prolong it', async (store) => {
      await store.set(key(1), a, 3 * unit)
      await wait(2 * unit)
      deepEqual(await store.get(key(1)), a)
      await wait(2 * unit)
      equal(await store.get(key(1)), undefined)
      equal(await store.touch(key(1), unit), false)
    }],
    ['touch prolongs, and may shorten', async (store) => {
      await store.set(key(1), a, 3 * unit)
      await wait(2 * unit)
      equal(await store.touch(key(1), 3 * unit), true)
      await wait(2 * unit)
      deepEqual(await store.get(key(1)), a)
      equal(await store.touch(key(1), unit), true)
      await wait(2 * unit)
      equal(await store.get(key(1)), undefined)
    }],
    ['writing again starts the time anew', async (store) => {
      await store.set(key(1), a, 3 * unit)
      await wait(2 * unit)
      await store.set(key(1), a, 3 * unit)
      await wait(2 * unit)
      deepEqual(await store.get(key(1)), a)
    }],
    ['delete forgets one entry and no other', async (store) => {
      await store.set(key(1), a, 10 * unit)
      await store.set(key(2), b, 10 * unit)
      equal(await store.delete(key(1)), true)
      equal(await store.get(key(1)), undefined)
      deepEqual(await store.get(key(2)), b)
    }],
    ['expire removes what is over and nothing else, never more than it may look at', async (store) => {
      for (let n = 0; n < 20; n++) await store.set(key(n), a, n % 2 === 0 ? unit : 100 * unit)
      await wait(2 * unit)
      const removed = []
      for (let call = 0; call < 10; call++) removed.push(await store.expire(5))
      equal(removed.every((count) => count >= 0 && count <= 5), true)
      for (let n = 0; n < 20; n++) deepEqual(await store.get(key(n)), n % 2 === 0 ? undefined : a)
    }]
  ]
  return cases.map(([name, run]) => ({ name, run: async () => run(await make()) }))
}
