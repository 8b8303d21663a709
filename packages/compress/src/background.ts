import type { CompressClock } from './clock.ts'

/** Work of one thread; calls back when it is done. */
export type Job = (done: () => void) => void

/** Jobs that may wait. */
const QUEUE = 256
/** Milliseconds to wait when there is no time for background work now. */
const LATER = 1000

/**
 * Runs jobs one after another, and rests after each for so long that on average no more than `share` of one core is used.
 * `busy` holds it back while foreground work needs the machine.
 */
export class Background {
  readonly #clock: CompressClock
  readonly #share: number
  readonly #busy: () => boolean
  readonly #queue: Job[] = []
  #running = false
  #closed = false

  constructor (share: number, clock: CompressClock, busy: () => boolean) {
    this.#share = share
    this.#clock = clock
    this.#busy = busy
  }

  /** False: the queue is full, and the job was not taken. */
  add (job: Job): boolean {
    if (this.#closed || this.#share === 0 || this.#queue.length >= QUEUE) return false
    this.#queue.push(job)
    if (!this.#running) this.#next()
    return true
  }

  close (): void {
    this.#closed = true
    this.#queue.length = 0
  }

  #next (): void {
    this.#running = this.#queue.length > 0
    if (!this.#running) return
    if (this.#busy()) {
      this.#clock.setTimeout(() => { this.#next() }, LATER)
      return
    }
    const job = this.#queue.shift()!
    const start = this.#clock.now()
    job(() => {
      const used = this.#clock.now() - start
      this.#clock.setTimeout(() => { this.#next() }, used * (1 - this.#share) / this.#share)
    })
  }
}
