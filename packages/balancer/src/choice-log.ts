import type { FastifyBaseLogger, FastifyReply } from 'fastify'

/** Puts the choice into the request's log line; a child logger costs, so only where the line will be written. */
export function describeChoice (reply: FastifyReply, upstream: string, attempts: number, upstreamTime: number): void {
  const log = reply.log as FastifyBaseLogger & { isLevelEnabled? (level: string): boolean }
  if (log.isLevelEnabled?.('info') !== true) return
  reply.log = log.child({ upstream, attempts, upstreamTime })
}
