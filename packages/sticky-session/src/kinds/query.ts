import type { FastifyRequest } from 'fastify'
import type { Binding, KindContext } from '../contract.ts'
import { keyed, type KeyedOptions } from './keyed.ts'

export interface QueryOptions extends KeyedOptions {
  /** The value of a parameter of the URL's query. */
  readonly by: 'query'
  /** The parameter's name. */
  readonly name: string
}

/** Reads a query parameter's first value, whatever query parser the app has. */
export function queryOf (name: string): (request: FastifyRequest) => string | undefined {
  return ({ url }) => {
    const at = url.indexOf('?')
    return at === -1 ? undefined : new URLSearchParams(url.slice(at + 1)).get(name) ?? undefined
  }
}

/** Clients by a query parameter. */
export function query (options: QueryOptions, context: KindContext): Binding {
  return keyed(`query:${options.name}`, queryOf(options.name), options.memory ?? 'table', options, context)
}
