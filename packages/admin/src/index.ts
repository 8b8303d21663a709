import { readFileSync } from 'node:fs'
import { systemClock } from '@headgate/core'
import { installGuard, onResponses } from '@headgate/metrics'
import swagger from '@fastify/swagger'
import { Ajv, type SchemaObject } from 'ajv'
import type { FastifyError, FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { assetRoutes } from './assets.ts'
import { refuseCrossSite } from './cross-site.ts'
import { NotFoundError } from './errors.ts'
import { type AdminOptions, checkAdmin } from './options.ts'
import { changeRoutes, readRoutes } from './routes.ts'
import { Steward } from './steward.ts'

export type { AdminOptions } from './options.ts'
export type { AuditMessage } from './steward.ts'
export type * from './model.ts'
export type { AdminSharing } from './sharing.ts'
export * from './errors.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

// Our own, as the app's may drop unknown fields silently: a misspelt field of a change must be refused.
const bodies = new Ajv({ allowUnionTypes: true, strict: false })
const strings = new Ajv({ coerceTypes: true, useDefaults: true, allowUnionTypes: true, strict: false })

async function api (scope: FastifyInstance, steward: Steward): Promise<void> {
  // Whatever caches are in front: these figures are of this moment, and for whom the guard let pass.
  scope.addHook('onRequest', async (_request, reply) => { reply.header('cache-control', 'no-store') })
  scope.setValidatorCompiler<SchemaObject>(({ schema, httpPart }) => (httpPart === 'body' ? bodies : strings).compile(schema))
  // A name of its own: the app may have its own description of its own routes.
  const decorator = { decorator: 'headgateOpenApi' } as object
  await scope.register(swagger, {
    ...decorator,
    openapi: { openapi: '3.1.0', info: { title: 'Headgate', version, description: 'See and steer pools of upstreams while they run' } }
  })
  scope.get('/openapi.json', { schema: { hide: true } as object }, () => (scope as unknown as { headgateOpenApi (): object }).headgateOpenApi())
  readRoutes(scope, steward)
  changeRoutes(scope, steward)
}

const plugin: FastifyPluginAsync<AdminOptions> = async (app, options) => {
  checkAdmin(options)
  const prefix = options.prefix ?? '/headgate'
  const steward = new Steward(app, options, options.clock ?? systemClock, version)

  const own = `${prefix}/`
  onResponses(app, (request, reply, duration) => {
    if (request.url !== prefix && !request.url.startsWith(own)) steward.sampler.response(request.method, reply.raw.statusCode, duration)
  })
  steward.start()
  app.addHook('onReady', () => steward.begin())
  // Before the server closes, which waits for all connections: these never end by themselves.
  app.addHook('preClose', async () => { steward.stop() })

  await app.register(async (scope) => {
    installGuard(scope, options)
    scope.addHook('onRequest', refuseCrossSite)
    scope.setErrorHandler((error: FastifyError, request, reply) => {
      const status = error.statusCode ?? 500
      if (status >= 500) request.log.error({ err: error }, 'the admin API failed')
      void reply.code(status).send({ statusCode: status, code: error.code, error: error.name, message: error.message })
    })
    await scope.register(async (inner) => { await api(inner, steward) }, { prefix: '/api' })
    if (options.dashboard !== false) assetRoutes(scope, prefix)
    // The app may forward everything else to upstreams; under this prefix nothing is.
    scope.all('/*', { schema: { hide: true } as object }, (request) => { throw new NotFoundError(`there is nothing at ${request.url}`) })
  }, { prefix })
}

/** The plugin: `await app.register(admin, { guard })`. Registration fails without a guard, unless `unsafe: true` says that it be so. */
const admin: FastifyPluginAsync<AdminOptions> = fp(plugin, { name: '@headgate/admin', fastify: '5.x' })
export default admin
