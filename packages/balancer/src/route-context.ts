import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** See `OnHead` of `@headgate/compress`: a hook that can tell by the head alone that it leaves the body as it is. */
const ON_HEAD: unique symbol = Symbol.for('headgate.onHead')
type Hook = { readonly [ON_HEAD]?: (request: FastifyRequest, reply: FastifyReply, status: number, fields: string[], length: number) => boolean }

/** The part of Fastify's internal context that is looked at. */
interface Context {
  readonly onSend?: readonly Hook[] | null
  readonly onResponse?: readonly unknown[] | null
  readonly onError?: readonly unknown[] | null
  readonly childLoggerFactory?: { readonly name: string }
  readonly errorHandler?: { readonly func?: ErrorHandler }
}

/** The app whose own error handler answers in place of one of ours, if it has one. */
const INSTEAD: unique symbol = Symbol('headgate.instead')
type ErrorHandler = FastifyInstance['errorHandler'] & { [INSTEAD]?: FastifyInstance }

let symbol: symbol | undefined

function contextOf (request: FastifyRequest): Context | undefined {
  symbol ??= Object.getOwnPropertySymbols(request).find((candidate) => candidate.description === 'fastify.context')
  return symbol === undefined ? undefined : (request as unknown as Record<symbol, Context | undefined>)[symbol]
}

/**
 * Does a response have to go through the `onSend` hooks of the request's route? Fastify tells of them only through its internal context;
 * where that cannot be found the answer is yes, which costs speed and nothing else. Hooks that do all they want in `fields` (flat, those
 * of the upstream) are passed by. `length`: −1 when it is not known.
 */
export function wantsOnSend (request: FastifyRequest, reply: FastifyReply, status: number, fields: string[], length: number): boolean {
  const hooks = contextOf(request)?.onSend
  if (hooks === null) return false
  // Several would have to see each other's changes.
  return hooks?.length !== 1 || hooks[0]![ON_HEAD]?.(request, reply, status, fields, length) !== true
}

/** Is it Fastify's own error handler? There is no other way to ask. */
export const isDefault = ({ name }: ErrorHandler): boolean => name === 'defaultErrorHandler'

/** Says of an error handler of ours, in a scope within `app`, that it gives way to the app's own. */
export function standFor (handler: ErrorHandler, app: FastifyInstance): void {
  handler[INSTEAD] = app
}

/** Would an error handler of the user's be called for the request? As above, yes costs only speed. */
export function hasErrorHandler (request: FastifyRequest): boolean {
  const handler = contextOf(request)?.errorHandler?.func
  return handler === undefined || !isDefault(handler[INSTEAD]?.errorHandler ?? handler)
}

/** Are there hooks or log lines, of what becomes of the response, that could look at the asynchronous context? As above, yes costs only speed. */
export function isObserved (request: FastifyRequest): boolean {
  const context = contextOf(request)
  return context === undefined || context.onSend !== null || context.onResponse !== null || context.onError !== null || request.log !== request.server.log
}

/** Response fields, names in lower case. */
export type Fields = Record<string, string | string[]>

let ownFields: symbol | undefined

/** Under what Fastify keeps the fields that are set on the reply; `undefined` where that is not found, or is no plain object. */
function fieldsKey (reply: FastifyReply): symbol | undefined {
  ownFields ??= Object.getOwnPropertySymbols(reply).find((candidate) => candidate.description === 'fastify.reply.headers')
  if (ownFields === undefined) return undefined
  const fields = (reply as unknown as Record<symbol, object | undefined>)[ownFields]
  return fields !== undefined && Object.getPrototypeOf(fields) === Object.prototype ? ownFields : undefined
}

/** Has the app set response fields on the reply? Fastify gives them as a copy only; where its own are not found the answer is yes. */
export function hasFields (reply: FastifyReply): boolean {
  const key = fieldsKey(reply)
  if (key === undefined) return true
  for (const _name in (reply as unknown as Record<symbol, Fields>)[key]) return true
  return false
}

/** Makes `fields` the reply's only ones; the object is Fastify's from here. */
export function setFields (reply: FastifyReply, fields: Fields): void {
  const key = fieldsKey(reply)
  for (const name of key === undefined ? Object.keys(reply.getHeaders()) : reply.raw.getHeaderNames()) reply.removeHeader(name)
  if (key !== undefined) (reply as unknown as Record<symbol, Fields>)[key] = fields
  else for (const name in fields) reply.header(name, fields[name]!)
}

/** Was its logger made by Fastify for this request alone? A factory of the user's may give one to many. As above, no costs only speed. */
export function hasLoggerOfItsOwn (request: FastifyRequest): boolean {
  return contextOf(request)?.childLoggerFactory?.name === 'defaultChildLoggerFactory' && request.log !== request.server.log
}
