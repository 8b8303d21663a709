import type { Clock, Timer } from './clock.ts'

/** Something that wants to hear of the time. Kept in an intrusive list: being scheduled allocates nothing. */
export abstract class Deadline {
  /** The bucket it waits in; −1 when it is not scheduled. Written by {@link Deadlines} alone. */
  deadlineBucket = -1
  deadlineNext: Deadline | undefined = undefined
  deadlinePrevious: Deadline | undefined = undefined

  /** Called once, at or after the time asked for. May schedule itself again. Must not throw. */
  abstract expired (now: number): void
}

/**
 * Many deadlines on one timer: buckets of 20 ms (250 ms for what is more than a second away) in a map of lists. A deadline
 * never fires early and at most about one bucket late. What changes often (idle timeouts) should not be moved on each event,
 * but look at the time when it fires and schedule itself again.
 */
export class Deadlines {
  readonly #clock: Clock
  readonly #buckets = new Map<number, Deadline>()
  #timer: Timer = undefined
  #armedFor = Infinity

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** The clock's time. */
  now (): number {
    return this.#clock.now()
  }

  /** Asks for `deadline.expired` at `at` (clock milliseconds), instead of any earlier wish. `now`: the time, where it is known. */
  schedule (deadline: Deadline, at: number, now: number = this.#clock.now()): void {
    if (deadline.deadlineBucket !== -1) this.cancel(deadline)
    const step = at - now > 1000 ? 250 : 20
    const bucket = Math.ceil(Math.max(at, now) / step) * step
    const first = this.#buckets.get(bucket)
    deadline.deadlineBucket = bucket
    deadline.deadlineNext = first
    if (first !== undefined) first.deadlinePrevious = deadline
    this.#buckets.set(bucket, deadline)
    if (bucket < this.#armedFor) this.#arm(bucket, now)
  }

  cancel (deadline: Deadline): void {
    const bucket = deadline.deadlineBucket
    if (bucket === -1) return
    const { deadlineNext: next, deadlinePrevious: previous } = deadline
    if (next !== undefined) next.deadlinePrevious = previous
    if (previous !== undefined) previous.deadlineNext = next
    else if (next !== undefined) this.#buckets.set(bucket, next)
    else this.#buckets.delete(bucket)
    deadline.deadlineBucket = -1
    deadline.deadlineNext = deadline.deadlinePrevious = undefined
  }

  #arm (bucket: number, now: number): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#armedFor = bucket
    this.#timer = this.#clock.setTimeout(this.#fire, Math.max(1, Math.ceil(bucket - now)))
  }

  readonly #fire = (): void => {
    this.#timer = undefined
    this.#armedFor = Infinity
    const now = this.#clock.now()
    const due: number[] = []
    for (const bucket of this.#buckets.keys()) if (bucket <= now) due.push(bucket)
    for (const bucket of due.sort((a, b) => a - b)) {
      // What is scheduled meanwhile for a time that is over lands in a later bucket, so this ends.
      for (let deadline = this.#buckets.get(bucket); deadline !== undefined; deadline = this.#buckets.get(bucket)) {
        this.cancel(deadline)
        deadline.expired(now)
      }
    }
    let next = Infinity
    for (const bucket of this.#buckets.keys()) if (bucket < next) next = bucket
    if (next < this.#armedFor) this.#arm(next, now)
  }
}
