import type { Binding, KindContext } from '../contract.ts'
import { keyed, type KeyedOptions } from './keyed.ts'

export interface ParamOptions extends KeyedOptions {
  /** The value of a parameter of the route's path: `/t/:tenant/*`. */
  readonly by: 'param'
  /** The parameter's name; `*` is what a wildcard matched. */
  readonly name: string
}

/** Clients by a path parameter. */
export function param (options: ParamOptions, context: KindContext): Binding {
  const { name } = options
  return keyed(`param:${name}`, (request) => (request.params as Record<string, string | undefined> | null)?.[name], options.memory ?? 'table', options, context)
}
