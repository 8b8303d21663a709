import { type Clock, type OptionUnit, checkOptions, refuse } from '@headgate/core'
import type { Registry } from 'prom-client'
import type { Guarded } from './guard.ts'
import type { AdviceOptions } from './scaling/advisor.ts'
import type { ScalingOptions } from './scaling/watch.ts'

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
  /** Gives the text that scrapers get in place of the registry's own, as for several processes. @default the registry's */
  readonly collect?: (registry: Registry) => Promise<string>
  /** Process metrics of prom-client (CPU, memory, event loop) as well. @default false */
  readonly defaultMetrics?: boolean
  /** Upstreams of a pool with series of their own, 0–100,000; those beyond count in their pool's series. @default 1000 */
  readonly upstreamLimit?: number
  /** Routes with series of their own, 1–10,000; those beyond count as `other`. @default 200 */
  readonly routeLimit?: number
  /** Advice on how many upstreams each pool should have; `false`: none. @default false */
  readonly scaling?: false | ScalingOptions
  /** Where time comes from, for the advice. @default the system's */
  readonly clock?: Clock
}

const guarded = {
  guard: { anyOf: [{ isFunction: true }, { type: 'array', items: { isFunction: true }, minItems: 1 }] },
  unsafe: { type: 'boolean' }
} satisfies Record<keyof Guarded, object>

const adviceProperties = {
  concurrency: { type: 'number', minimum: 1, maximum: 1_000_000 },
  targetUtilisation: { type: 'number', minimum: 0.05, maximum: 0.95 },
  waiting: { type: 'number', minimum: 0.001, maximum: 1 },
  headroom: { type: 'integer', minimum: 0, maximum: 1000 },
  min: { type: 'integer', minimum: 0, maximum: 100_000 },
  max: { type: 'integer', minimum: 1, maximum: 100_000 },
  window: { type: 'number', minimum: 1000, maximum: 3_600_000, unit: 'ms' satisfies OptionUnit },
  downAfter: { type: 'number', minimum: 0, maximum: 86_400_000, unit: 'ms' satisfies OptionUnit },
  upAfter: { type: 'number', minimum: 0, maximum: 3_600_000, unit: 'ms' satisfies OptionUnit }
} satisfies Record<keyof AdviceOptions, object>

/** Options of `scaling` with their units, for programs that read configuration files. */
export const scalingSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...adviceProperties,
    pools: {
      type: 'object',
      additionalProperties: { anyOf: [{ const: false }, { type: 'object', additionalProperties: false, properties: adviceProperties }] }
    },
    scaler: { type: 'object', required: ['scale'] },
    cooldown: { type: 'number', minimum: 0, maximum: 3_600_000, unit: 'ms' satisfies OptionUnit }
  } satisfies Record<keyof ScalingOptions, object>
}

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
    collect: { isFunction: true },
    defaultMetrics: { type: 'boolean' },
    upstreamLimit: { type: 'integer', minimum: 0, maximum: 100_000 },
    routeLimit: { type: 'integer', minimum: 1, maximum: 10_000 },
    scaling: { anyOf: [{ const: false }, scalingSchema] },
    clock: { type: 'object' }
  } satisfies Record<keyof MetricsOptions, object>
}

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Throws `HG_POOL_INVALID_OPTION` with the option's path. */
export function checkMetrics (options: MetricsOptions): { bounds: number[]; upstreamLimit: number; routeLimit: number } {
  checkOptions(optionsSchema, options, 'options')
  requireGuard(options.route, 'options.route')
  const { scaling } = options
  if (scaling !== undefined && scaling !== false) {
    for (const [path, { min = 1, max = 100 }] of [['', scaling], ...Object.entries(scaling.pools ?? {}).map(([name, own]) => [`.pools.${name}`, { ...scaling, ...own }] as const)] as const) {
      if (min > max) refuse(`options.scaling${path}.min`, `must not be above max (${max})`, min)
    }
  }
  const buckets = options.buckets ?? BUCKETS
  if (buckets.some((bound, i) => i > 0 && bound <= buckets[i - 1]!)) refuse('options.buckets', 'must ascend', buckets)
  return { bounds: buckets.map((bound) => bound * 1000), upstreamLimit: options.upstreamLimit ?? 1000, routeLimit: options.routeLimit ?? 200 }
}

/** Refuses routes that nobody guards and of which nobody said that it be so. */
export function requireGuard (options: false | Guarded, path: string): void {
  if (options === false || options.unsafe === true || options.guard !== undefined) return
  refuse(`${path}.guard`, 'is required: an onRequest hook (or several) that lets the right people pass, or unsafe: true for everybody', undefined)
}
