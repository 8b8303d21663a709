import type { FastifyRequest } from 'fastify'

const urls = new WeakMap<object, string>()
let symbol: symbol | undefined

/**
 * The pattern of a request's route; `undefined` where none was found. Fastify puts together all options of the route each time that it is
 * asked for them: the answer is kept with its internal context, where that is found.
 */
export function routeOf (request: FastifyRequest): string | undefined {
  symbol ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'fastify.context')
  const context = symbol === undefined ? undefined : (request as unknown as Record<symbol, object | undefined>)[symbol]
  const known = context === undefined ? undefined : urls.get(context)
  if (known !== undefined) return known
  const { url } = request.routeOptions
  if (context !== undefined && url !== undefined) urls.set(context, url)
  return url
}
