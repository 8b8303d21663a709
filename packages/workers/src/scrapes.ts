import type { Clock, Timer } from '@headgate/core'

/** Milliseconds that a worker may take to tell its metrics before the others' are shown without them. */
const PATIENCE = 2000

interface Scrape {
  readonly parts: unknown[]
  waiting: Set<number>
  readonly done: (text: string) => void
  readonly timer: Timer
}

/** Metrics of all workers as one text, whichever of them is asked. */
export class Scrapes {
  readonly #clock: Clock
  readonly #scrapes: Map<number, Scrape> = new Map()
  #next = 0

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** `workers`: ids of those that are asked by `ask`. */
  begin (workers: readonly number[], ask: (worker: number, id: number) => void, done: (text: string) => void): void {
    const id = ++this.#next
    this.#scrapes.set(id, {
      parts: [], waiting: new Set(workers), done, timer: this.#clock.setTimeout(() => { this.#end(id) }, PATIENCE)
    })
    for (const worker of workers) ask(worker, id)
  }

  part (worker: number, id: number, metrics: unknown): void {
    const scrape = this.#scrapes.get(id)
    if (scrape?.waiting.delete(worker) !== true) return
    scrape.parts.push(metrics)
    if (scrape.waiting.size === 0) this.#end(id)
  }

  /** A worker has gone. */
  gone (worker: number): void {
    for (const [id, { waiting }] of this.#scrapes) if (waiting.delete(worker) && waiting.size === 0) this.#end(id)
  }

  #end (id: number): void {
    const scrape = this.#scrapes.get(id)
    if (scrape === undefined) return
    this.#scrapes.delete(id)
    this.#clock.clearTimeout(scrape.timer)
    // Loaded where somebody scrapes: every command of the CLI would load it otherwise.
    void import('prom-client').then(({ AggregatorRegistry }) => AggregatorRegistry.aggregate(scrape.parts as object[]).metrics()).then(scrape.done)
  }
}
