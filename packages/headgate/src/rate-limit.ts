import type { RouteOptions } from '@headgate/balancer'
import { checkOptions, type OptionUnit } from '@headgate/core'
import type { FastifyInstance } from 'fastify'
import { type CountEvent, limitStore } from './limit-store.ts'
import type { ServeRateLimitOptions } from './serve-options.ts'

const isFunction = { isFunction: true }
const number = { type: 'number', minimum: 1, maximum: 1e9 }

const own = {
  max: { anyOf: [{ ...number, type: 'integer' }, isFunction] },
  timeWindow: { anyOf: [{ ...number, maximum: 1e12, unit: 'ms' satisfies OptionUnit }, isFunction] },
  ban: { type: 'integer', minimum: -1, maximum: 1e9 },
  allowList: { anyOf: [{ type: 'array', items: { type: 'string' } }, isFunction] },
  keyGenerator: isFunction,
  ipv6Subnet: { type: 'integer', minimum: 0, maximum: 128 },
  hook: { type: 'string', enum: ['onRequest', 'preParsing', 'preValidation', 'preHandler'] },
  cache: { type: 'integer', minimum: 1, maximum: 1e8 },
  continueExceeding: { type: 'boolean' },
  exponentialBackoff: { type: 'boolean' },
  skipOnError: { type: 'boolean' },
  groupId: { type: 'string', minLength: 1 },
  enableDraftSpec: { type: 'boolean' },
  errorResponseBuilder: isFunction,
  onBanReach: isFunction,
  onExceeding: isFunction,
  onExceeded: isFunction,
  store: isFunction
}

/** Options of all routes: what `@fastify/rate-limit` takes. */
export const rateLimitSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: { ...own, addHeaders: { type: 'object' }, addHeadersOnExceeding: { type: 'object' } } satisfies Record<keyof ServeRateLimitOptions, object>
}

/** `config.rateLimit` of a route. */
export const routeRateLimitSchema: object = { anyOf: [{ const: false }, { type: 'object', additionalProperties: false, properties: own }] }

const limitOf = (route: RouteOptions): unknown => (route.config as { readonly rateLimit?: unknown } | undefined)?.rateLimit

/** Is the rate of requests limited anywhere? */
export function limitsRates (options: ServeRateLimitOptions | undefined, routes: readonly RouteOptions[]): boolean {
  return options !== undefined || routes.some((route) => limitOf(route) !== undefined)
}

/** Limits the rate of requests of the routes that are registered after it. `count`: where they are counted. Throws `HG_POOL_INVALID_OPTION`. */
export async function limitRates (
  app: FastifyInstance, options: ServeRateLimitOptions | undefined, routes: readonly RouteOptions[], count: CountEvent
): Promise<void> {
  if (options !== undefined) checkOptions(rateLimitSchema, options, 'options.rateLimit')
  for (const [index, route] of routes.entries()) {
    const limit = limitOf(route)
    if (limit !== undefined) checkOptions(routeRateLimitSchema, limit, `options.routes[${index}].config.rateLimit`)
  }
  const { default: rateLimit } = await import('@fastify/rate-limit')
  await app.register(rateLimit, { store: limitStore(count, options?.cache) as never, ...options, global: options !== undefined })
}
