import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Deadlines, Pool } from '@headgate/core'
import { checkRequest } from './check.ts'
import { BadRequestError, LoopError, NoRuleError } from './errors.ts'
import { ProxiedExchange } from './proxied-exchange.ts'
import { answerLast, maxForwardsOf } from './max-forwards.ts'
import type { RouteSettings } from './options.ts'
import { describeFailure } from './problem.ts'
import type { Destination } from './routing/choose.ts'

/** Connections on which a request could not be trusted: what was pipelined behind it may be a part of it. */
const distrusted = new WeakSet<object>()

/** The target to send. What is not acceptable is described, and thrown. */
function accepted (request: FastifyRequest, settings: RouteSettings): string {
  try {
    // Over HTTP/2 nothing is pipelined, and the socket is a proxy that is made when it is asked for.
    if (request.raw.httpVersionMajor < 2 && distrusted.has(request.raw.socket)) throw new BadRequestError('it follows one that is not')
    return checkRequest(request, settings)
  } catch (error) {
    const reason = error instanceof LoopError ? 'loop' : 'request'
    if (reason === 'request' && request.raw.httpVersionMajor < 2) distrusted.add(request.raw.socket)
    describeFailure(error as Error, request, settings, { reason, attempts: 0 })
    throw error
  }
}

/** Sends one request on its way to the first of `pools` that has somebody ready. Errors go through the reply, as any others. */
export function forwardTo (request: FastifyRequest, reply: FastifyReply, pools: readonly Pool[], settings: RouteSettings, deadlines: Deadlines): void {
  const target = accepted(request, settings)
  if (maxForwardsOf(request) === 0) return answerLast(request, reply)
  const exchange = new ProxiedExchange(request, reply, pools, settings, target, deadlines)
  if (settings.mirror === undefined) return exchange.start()
  const copy = settings.mirror.take(request, settings, target)
  exchange.witness = copy?.primary
  exchange.start()
  copy?.start()
}

/** Does with a request what a rule says; `undefined`: none took it. `settings` are the route's own. */
export function sendTo (request: FastifyRequest, reply: FastifyReply, to: Destination | undefined, settings: RouteSettings, deadlines: Deadlines): void {
  if (to === undefined) {
    accepted(request, settings)
    throw new NoRuleError()
  }
  if (to.answer === undefined) return forwardTo(request, reply, to.pools, to.settings, deadlines)
  accepted(request, to.settings)
  to.answer(request, reply)
}
