import type { FastifyRequest } from 'fastify'

let symbol: symbol | undefined

/**
 * Does the request's route have `onSend` hooks, its own or inherited ones? Fastify tells only through its internal context;
 * where that cannot be found the answer is yes, which costs speed and nothing else.
 */
export function hasOnSend (request: FastifyRequest): boolean {
  symbol ??= Object.getOwnPropertySymbols(request).find((candidate) => candidate.description === 'fastify.context')
  if (symbol === undefined) return true
  const context = (request as unknown as Record<symbol, { readonly onSend?: unknown } | undefined>)[symbol]
  return context === undefined || context.onSend !== null
}
