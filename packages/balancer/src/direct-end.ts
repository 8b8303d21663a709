import { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import { DirectBody, writesAtOnce } from './direct-body.ts'
import { currentScope } from './scope.ts'

const { end } = ServerResponse.prototype

/**
 * Lets a whole body, or none, that `onSend` hooks leave as it is go out as on routes without such hooks: in one string with its head, and
 * with the others of its turn. Node's own `end` makes a gathered write of three pieces of it, which costs as much as all the rest of the
 * way through hooks. To be called before `reply.send`; what hooks have put in the body's place, and what somebody looks at by an `end` or
 * a `write` of his own, is written by Node.
 */
export function endDirectly (reply: FastifyReply, payload: Buffer | undefined): void {
  const response = reply.raw
  if (!writesAtOnce(response)) return
  // Hooks may take their time: then it is called from elsewhere.
  const scope = currentScope()
  const direct = function (this: ServerResponse, chunk?: unknown, encoding?: unknown, callback?: unknown): ServerResponse {
    // Else somebody has wrapped it, and writes would go by him.
    if (response.end === direct) response.end = end
    if ((chunk ?? undefined) !== payload || (encoding ?? callback ?? null) !== null ||
      !response.headersSent || response.destroyed || !writesAtOnce(response)) {
      return end.call(this, chunk, encoding as BufferEncoding, callback as () => void)
    }
    // Whoever sends once more meanwhile is told that he is too late.
    reply.hijack()
    const body = new DirectBody(response, true, nobody, scope)
    if (payload === undefined) body.end(undefined)
    else body.whole(payload)
    return response
  }
  response.end = direct as typeof end
}

const nobody = (): void => {}
