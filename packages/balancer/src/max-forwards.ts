import type { FastifyReply, FastifyRequest } from 'fastify'

/** Never reflected: what a script of another origin must not read (RFC 9110 9.3.8). */
const SECRET = /^(?:authorization|cookie|proxy-authorization)$/i

/** The count of a TRACE or OPTIONS (RFC 9110 7.6.2); `undefined` for other methods, without one, or when it is no number. */
export function maxForwardsOf (request: FastifyRequest): number | undefined {
  const { method, headers } = request.raw
  if (method !== 'TRACE' && method !== 'OPTIONS') return undefined
  const value = headers['max-forwards']
  return typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : undefined
}

/** Answers as the last recipient: a TRACE with the request itself, an OPTIONS with what the route takes. */
export function answerLast (request: FastifyRequest, reply: FastifyReply): void {
  const { raw } = request
  if (raw.method === 'OPTIONS') {
    const { server, routeOptions: { url } } = request
    const methods = server.supportedMethods.filter((method) => server.hasRoute({ method: method as never, url: url! }))
    void reply.code(204).header('allow', methods.join(', ')).send()
    return
  }
  let text = `${raw.method} ${raw.url} HTTP/${raw.httpVersion}\r\n`
  for (let i = 0; i < raw.rawHeaders.length; i += 2) {
    if (!SECRET.test(raw.rawHeaders[i]!)) text += `${raw.rawHeaders[i]!}: ${raw.rawHeaders[i + 1]!}\r\n`
  }
  void reply.code(200).header('content-type', 'message/http').send(Buffer.from(`${text}\r\n`, 'latin1'))
}
