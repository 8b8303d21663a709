import type { FailurePhase, Pool, PoolContext } from '@headgate/core'
import { fieldOf } from './fields.ts'
import type { RouteSettings } from './options.ts'
import { parseRetryAfter } from './retry-after.ts'

/** What decides whether a request may be sent once more. */
export interface Repeatability {
  readonly method: string
  /** Its body is not there, or is kept from the first byte on. */
  readonly replayable: boolean
  /** Its body waits for a 100 that did not come: no upstream can have acted on it (RFC 9110 10.1.1). */
  readonly withheld: boolean
  /** It carries an `Idempotency-Key`. */
  readonly keyed: boolean
}

type Rules = Pick<RouteSettings, 'retryMethods' | 'retryByKey'>

/** May it be sent again although an upstream may have seen it? RFC 9110 9.2.2 and what the route allows beyond. */
export function isRepeatable (request: Repeatability, route: Rules): boolean {
  return request.replayable && (route.retryMethods.has(request.method) || request.withheld || (route.retryByKey && request.keyed))
}

/** May it be sent again after a failure in `phase`? Before a byte of it was written that is no repetition at all. */
export function mayRepeat ({ replayable, repeatable }: { readonly replayable: boolean; readonly repeatable: boolean }, phase: FailurePhase): boolean {
  if (phase === 'body') return false
  return phase === 'connect' ? replayable : repeatable
}

/**
 * Milliseconds to wait before the same upstream is tried again: full jitter below 25 ms, doubled by each retry up to 250 ms
 * ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). `retry` is 1 for the first.
 */
export function backoff (retry: number, random: () => number): number {
  return random() * Math.min(250, 25 * 2 ** (retry - 1))
}

/** Is it a status that somebody else should be asked after? Who is told to wait (429) does not come back at once. */
export function isRetryStatus (
  status: number, headers: readonly string[], route: Pick<RouteSettings, 'retryStatuses'>, pool: Pool, context: PoolContext
): boolean {
  if (!route.retryStatuses.has(status)) return false
  return status !== 429 || (pool.hasUntried(context) && parseRetryAfter(fieldOf(headers, 'retry-after'), pool.environment.clock.wall()) !== undefined)
}
