import { Deadline, type Deadlines } from './deadlines.ts'
import type { Lease } from './lease.ts'

/** Who waits for a lease. */
export interface Waiter {
  /** Its turn came. */
  granted (lease: Lease): void
  /** It waited in vain. */
  refused (reason: 'queue-timeout' | 'none-ready'): void
}

/** A waiter's place in the queue; `leave()` gives it up (client gone). */
export class Ticket<W extends Waiter = Waiter> extends Deadline {
  readonly waiter: W
  readonly #leave: (ticket: never) => boolean

  constructor (waiter: W, leave: (ticket: never) => boolean) {
    super()
    this.waiter = waiter
    this.#leave = leave
  }

  leave (): boolean {
    return this.#leave(this as never)
  }

  expired (): void {
    if (this.#leave(this as never)) this.waiter.refused('queue-timeout')
  }
}

/** First come, first served, bounded in number and in time. A Set keeps insertion order and removes from the middle in O(1). */
export class WaitQueue<W extends Waiter = Waiter> {
  readonly #deadlines: Deadlines
  readonly #limit: number
  readonly #waiting = new Set<Ticket<W>>()

  constructor (deadlines: Deadlines, limit: number) {
    this.#deadlines = deadlines
    this.#limit = limit
  }

  get length (): number { return this.#waiting.size }

  /** `undefined` when the queue is full. `until` is clock time. */
  enter (waiter: W, until: number): Ticket<W> | undefined {
    if (this.#waiting.size >= this.#limit) return undefined
    const ticket = new Ticket(waiter, this.#remove)
    this.#waiting.add(ticket)
    this.#deadlines.schedule(ticket, until)
    return ticket
  }

  /** Who came first, without taking it out. */
  peek (): Ticket<W> | undefined {
    for (const ticket of this.#waiting) return ticket
    return undefined
  }

  readonly #remove = (ticket: Ticket<W>): boolean => {
    if (!this.#waiting.delete(ticket)) return false
    this.#deadlines.cancel(ticket)
    return true
  }
}
