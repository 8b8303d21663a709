import type { FastifyRequest } from 'fastify'
import type { Binding, KindContext } from '../contract.ts'
import { keyed, type KeyedOptions } from './keyed.ts'

export interface HeaderOptions extends KeyedOptions {
  /** The value of a request header. Clients choose it themselves unless something in front sets it. */
  readonly by: 'header'
  /** The header's name. */
  readonly name: string
}

/** Reads a request header; several fields of one name count as one list. */
export function headerOf (name: string): (request: FastifyRequest) => string | undefined {
  const lower = name.toLowerCase()
  return (request) => request.headers[lower]?.toString()
}

/** Clients by a header. */
export function header (options: HeaderOptions, context: KindContext): Binding {
  return keyed(`header:${options.name.toLowerCase()}`, headerOf(options.name), options.memory ?? 'table', options, context)
}
