import type { FastifyReply, FastifyRequest } from 'fastify'
import { fieldOf } from './fields.ts'
import { endWithHead } from './http2-sink.ts'

/** Codes of gRPC (statuscodes.md of its specification) that the proxy itself uses. */
const CANCELLED = 1
const DEADLINE_EXCEEDED = 4
const RESOURCE_EXHAUSTED = 8
const UNIMPLEMENTED = 12
const INTERNAL = 13
const UNAVAILABLE = 14

/** Units of `grpc-timeout` (gRPC over HTTP/2, Requests) in milliseconds. */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 }

/** gRPC is spoken over HTTP/2 only; gRPC-Web is plain HTTP to us. */
export function isGrpc (request: FastifyRequest): boolean {
  if (request.raw.httpVersionMajor < 2) return false
  const type = request.headers['content-type']
  return type !== undefined && /^application\/grpc(?:$|[+;\s])/i.test(type)
}

/** `grpc-timeout` in milliseconds; `undefined` when there is none, or none that means anything. */
export function grpcTimeout (value: string | string[] | undefined): number | undefined {
  const [, digits, unit] = typeof value === 'string' ? /^(\d{1,8})([HMSmun])$/.exec(value) ?? [] : []
  return unit === undefined ? undefined : Number(digits) * UNITS[unit]!
}

/** Milliseconds for a call: the client's deadline, within the route's `timeout` (0: none). */
export function callTimeout (request: FastifyRequest, timeout: number): number {
  const deadline = grpcTimeout(request.headers['grpc-timeout'])
  if (deadline === undefined) return timeout
  return Math.max(1, timeout > 0 ? Math.min(deadline, timeout) : deadline)
}

/** Is the `grpc-status` of a head one of these? */
export function isGrpcStatus (headers: readonly string[], statuses: ReadonlySet<number>): boolean {
  const status = fieldOf(headers, 'grpc-status')
  return status !== undefined && statuses.has(Number(status))
}

/** Tells the next hop what is left: what waiting and earlier attempts took is not there for this one. */
export function passGrpcTimeout (headers: string[], left: number): void {
  for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === 'grpc-timeout') headers[i + 1] = formatGrpcTimeout(left)
}

/** A time in milliseconds as `grpc-timeout` has it: at most 8 digits. */
export function formatGrpcTimeout (ms: number): string {
  const whole = Math.max(1, Math.ceil(ms))
  if (whole < 1e8) return `${whole}m`
  return whole < 1e11 ? `${Math.ceil(whole / 1000)}S` : `${Math.min(99_999_999, Math.ceil(whole / 3_600_000))}H`
}

/** The gRPC status for an error of the proxy. A client may take UNAVAILABLE for leave to try again. */
export function grpcStatus (error: Error): number {
  switch ((error as { statusCode?: number }).statusCode ?? 502) {
    case 502: case 503: return UNAVAILABLE
    case 504: return DEADLINE_EXCEEDED
    case 404: return UNIMPLEMENTED
    case 408: return CANCELLED
    case 413: return RESOURCE_EXHAUSTED
    default: return INTERNAL
  }
}

/** `grpc-message` is percent-encoded but for visible ASCII. */
export function grpcMessage (text: string): string {
  return Array.from(Buffer.from(text), (byte) => byte >= 0x20 && byte <= 0x7e && byte !== 0x25
    ? String.fromCharCode(byte)
    : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
}

/** The trailers that tell a client of `error`. */
export function grpcTrailers (error: Error): string[] {
  return ['grpc-status', String(grpcStatus(error)), 'grpc-message', grpcMessage(error.message)]
}

/**
 * Answers with status and message in a head that is all (Trailers-Only), which Fastify's own way of sending cannot do: `onSend`
 * hooks do not see it, `onResponse` hooks do.
 */
export function sendGrpcError (reply: FastifyReply, error: Error): void {
  const [, status, , message] = grpcTrailers(error)
  reply.log.warn({ err: error, grpcStatus: Number(status) }, error.message)
  reply.hijack()
  endWithHead(reply.raw, 200, {
    ...reply.getHeaders() as Record<string, string>, 'content-type': 'application/grpc', 'grpc-status': status!, 'grpc-message': message!
  })
}
