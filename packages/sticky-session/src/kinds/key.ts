import type { FastifyRequest } from 'fastify'
import type { Binding, KindContext } from '../contract.ts'
import { keyed, type KeyedOptions } from './keyed.ts'

export interface KeyOptions extends KeyedOptions {
  /** What a function says. */
  readonly by: 'key'
  /**
   * Names the client; '' or `undefined`: no affinity for this request. Called when the request is forwarded, so what hooks have
   * verified is there (`request.user.tenantId`). Must not wait for anything.
   */
  readonly key: (request: FastifyRequest) => string | undefined
}

/** Clients by what a function says of their requests. */
export function key (options: KeyOptions, context: KindContext): Binding {
  return keyed('key', options.key, options.memory ?? 'table', options, context)
}
