import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Deadlines, Pool } from '@headgate/core'
import { checkRequest } from './check.ts'
import { LoopError, NoneReadyError } from './errors.ts'
import { Exchange } from './exchange.ts'
import { answerLast, maxForwardsOf } from './max-forwards.ts'
import type { RouteSettings } from './options.ts'
import { describeFailure } from './problem.ts'

/** Sends one request on its way to the first of `pools` that has somebody ready. Errors go through the reply, as any others. */
export function forwardTo (request: FastifyRequest, reply: FastifyReply, pools: readonly Pool[], settings: RouteSettings, deadlines: Deadlines): void {
  let target: string
  try {
    target = checkRequest(request, settings)
    if (pools.length === 0) throw new NoneReadyError()
  } catch (error) {
    const reason = error instanceof NoneReadyError ? 'none-ready' : error instanceof LoopError ? 'loop' : 'request'
    describeFailure(error as Error, request, settings, { reason, attempts: 0 })
    throw error
  }
  if (maxForwardsOf(request) === 0) return answerLast(request, reply)
  new Exchange(request, reply, pools, settings, target, deadlines).start()
}
