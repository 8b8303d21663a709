import type { FastifyBaseLogger } from 'fastify'
import { channels, type Clock, type Pool, type StickyResult } from '@headgate/core'

/** A store that fails does so for each request: one line in this many milliseconds is enough. */
const LOG_EVERY = 10_000

/** Tells the channel, and the log where somebody must act, what became of one rule's sessions in one pool. */
export class StickyReport {
  readonly #pool: Pool
  readonly #by: string
  readonly #log: FastifyBaseLogger
  readonly #clock: Clock
  #quietUntil = -Infinity

  constructor (pool: Pool, by: string, log: FastifyBaseLogger, clock: Clock) {
    this.#pool = pool
    this.#by = by
    this.#log = log
    this.#clock = clock
  }

  /** Gives nothing, for those who have nothing else to say. */
  tell (result: StickyResult, upstream = ''): undefined {
    if (channels.sticky.hasSubscribers) channels.sticky.publish({ pool: this.#pool.name, by: this.#by, result, upstream, source: this.#pool })
    return undefined
  }

  /** The store, or a function of the user's, did not do its work: the request goes on without affinity. */
  failed (error: unknown): void {
    this.tell('failed')
    const now = this.#clock.now()
    if (now < this.#quietUntil) return
    this.#quietUntil = now + LOG_EVERY
    this.#log.warn({ err: error, pool: this.#pool.name, by: this.#by }, 'whom a client belongs to could not be found out or kept')
  }
}
