import { checkOptions, refuse } from '@headgate/core'
import type { Registry } from 'prom-client'
import type { Guarded } from './guard.ts'

export interface MetricsRouteOptions extends Guarded {
  /** Path of the exposition. @default '/metrics' */
  readonly path?: string
}

export interface MetricsOptions {
  /** The route for scrapers, with its guard; `false`: none, for a registry that is served elsewhere. */
  readonly route: false | MetricsRouteOptions
  /** Where the metrics are registered. @default a registry of its own */
  readonly registry?: Registry
  /** Upper bounds of the latency histograms in seconds, ascending, above 0. @default 0.005 to 10 in 11 steps */
  readonly buckets?: readonly number[]
  /** Process metrics of prom-client (CPU, memory, event loop) as well. @default false */
  readonly defaultMetrics?: boolean
  /** Upstreams of a pool with series of their own, 0–100,000; those beyond count in their pool's series. @default 1000 */
  readonly upstreamLimit?: number
  /** Routes with series of their own, 1–10,000; those beyond count as `other`. @default 200 */
  readonly routeLimit?: number
}

const guarded = {
  guard: { anyOf: [{ isFunction: true }, { type: 'array', items: { isFunction: true }, minItems: 1 }] },
  unsafe: { type: 'boolean' }
} satisfies Record<keyof Guarded, object>

const optionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['route'],
  properties: {
    route: {
      anyOf: [
        { const: false },
        {
          type: 'object',
          additionalProperties: false,
          properties: { ...guarded, path: { type: 'string', pattern: '^/' } } satisfies Record<keyof MetricsRouteOptions, object>
        }
      ]
    },
    registry: { type: 'object', required: ['registerMetric'] },
    buckets: { type: 'array', minItems: 1, maxItems: 100, items: { type: 'number', exclusiveMinimum: 0 } },
    defaultMetrics: { type: 'boolean' },
    upstreamLimit: { type: 'integer', minimum: 0, maximum: 100_000 },
    routeLimit: { type: 'integer', minimum: 1, maximum: 10_000 }
  } satisfies Record<keyof MetricsOptions, object>
}

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Throws `HG_POOL_INVALID_OPTION` with the option's path. */
export function checkMetrics (options: MetricsOptions): { bounds: number[]; upstreamLimit: number; routeLimit: number } {
  checkOptions(optionsSchema, options, 'options')
  requireGuard(options.route, 'options.route')
  const buckets = options.buckets ?? BUCKETS
  if (buckets.some((bound, i) => i > 0 && bound <= buckets[i - 1]!)) refuse('options.buckets', 'must ascend', buckets)
  return { bounds: buckets.map((bound) => bound * 1000), upstreamLimit: options.upstreamLimit ?? 1000, routeLimit: options.routeLimit ?? 200 }
}

/** Refuses routes that nobody guards and of which nobody said that it be so. */
export function requireGuard (options: false | Guarded, path: string): void {
  if (options === false || options.unsafe === true || options.guard !== undefined) return
  refuse(`${path}.guard`, 'is required: an onRequest hook (or several) that lets the right people pass, or unsafe: true for everybody', undefined)
}
