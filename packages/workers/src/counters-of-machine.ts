import { NobodyError } from './colleagues.ts'
import type { Count, Counted } from './counters.ts'
import type { FromPrimary, FromWorker } from './messages.ts'

interface Waiting { resolve (count: Count): void; reject (error: Error): void }

/** The primary's counters: what all workers count together, and what a worker that dies has counted. One question a turn of the event loop. */
export class CountersOfMachine {
  readonly #send: (message: FromWorker) => void
  readonly #asked: Map<number, readonly Waiting[]> = new Map()
  #events: Counted[] = []
  #waiting: Waiting[] = []
  #next = 0

  /** Made by `Member`. */
  constructor (send: (message: FromWorker) => void) {
    this.#send = send
  }

  /** Counts one event. Rejects with {@link NobodyError} when the primary has gone. */
  count (event: Counted): Promise<Count> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      if (this.#events.push(event) === 1) setImmediate(this.#ask)
    })
  }

  /** For `Member` alone. */
  take ({ id, counts }: FromPrimary & { headgate: 'counted' }): void {
    for (const [index, { resolve }] of (this.#asked.get(id) ?? []).entries()) resolve(counts[index]!)
    this.#asked.delete(id)
  }

  /** For `Member` alone: the primary has gone. */
  alone (): void {
    for (const { reject } of [...this.#asked.values()].flat()) reject(new NobodyError('counters'))
    this.#asked.clear()
  }

  readonly #ask = (): void => {
    const id = ++this.#next
    this.#asked.set(id, this.#waiting)
    const events = this.#events
    this.#events = []
    this.#waiting = []
    if (process.connected) this.#send({ headgate: 'count', id, events })
    else this.alone()
  }
}
