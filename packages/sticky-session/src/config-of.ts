import type { FastifyContextConfig, FastifyRequest } from 'fastify'

type Config = FastifyContextConfig & { readonly url?: string }

let symbol: symbol | undefined

/**
 * The `config` of a request's route, with its URL. Fastify puts together all options of the route each time that it is asked for them: this
 * one is read from its internal context, where that is found.
 */
export function configOf (request: FastifyRequest): Config | undefined {
  symbol ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'fastify.context')
  const context = symbol === undefined ? undefined : (request as unknown as Record<symbol, { readonly config?: Config } | undefined>)[symbol]
  return context === undefined ? request.routeOptions.config : context.config
}
