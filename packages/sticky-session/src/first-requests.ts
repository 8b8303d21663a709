import type { FastifyRequest } from 'fastify'
import type { Clock } from '@headgate/core'

interface First {
  readonly request: FastifyRequest
  until: number
}

/** Milliseconds that an unanswered first request is followed at most, and after its answer. */
const UNANSWERED = 60_000
const ANSWERED = 2000
const MAX = 10_000

/**
 * First requests that run at the same time: those that come while another of the same key is on its way follow it, since
 * nothing is noted before somebody has answered.
 */
export class FirstRequests {
  readonly #clock: Clock
  readonly #firsts = new Map<string, First>()

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** The upstream of the one that is being followed; `undefined` for the first itself. */
  follow (key: string, request: FastifyRequest): string | undefined {
    const now = this.#clock.now()
    const first = this.#firsts.get(key)
    if (first !== undefined && first.until > now) return first.request.upstream?.id
    this.#firsts.delete(key)
    for (const [oldest, { until }] of this.#firsts) {
      if (until > now && this.#firsts.size < MAX) break
      this.#firsts.delete(oldest)
    }
    this.#firsts.set(key, { request, until: now + UNANSWERED })
    return undefined
  }

  /** Somebody has answered `request`: from now on it is followed for a moment only, until what was noted takes effect. */
  answered (key: string, request: FastifyRequest): void {
    const first = this.#firsts.get(key)
    if (first?.request === request) first.until = this.#clock.now() + ANSWERED
  }
}
