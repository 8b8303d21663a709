import type { FastifyBaseLogger, FastifyReply } from 'fastify'
import { hasLoggerOfItsOwn } from './route-context.ts'

/** What pino's loggers can do beyond what Fastify asks of one. */
interface Capable {
  isLevelEnabled? (level: string): boolean
  setBindings? (bindings: object): void
}

/**
 * Puts the choice into the request's log line, where that will be written. A child of the request's logger would cost five times as
 * much as the line itself: engines are slow with objects that become prototypes.
 */
export function describeChoice (reply: FastifyReply, upstream: string, attempts: number, upstreamTime: number): void {
  const log = reply.log as FastifyBaseLogger & Capable
  if (log.isLevelEnabled?.('info') !== true) return
  // To the microsecond: a dozen digits more say nothing, and to make and write them costs as much as all else here.
  const bindings = { upstream, attempts, upstreamTime: Math.round(upstreamTime * 1000) / 1000 }
  if (log.setBindings !== undefined && log === reply.request.log && hasLoggerOfItsOwn(reply.request)) log.setBindings(bindings)
  else reply.log = log.child(bindings)
}
