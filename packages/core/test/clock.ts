import type { Clock } from '../src/index.ts'

/** Time that stands still until a test moves it; timers run in the order of their times. */
export class FakeClock implements Clock {
  time: number
  readonly #timers = new Map<number, { at: number; callback: () => void }>()
  #next = 1

  constructor (time: number = 1000) {
    this.time = time
  }

  /** Timers that have not fired. */
  get waiting (): number { return this.#timers.size }

  now (): number { return this.time }
  wall (): number { return this.time }

  setTimeout (callback: () => void, ms: number): number {
    this.#timers.set(this.#next, { at: this.time + ms, callback })
    return this.#next++
  }

  clearTimeout (timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  /** Moves on to the next timer. */
  step (): void {
    const next = Math.min(...[...this.#timers.values()].map(({ at }) => at))
    if (next < Infinity) this.advance(next - this.time)
  }

  /** Moves on by `ms`, running what falls due on the way. */
  advance (ms: number): void {
    const end = this.time + ms
    for (;;) {
      let due: [number, { at: number; callback: () => void }] | undefined
      for (const entry of this.#timers) if (entry[1].at <= end && (due === undefined || entry[1].at < due[1].at)) due = entry
      if (due === undefined) break
      this.#timers.delete(due[0])
      this.time = Math.max(this.time, due[1].at)
      due[1].callback()
    }
    this.time = end
  }
}
