import type { FastifyReply, FastifyRequest } from 'fastify'

let symbol: symbol | undefined

/** Fastify's key of a request's route context; `undefined` where this version of Fastify has none. */
export function contextSymbol (request: FastifyRequest): symbol | undefined {
  return symbol ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'fastify.context')
}

/** See `OnHead` of `@headgate/compress`: a hook that can tell by the head alone that it leaves the body as it is. */
const ON_HEAD: unique symbol = Symbol.for('headgate.onHead')
type Hook = { readonly [ON_HEAD]?: (request: FastifyRequest, reply: FastifyReply, status: number, fields: string[], length: number) => boolean }

/** The part of Fastify's internal context that is looked at. */
interface Context {
  readonly onSend?: readonly Hook[] | null
  readonly onResponse?: unknown
  readonly onError?: unknown
}

function contextOf (request: FastifyRequest): Context | undefined {
  const key = contextSymbol(request)
  return key === undefined ? undefined : (request as unknown as Record<symbol, Context | undefined>)[key]
}

/**
 * Does the request's route have `onSend` hooks, its own or inherited ones? Fastify tells only through its internal context;
 * where that cannot be found the answer is yes, which costs speed and nothing else.
 */
export function hasOnSend (request: FastifyRequest): boolean {
  const context = contextOf(request)
  return context === undefined || context.onSend !== null
}

/** Are there hooks or log lines, of what becomes of the response, that could look at the asynchronous context? As above, yes costs only speed. */
export function isObserved (request: FastifyRequest): boolean {
  const context = contextOf(request)
  return context === undefined || context.onSend !== null || context.onResponse !== null || context.onError !== null || request.log !== request.server.log
}

/**
 * Fields as the route's only `onSend` hook leaves them, where it says that it would leave the body alone: `fields` itself where it changes
 * nothing of them. `undefined`: the hooks have to run. `length`: −1 when it is not known.
 */
export function passedBy (reply: FastifyReply, status: number, fields: readonly string[], length: number): readonly string[] | undefined {
  const { request } = reply
  const hooks = contextOf(request)?.onSend
  const onHead = hooks?.length === 1 ? hooks[0]![ON_HEAD] : undefined
  if (onHead === undefined) return undefined
  const own = fields.slice()
  if (!onHead(request, reply, status, own, length)) return undefined
  return own.length === fields.length && own.every((text, i) => text === fields[i]) ? fields : own
}
