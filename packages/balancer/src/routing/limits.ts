import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { ForbiddenClientError, HeadTooLargeError, TooManyOfClientError, UrlTooLongError } from '../errors.ts'
import { headOf } from '../upgrade.ts'
import { networksOf } from './networks.ts'

/** What a route takes from clients at all. Its body has `bodyLimit`. */
export interface RequestLimits {
  /** Characters of a target, 1–1,048,576; longer ones are answered 414. @default unlimited */
  readonly maxUrlLength?: number
  /** Bytes of a head's names and values, 1–1,048,576; more is answered 431. Node refuses more than 16 KiB unless told otherwise. @default unlimited */
  readonly maxHeaderSize?: number
  /** Requests and tunnels of one address at once, 1–1,000,000; more are answered 429. @default unlimited */
  readonly maxPerClient?: number
  /** Addresses and networks that may come; all others are answered 403. @default all */
  readonly allow?: readonly string[]
  /** Addresses and networks that may not come, even those that `allow` names. @default none */
  readonly deny?: readonly string[]
}

const networks = { type: 'array', items: { type: 'string' } }
const count = (maximum: number): object => ({ type: 'integer', minimum: 1, maximum })

export const limitsSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    maxUrlLength: count(1_048_576), maxHeaderSize: { ...count(1_048_576), unit: 'bytes' }, maxPerClient: count(1_000_000), allow: networks, deny: networks
  } satisfies Record<keyof RequestLimits, object>
}

/** Compiles limits to a hook of the route. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compileLimits (limits: RequestLimits, path: string): onRequestHookHandler {
  const { maxUrlLength = Infinity, maxHeaderSize = Infinity, maxPerClient } = limits
  const allow = limits.allow && networksOf(limits.allow, `${path}.allow`)
  const deny = limits.deny && networksOf(limits.deny, `${path}.deny`)
  const running = maxPerClient === undefined ? undefined : new PerClient(maxPerClient)
  return function limit (request, reply, done) {
    const ip = request.ip ?? ''
    if (deny?.has(ip) === true || allow?.has(ip) === false) return done(new ForbiddenClientError())
    if (request.raw.url!.length > maxUrlLength) return done(new UrlTooLongError())
    if (maxHeaderSize !== Infinity && sizeOf(request.raw.rawHeaders) > maxHeaderSize) return done(new HeadTooLargeError())
    if (running?.enter(ip, request, reply) === false) {
      reply.header('retry-after', '1')
      return done(new TooManyOfClientError())
    }
    done()
  }
}

function sizeOf (fields: readonly string[]): number {
  let size = 0
  for (const text of fields) size += text.length
  return size
}

/** How much each client has running; who has nothing is not remembered. */
class PerClient {
  readonly #limit: number
  readonly #running = new Map<string, number>()

  constructor (limit: number) {
    this.#limit = limit
  }

  enter (client: string, request: FastifyRequest, reply: FastifyReply): boolean {
    const now = this.#running.get(client) ?? 0
    if (now >= this.#limit) return false
    this.#running.set(client, now + 1)
    // A tunnel goes on behind its response.
    const end = headOf(request.raw) === undefined || request.raw.httpVersionMajor >= 2 ? reply.raw : request.raw.socket
    end.once('close', () => {
      const left = this.#running.get(client)! - 1
      if (left === 0) this.#running.delete(client)
      else this.#running.set(client, left)
    })
    return true
  }
}
