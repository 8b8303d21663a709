import { Deadline, type Deadlines } from './deadlines.ts'
import type { Lease } from './lease.ts'
import { PassingSet } from './passing-set.ts'

/** Who waits for a lease. */
export interface Waiter {
  /** Its turn came. */
  granted (lease: Lease): void
  /** It waited in vain. */
  refused (reason: 'queue-timeout' | 'none-ready'): void
}

/** How a wait ended. */
export type QueueOutcome = 'granted' | 'timeout' | 'none-ready' | 'client-closed'

/** A waiter's place in the queue; `leave()` gives it up (client gone). */
export class Ticket<W extends Waiter = Waiter> extends Deadline {
  readonly waiter: W
  /** Clock time. */
  readonly enteredAt: number
  readonly #leave: (ticket: never, outcome: QueueOutcome) => boolean

  constructor (waiter: W, enteredAt: number, leave: (ticket: never, outcome: QueueOutcome) => boolean) {
    super()
    this.waiter = waiter
    this.enteredAt = enteredAt
    this.#leave = leave
  }

  leave (outcome: QueueOutcome = 'client-closed'): boolean {
    return this.#leave(this as never, outcome)
  }

  expired (): void {
    if (this.#leave(this as never, 'timeout')) this.waiter.refused('queue-timeout')
  }
}

/** First come, first served, bounded in number and in time. A Set keeps insertion order and removes from the middle in O(1). */
export class WaitQueue<W extends Waiter = Waiter> {
  readonly #deadlines: Deadlines
  readonly #limit: number
  readonly #left: ((ticket: Ticket<W>, outcome: QueueOutcome) => void) | undefined
  readonly #waiting = new PassingSet<Ticket<W>>()

  /** `left` is called for each wait that ends. */
  constructor (deadlines: Deadlines, limit: number, left?: (ticket: Ticket<W>, outcome: QueueOutcome) => void) {
    this.#deadlines = deadlines
    this.#limit = limit
    this.#left = left
  }

  get length (): number { return this.#waiting.size }

  /** `undefined` when the queue is full. `now` is clock time, `timeout` milliseconds. */
  enter (waiter: W, now: number, timeout: number): Ticket<W> | undefined {
    if (this.#waiting.size >= this.#limit) return undefined
    const ticket = new Ticket(waiter, now, this.#remove)
    this.#waiting.add(ticket)
    this.#deadlines.schedule(ticket, now + timeout)
    return ticket
  }

  /** Who came first, without taking it out. */
  peek (): Ticket<W> | undefined {
    return this.#waiting.first()
  }

  readonly #remove = (ticket: Ticket<W>, outcome: QueueOutcome): boolean => {
    if (!this.#waiting.delete(ticket)) return false
    this.#deadlines.cancel(ticket)
    this.#left?.(ticket, outcome)
    return true
  }
}
