import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'

/**
 * Answers with an error that the client has asked for. Fastify and the balancer log by the status, and take a 5xx for a fault of the
 * server: this one is logged as what clients do wrong is, at `info`. Whatever else is logged for the request keeps its level.
 */
export function sendExpected (request: FastifyRequest, reply: FastifyReply, error: Error): void {
  const { log } = reply
  request.log = reply.log = Object.create(log, {
    error: {
      value: function (this: FastifyBaseLogger, what: { err?: unknown } | undefined, ...more: [string]) {
        if (what?.err === error) this.info(what, ...more)
        else log.error.call(this, what, ...more)
      }
    }
  }) as FastifyBaseLogger
  reply.send(error)
}
