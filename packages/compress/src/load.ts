import { type EventLoopUtilization, performance } from 'node:perf_hooks'
import { channels } from './channels.ts'
import type { CompressClock } from './clock.ts'

export interface LoadOptions {
  /** Event-loop utilisation, 0–1, from which on the least level is taken. @default 0.9 */
  readonly lowerAt?: number
  /** Event-loop utilisation, 0–1, from which on nothing is encoded that is not kept. @default 0.98 */
  readonly skipAt?: number
  /** Encodings waiting in the thread pool from which on the least level is taken; four times as many: none. @default 32 */
  readonly queue?: number
}

export const loadStates = ['normal', 'lower-level', 'skip'] as const
export type LoadState = (typeof loadStates)[number]

/** Milliseconds of one measurement; long enough that one slow request is no load. */
const WINDOW = 500
/** Windows in a row that have to be better before a step back is taken. */
const CALM = 3
/** Utilisation has to fall this far below the bound before it counts as better. */
const MARGIN = 0.1

/**
 * Watches the event loop and the thread pool's queue. Up goes one step per bad window, down one step after {@link CALM} good
 * ones: it does not swing. It measures when it is asked, so that an idle process has no timer.
 */
export class LoadGuard {
  readonly #clock: CompressClock
  readonly #lowerAt: number
  readonly #skipAt: number
  readonly #queueAt: number
  readonly #read: () => EventLoopUtilization
  #last: EventLoopUtilization
  #measuredAt: number
  #state = 0
  #calm = 0
  /** Encodings in the thread pool, waiting or running; counted by those who start them. */
  queue = 0

  constructor (options: LoadOptions, clock: CompressClock, read: () => EventLoopUtilization = performance.eventLoopUtilization) {
    this.#clock = clock
    this.#lowerAt = options.lowerAt ?? 0.9
    this.#skipAt = options.skipAt ?? 0.98
    this.#queueAt = options.queue ?? 32
    this.#read = read
    this.#last = read()
    this.#measuredAt = clock.now()
  }

  get state (): LoadState {
    const now = this.#clock.now()
    if (now - this.#measuredAt >= WINDOW) this.#measure(now)
    // The queue is no average: it counts at once, if only while it lasts.
    if (this.queue >= this.#queueAt * 4) return 'skip'
    if (this.queue >= this.#queueAt && this.#state === 0) return 'lower-level'
    return loadStates[this.#state]!
  }

  #measure (now: number): void {
    const total = this.#read()
    const idle = total.idle - this.#last.idle
    const active = total.active - this.#last.active
    const utilisation = idle + active > 0 ? active / (idle + active) : 0
    this.#last = total
    this.#measuredAt = now
    const wanted = utilisation >= this.#skipAt ? 2 : utilisation >= this.#lowerAt ? 1 : 0
    const floor = this.#state === 2 ? this.#skipAt - MARGIN : this.#lowerAt - MARGIN
    if (wanted > this.#state) {
      this.#calm = 0
      this.#go(this.#state + 1, utilisation)
    } else if (this.#state > 0 && utilisation < floor) {
      if (++this.#calm < CALM) return
      this.#calm = 0
      this.#go(this.#state - 1, utilisation)
    } else this.#calm = 0
  }

  #go (state: number, utilisation: number): void {
    const before = loadStates[this.#state]!
    this.#state = state
    if (channels.load.hasSubscribers) channels.load.publish({ state: loadStates[state]!, before, utilisation, queue: this.queue })
  }
}
