import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Deadlines, Pool } from '@headgate/core'
import { checkRequest } from './check.ts'
import { BadRequestError, LoopError, NoneReadyError } from './errors.ts'
import { Exchange } from './exchange.ts'
import { answerLast, maxForwardsOf } from './max-forwards.ts'
import type { RouteSettings } from './options.ts'
import { describeFailure } from './problem.ts'

/** Connections on which a request could not be trusted: what was pipelined behind it may be a part of it. */
const distrusted = new WeakSet<object>()

/** Sends one request on its way to the first of `pools` that has somebody ready. Errors go through the reply, as any others. */
export function forwardTo (request: FastifyRequest, reply: FastifyReply, pools: readonly Pool[], settings: RouteSettings, deadlines: Deadlines): void {
  let target: string
  try {
    if (distrusted.has(request.raw.socket)) throw new BadRequestError('it follows one that is not')
    target = checkRequest(request, settings)
    if (pools.length === 0) throw new NoneReadyError()
  } catch (error) {
    const reason = error instanceof NoneReadyError ? 'none-ready' : error instanceof LoopError ? 'loop' : 'request'
    if (reason === 'request' && request.raw.httpVersionMajor < 2) distrusted.add(request.raw.socket)
    describeFailure(error as Error, request, settings, { reason, attempts: 0 })
    throw error
  }
  if (maxForwardsOf(request) === 0) return answerLast(request, reply)
  new Exchange(request, reply, pools, settings, target, deadlines).start()
}
