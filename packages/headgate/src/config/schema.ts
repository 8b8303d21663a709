import { balancerSchema } from '@headgate/balancer'
import { poolSchema } from '@headgate/core'
import { healthSchema } from '@headgate/health'
import { withProtocolSchemas } from '../protocol-checks.ts'
import { rateLimitSchema, routeRateLimitSchema } from '../rate-limit.ts'
import { logLevels, type ServeAdminOptions, type ServeOptions } from '../serve-options.ts'

/** Options of the balancer, one by one. */
export const balancing: Record<string, object> = balancerSchema['properties'] as Record<string, object>

/** What a file may hold at its top. The plugins check their own options, so this does not descend into them. */
const properties = {
  listen: { anyOf: [{ type: 'string' }, { type: 'array', minItems: 1, uniqueItems: true, items: { type: 'string' } }] },
  pools: { type: 'object' },
  routes: { type: 'array' },
  logLevel: { type: 'string', enum: logLevels },
  maintenance: balancing['maintenance']!,
  viaName: balancing['viaName']!,
  closeTimeout: balancing['closeTimeout']!,
  health: { anyOf: [{ const: false }, { type: 'object' }] },
  cache: { anyOf: [{ type: 'boolean' }, { type: 'object' }] },
  stream: { type: 'object' },
  redis: { type: 'object' },
  tls: { type: 'object' },
  compress: { anyOf: [{ type: 'boolean' }, { type: 'object' }] },
  sticky: { anyOf: [{ const: false }, { type: 'object' }] },
  clientHeadersTimeout: { type: 'number', minimum: 1, maximum: 600_000, unit: 'ms' },
  trustProxy: { anyOf: [{ type: 'string', minLength: 1 }, { type: 'array', minItems: 1, uniqueItems: true, items: { type: 'string' } }] },
  rateLimit: { type: 'object' },
  admin: {
    type: 'object',
    additionalProperties: false,
    properties: {
      prefix: { type: 'string', pattern: '^(/[A-Za-z0-9._~-]+)+$' }, token: { type: 'string', pattern: '^[\\x21-\\x7e]{8,}$' }, readOnly: { type: 'boolean' },
      scaling: { type: 'object' }
    } satisfies Record<keyof ServeAdminOptions, object>
  }
} satisfies Record<Exclude<keyof ServeOptions, 'clock' | 'random'>, object>

export const configSchema: object = { type: 'object', additionalProperties: false, properties: { $schema: { type: 'string' }, ...properties } }

/** Routes, with what is read of them that needs no plugin. */
const ownRoutes = { anyOf: [balancing['routes'], { items: { properties: { config: { properties: { rateLimit: routeRateLimitSchema } } } } }] }

/** Schemas of what not everybody uses: each comes with the whole plugin, so that it is loaded where it is wanted only. */
const plugins: Readonly<Record<string, () => Promise<object>>> = {
  cache: async () => ({ anyOf: [{ type: 'boolean' }, (await import('@headgate/cache')).cacheSchema] }),
  stream: async () => (await import('@headgate/stream')).streamSchema,
  redis: async () => (await import('@headgate/redis')).redisSchema,
  tls: async () => (await import('@headgate/tls')).tlsSchema,
  compress: async () => ({ anyOf: [{ type: 'boolean' }, (await import('@headgate/compress')).compressSchema] }),
  sticky: async () => ({ anyOf: [{ const: false }, { type: 'object', ...(await import('@headgate/sticky-session')).stickyUnits }] }),
  routes: async () => ({
    anyOf: [ownRoutes, { items: { properties: { config: { properties: { sticky: (await import('@headgate/sticky-session')).affinityUnits } } } } }]
  }),
  admin: async () => ({ ...properties.admin, properties: { ...properties.admin.properties, scaling: (await import('@headgate/metrics')).scalingSchema } })
}

export interface WholeSchema extends Record<string, unknown> {
  readonly properties: Record<string, object>
}

/** `configSchema` with the options of plugins: where times and sizes stand, and what editors are told. `wanted`: whose options. */
export async function wholeSchema (wanted: readonly string[] = Object.keys(plugins)): Promise<WholeSchema> {
  const loaded = await Promise.all(wanted.filter((name) => Object.hasOwn(plugins, name)).map(async (name) => [name, await plugins[name]!()] as const))
  return {
    type: 'object',
    additionalProperties: false,
    properties: {
      $schema: { type: 'string' },
      ...properties,
      pools: { type: 'object', additionalProperties: { anyOf: [{ type: 'array', items: { type: ['string', 'object'] } }, poolSchema] } },
      routes: ownRoutes,
      rateLimit: rateLimitSchema,
      health: {
        anyOf: [{ const: false }, wanted.includes('stream') ? withProtocolSchemas(healthSchema, (await import('@headgate/stream')).checkKinds) : healthSchema]
      },
      ...Object.fromEntries(loaded)
    }
  }
}
