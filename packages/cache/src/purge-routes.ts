import type { FastifyInstance } from 'fastify'
import type { PurgeRouteOptions } from './options.ts'
import { originOf } from './keys.ts'
import type { CacheControls, Purge } from './purge.ts'

const strings = { type: 'array', items: { type: 'string', minLength: 1 }, maxItems: 10_000 }

const bodySchema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    urls: strings,
    prefixes: strings,
    tags: strings,
    groups: {
      type: 'array',
      items: { type: 'object', required: ['origin', 'name'], additionalProperties: false, properties: { origin: { type: 'string' }, name: { type: 'string' } } }
    },
    all: { type: 'boolean' },
    soft: { type: 'boolean' }
  } satisfies Record<keyof Purge, object>
}

/** Adds the routes that purge, behind the guard. Both answer `{ purged: number }`. */
export function addPurgeRoutes (app: FastifyInstance, { guard, path = '/_cache/purge', method = true }: PurgeRouteOptions, controls: CacheControls): void {
  app.route<{ Body: Purge }>({
    method: 'POST',
    url: path,
    config: { cache: false },
    onRequest: async (request, reply) => guard(request, reply),
    // Fastify's own Ajv removes what is not known; a misspelt field must not purge something else.
    schema: { body: bodySchema },
    handler: async (request) => ({ purged: await controls.purge(request.body) })
  })
  if (!method) return
  app.addHttpMethod('PURGE', { hasBody: false })
  app.route({
    method: 'PURGE' as never,
    url: '/*',
    config: { cache: false },
    onRequest: async (request, reply) => guard(request, reply),
    handler: async (request) => ({ purged: await controls.purge({ urls: [originOf(request) + request.raw.url!], soft: request.headers['x-purge'] === 'soft' }) })
  })
}
