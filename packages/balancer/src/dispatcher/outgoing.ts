import querystring from 'node:querystring'
import type * as Undici from 'undici'
import { BadTargetError } from '../errors.ts'
import { rewriteTarget } from '../path.ts'
import { type StreamedBody, outgoingBody } from './body.ts'
import { type OutgoingFields, outgoingFields } from './fields.ts'

/** A request that undici was asked to make, checked. */
export interface Outgoing {
  readonly method: string
  readonly target: string
  readonly fields: OutgoingFields
  readonly body: null | Buffer | StreamedBody
  /** Of the body; `undefined`: not known. */
  readonly length: number | undefined
  readonly upgrade: string | undefined
  /** Milliseconds; `undefined`: the dispatcher's own. */
  readonly headersTimeout: number | undefined
  readonly bodyTimeout: number | undefined
}

/** A day: what undici's 0, for never, comes to. */
const NEVER = 86_400_000

function timeout (name: string, value: number | null | undefined): number | undefined {
  if (value === undefined || value === null) return undefined
  if (!Number.isFinite(value) || value < 0) throw new TypeError(`${name} must be a number of milliseconds, 0 or more`)
  return value === 0 ? NEVER : Math.min(value, NEVER)
}

/** A dot segment, a fragment or a byte that no target may hold is refused, as in proxied requests: the path is often a client's. */
function targetOf ({ path, query, method }: Undici.Dispatcher.DispatchOptions): string {
  const whole = query === undefined || query === null ? path : `${path}${path.includes('?') ? '&' : '?'}${querystring.stringify(query as never)}`
  const target = whole === '*' && method === 'OPTIONS' ? whole : whole.startsWith('/') ? rewriteTarget(whole, '/', undefined) : undefined
  if (target === undefined) throw new BadTargetError()
  return target
}

/** Throws a `TypeError`, or `HG_BALANCER_BAD_TARGET`. */
export function outgoing (options: Undici.Dispatcher.DispatchOptions, undici: typeof Undici): Outgoing {
  const { method, upgrade, headersTimeout, bodyTimeout } = options
  if (typeof method !== 'string' || !/^[!#$%&'*+\-.^_`|~\w]+$/.test(method)) throw new TypeError(`the method must be a token; it is ${String(method)}`)
  if (method === 'CONNECT') throw new undici.errors.NotSupportedError('a pool of origins gives no tunnels: CONNECT is not supported')
  if (upgrade === true) throw new TypeError("upgrade must be a protocol's name")
  if (typeof options.path !== 'string') throw new TypeError('path must be a string')
  const fields = outgoingFields(options.headers)
  const body = outgoingBody(options.body, undici)
  const streamed = body === null || Buffer.isBuffer(body) ? undefined : body
  const length = body?.length ?? (streamed === undefined ? 0 : undefined)
  if (fields.length !== undefined && length !== undefined && fields.length !== length) {
    throw new TypeError(`Content-Length says ${fields.length}, the body has ${length} bytes`)
  }
  if (streamed !== undefined && upgrade) throw new TypeError('a request that asks for another protocol has no body')
  return {
    method,
    target: targetOf(options),
    fields: streamed?.type === undefined ? fields : { ...fields, list: withType(fields.list, streamed.type) },
    body,
    length: fields.length ?? length,
    upgrade: upgrade || undefined,
    headersTimeout: timeout('headersTimeout', headersTimeout),
    bodyTimeout: timeout('bodyTimeout', bodyTimeout)
  }
}

/** A type that the user names goes before the body's own. */
function withType (list: readonly string[], type: string): readonly string[] {
  for (let i = 0; i < list.length; i += 2) if (list[i]!.toLowerCase() === 'content-type') return list
  return [...list, 'Content-Type', type]
}
