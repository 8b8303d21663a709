import { balancerSchema } from '@headgate/balancer'
import { cacheSchema } from '@headgate/cache'
import { compressSchema } from '@headgate/compress'
import { poolSchema } from '@headgate/core'
import { healthSchema } from '@headgate/health'
import { scalingSchema } from '@headgate/metrics'
import { redisSchema } from '@headgate/redis'
import { affinityUnits, stickyUnits } from '@headgate/sticky-session'
import { streamSchema } from '@headgate/stream'
import { tlsSchema } from '@headgate/tls'
import { logLevels, type ServeAdminOptions, type ServeOptions } from '../serve-options.ts'

/** Options of the balancer, one by one. */
export const balancing: Record<string, object> = balancerSchema['properties'] as Record<string, object>

/** What a file may hold at its top. The plugins check their own options, so this does not descend into them. */
const properties = {
  listen: { anyOf: [{ type: 'string' }, { type: 'array', minItems: 1, uniqueItems: true, items: { type: 'string' } }] },
  pools: { type: 'object' },
  routes: { type: 'array' },
  logLevel: { type: 'string', enum: logLevels },
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

/** The same with the options of all plugins: where times and sizes stand, and what editors are told. */
export const wholeSchema: { readonly properties: Record<string, object> } & Record<string, unknown> = {
  type: 'object',
  additionalProperties: false,
  properties: {
    $schema: { type: 'string' },
    ...properties,
    pools: { type: 'object', additionalProperties: { anyOf: [{ type: 'array', items: { type: ['string', 'object'] } }, poolSchema] } },
    routes: { anyOf: [balancing['routes'], { items: { properties: { config: { properties: { sticky: affinityUnits } } } } }] },
    health: { anyOf: [{ const: false }, healthSchema] },
    cache: { anyOf: [{ type: 'boolean' }, cacheSchema] },
    stream: streamSchema,
    redis: redisSchema,
    tls: tlsSchema,
    compress: { anyOf: [{ type: 'boolean' }, compressSchema] },
    sticky: { anyOf: [{ const: false }, { type: 'object', ...stickyUnits }] },
    admin: { ...properties.admin, properties: { ...properties.admin.properties, scaling: scalingSchema } }
  }
}
