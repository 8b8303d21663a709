import type { FastifyRequest } from 'fastify'

let symbol: symbol | undefined

/** Fastify's key of a request's route context; `undefined` where this version of Fastify has none. */
export function contextSymbol (request: FastifyRequest): symbol | undefined {
  return symbol ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'fastify.context')
}

/**
 * Does the request's route have `onSend` hooks, its own or inherited ones? Fastify tells only through its internal context;
 * where that cannot be found the answer is yes, which costs speed and nothing else.
 */
export function hasOnSend (request: FastifyRequest): boolean {
  const key = contextSymbol(request)
  if (key === undefined) return true
  const context = (request as unknown as Record<symbol, { readonly onSend?: unknown } | undefined>)[key]
  return context === undefined || context.onSend !== null
}
