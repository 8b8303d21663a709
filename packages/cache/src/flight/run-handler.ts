import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** A route's handler as Fastify keeps it. */
export type Handler = (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply) => unknown

let errorSymbol: symbol | undefined

function sendError (reply: FastifyReply, error: unknown): void {
  if (!(error instanceof Error)) {
    // Fastify takes any thrown value for an error when this mark is set; without it such a value would be sent as a payload.
    errorSymbol ??= Object.getOwnPropertySymbols(reply).find(({ description }) => description === 'fastify.reply.isError')
    if (errorSymbol !== undefined) (reply as unknown as Record<symbol, boolean>)[errorSymbol] = true
  }
  reply.send(error)
}

/** Runs a handler as Fastify would, and sends what it returns, resolves to or throws. */
export function runHandler (handler: Handler, server: FastifyInstance, request: FastifyRequest, reply: FastifyReply): void {
  let result: unknown
  try {
    result = handler.call(server, request, reply)
  } catch (error) {
    sendError(reply, error)
    return
  }
  if (result === undefined || result === reply) return
  if (typeof (result as PromiseLike<unknown> | null)?.then !== 'function') {
    reply.send(result)
    return
  }
  (result as PromiseLike<unknown>).then((payload) => {
    if (payload !== undefined && !reply.sent && payload !== reply) reply.send(payload)
  }, (error: unknown) => {
    if (reply.sent) reply.log.error({ err: error }, 'the handler failed after it had answered')
    else sendError(reply, error)
  })
}

type ReplyConstructor = new (response: unknown, request: FastifyRequest, log: unknown) => FastifyReply

/** A reply of the route's own kind, decorators included, that answers into another response. */
export function detachReply (reply: FastifyReply, request: FastifyRequest, response: unknown): FastifyReply {
  return new (reply.constructor as ReplyConstructor)(response, request, reply.log)
}
