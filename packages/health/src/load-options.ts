import type { OptionUnit } from '@headgate/core'
import { checkShape } from './refuse.ts'

export interface RetryAfterOptions {
  /** Answers 429 or 503 with `Retry-After` in a row until it is believed: one client that is over its limit is no reason. 1–1,000,000. @default 3 */
  readonly after?: number
  /** Milliseconds that one such answer counts for at most, 1–86,400,000. @default 60000 */
  readonly max?: number
}

export interface LoadOptions {
  /** Read the fields `endpoint-load-metrics` and `endpoint-load-metrics-bin` (ORCA) of responses, after the body too. @default true */
  readonly header?: boolean
  /** Which of its metrics is the utilization: `cpu_utilization`, `named_metrics.queue` … @default application_utilization, else cpu_utilization */
  readonly metric?: string
  /** Utilization from which an upstream gets less; more again under 80 % of it. 0–10. @default 0.9 */
  readonly high?: number
  /** Share of its weight that a busy upstream keeps, 0.01–1. @default 0.5 */
  readonly factor?: number
  /** Milliseconds after which a report says nothing any more, 100–86,400,000. @default 180000 */
  readonly expiry?: number
  /** What 503 (pause) and 429 (less weight) with `Retry-After` do; `false`: nothing. */
  readonly retryAfter?: false | RetryAfterOptions
}

export interface LoadSettings {
  readonly header: boolean
  readonly metric: string | undefined
  readonly high: number
  readonly factor: number
  readonly expiry: number
  readonly retryAfter: false | Required<RetryAfterOptions>
}

const time = (minimum: number): object => ({ type: 'number', minimum, maximum: 86_400_000, unit: 'ms' satisfies OptionUnit })

/** JSON Schema of {@link LoadOptions}. */
export const loadSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    header: { type: 'boolean' },
    metric: { type: 'string', minLength: 1 },
    high: { type: 'number', exclusiveMinimum: 0, maximum: 10 },
    factor: { type: 'number', minimum: 0.01, maximum: 1 },
    expiry: time(100),
    retryAfter: {
      anyOf: [{ const: false }, {
        type: 'object',
        additionalProperties: false,
        properties: {
          after: { type: 'integer', minimum: 1, maximum: 1_000_000 },
          max: time(1)
        } satisfies Record<keyof RetryAfterOptions, object>
      }]
    }
  } satisfies Record<keyof LoadOptions, object>
}

/** Checks what a user gave. Throws with a path that starts with `path`. */
export function checkLoad (options: LoadOptions, path: string): void {
  checkShape(loadSchema, options, path)
}

/** Fills in the defaults. */
export function loadSettings (options: LoadOptions): LoadSettings {
  return Object.freeze({
    header: true, high: 0.9, factor: 0.5, expiry: 180_000, ...options, metric: options.metric,
    retryAfter: options.retryAfter === false ? false : { after: 3, max: 60_000, ...options.retryAfter }
  })
}
