import type { Clock } from '@headgate/core'

const LONGEST = 5000

/**
 * Keeps from asking who does not answer: after `failures` in a row it is open for `retryAfter` ms, then one question is let through, and its
 * answer closes it again or opens it for twice as long. The clock is looked at only while it is open.
 */
export class Breaker {
  readonly #clock: Clock
  readonly #limit: number
  readonly #first: number
  readonly #flipped: (open: boolean) => void
  #failures = 0
  #wait: number
  #until = 0
  #open = false
  #trying = false

  constructor (clock: Clock, limit: number, retryAfter: number, flipped: (open: boolean) => void) {
    this.#clock = clock
    this.#limit = limit
    this.#first = this.#wait = retryAfter
    this.#flipped = flipped
  }

  get open (): boolean { return this.#open }

  /** May a question be asked now? */
  ask (): boolean {
    if (!this.#open) return true
    if (this.#trying || this.#clock.now() < this.#until) return false
    this.#trying = true
    return true
  }

  /** Somebody is there again: the next question is let through now, whatever there was to wait for. */
  hope (): void {
    this.#until = -Infinity
  }

  succeeded (): void {
    this.#failures = 0
    if (!this.#open) return
    this.#open = this.#trying = false
    this.#wait = this.#first
    this.#flipped(false)
  }

  failed (): void {
    this.#failures++
    if (this.#open) {
      // Answers that were under way when it opened say nothing new.
      if (!this.#trying) return
      this.#trying = false
      this.#wait = Math.min(this.#wait * 2, Math.max(LONGEST, this.#first))
      this.#until = this.#clock.now() + this.#wait
      return
    }
    if (this.#failures < this.#limit) return
    this.#open = true
    this.#until = this.#clock.now() + this.#wait
    this.#flipped(true)
  }
}
