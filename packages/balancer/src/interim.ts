import type { FastifyReply, FastifyRequest } from 'fastify'
import { responseHeaders } from './headers.ts'

/** Passes an interim response on to a client that can take one (RFC 9110 15.2). */
export function forwardInterim (request: FastifyRequest, reply: FastifyReply, status: number, headers: readonly string[]): void {
  const { raw } = reply
  if (raw.headersSent || request.raw.httpVersion === '1.0') return
  if (status === 102) return raw.writeProcessing?.()
  if (status !== 103) return
  // A field may be called `constructor`.
  const hints = Object.create(null) as Record<string, string | string[]>
  const list = responseHeaders(headers)
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!.toLowerCase()
    const before = hints[name]
    hints[name] = before === undefined ? list[i + 1]! : [before, list[i + 1]!].flat()
  }
  if (hints['link'] === undefined) return
  try {
    raw.writeEarlyHints?.(hints)
  } catch (error) {
    // Node checks the syntax of Link, which no upstream is forced to keep; hints are optional.
    request.log.debug({ err: error }, 'early hints were dropped')
  }
}
