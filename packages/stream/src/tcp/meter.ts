import type { Clock, FlowBound } from '@headgate/core'

/** Milliseconds' worth of bytes that may pass at once after a pause. */
const BURST = 100

/**
 * A bound on bytes per second, for one direction of one connection or of all of a listener's. Bytes that came are never held back
 * half: they pass, and the debt is waited for.
 */
export class Meter implements FlowBound {
  readonly burst: number
  readonly #clock: Clock
  readonly #perMs: number
  /** Clock time until which what has passed is paid for. */
  #paid: number

  /** `rate` in bytes per second. */
  constructor (clock: Clock, rate: number) {
    this.#clock = clock
    this.#perMs = rate / 1000
    this.burst = this.#perMs * BURST
    this.#paid = clock.now() - BURST
  }

  pass (bytes: number): number {
    const now = this.#clock.now()
    this.#paid = Math.max(this.#paid, now - BURST) + bytes / this.#perMs
    return Math.max(0, this.#paid - now)
  }
}
