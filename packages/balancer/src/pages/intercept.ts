import type { Upstream } from '@headgate/core'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { UpstreamStatusError } from '../errors.ts'
import type { RouteSettings } from '../options.ts'
import { chosenPage } from './negotiate.ts'

/** What an answer says beside its body that a client still needs: when to come again, how to log in, what else is allowed. */
const KEPT = new Set(['retry-after', 'www-authenticate', 'allow'])

/** Which of the upstreams' answers are replaced; `undefined`: none. */
export type Intercepts = (status: number) => boolean

export function compileIntercepts (given: boolean | readonly number[] | undefined): Intercepts | undefined {
  if (given === undefined || given === false) return undefined
  if (given === true) return (status) => status >= 500
  const statuses = new Set(given)
  return (status) => statuses.has(status)
}

/** The error to answer with instead of what the upstream said. `undefined`: the client gets that as it is, also when it wants none of the pages. */
export function intercepted (
  request: FastifyRequest, reply: FastifyReply, { intercepts, pages }: RouteSettings, status: number, headers: readonly string[], upstream: Upstream
): Error | undefined {
  if (intercepts?.(status) !== true || pages === undefined || chosenPage(pages.of(status), request, reply) === undefined) return undefined
  const list: string[] = []
  for (let i = 0; i < headers.length; i += 2) if (KEPT.has(headers[i]!.toLowerCase())) list.push(headers[i]!, headers[i + 1]!)
  // What binds a client to its upstream goes along.
  request.affinity?.answered?.(upstream, status, list)
  for (let i = 0; i < list.length; i += 2) reply.header(list[i]!, list[i + 1]!)
  const error = new UpstreamStatusError(String(status))
  error.statusCode = status as 502
  return error
}
