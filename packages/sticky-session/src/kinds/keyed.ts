import type { FastifyRequest } from 'fastify'
import type { Binding, CommonOptions, KindContext } from '../contract.ts'
import { HashBinding } from './hash-binding.ts'
import { TableBinding } from './table-binding.ts'

/** What the kinds take that find a client by a key in its request. */
export interface KeyedOptions extends CommonOptions {
  /**
   * `table`: the key's first upstream is noted. `hash`: the key itself says which (consistent hashing), nothing is noted.
   * @default 'hash' for source-ip, else 'table'
   */
  readonly memory?: 'table' | 'hash'
}

/** Finds clients by a key. `name` tells the rule's keys apart from those of others in the table. */
export function keyed (
  name: string, keyOf: (request: FastifyRequest) => string | undefined, memory: 'table' | 'hash', options: KeyedOptions, context: KindContext
): Binding {
  return memory === 'hash' ? new HashBinding(keyOf, context.pool, options) : new TableBinding(keyOf, context.table(name)) as Binding
}
