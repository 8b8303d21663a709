import type { FastifyRequest } from 'fastify'
import { editFields, editPairs } from './cookie-header.ts'
import { LastFields } from './last-fields.ts'

/** Cookies that no upstream gets to see. */
export class HiddenCookies {
  readonly #names = new Set<string>()
  /** What is left of fields without them. */
  #rests = new LastFields<string>()

  add (name: string): void {
    this.#names.add(name)
    this.#rests = new LastFields()
  }

  /** Takes them out of what a request's upstream gets. */
  removeFrom (headers: string[], request: FastifyRequest): void {
    if (this.#names.size > 0) editFields(headers, (field) => this.#rests.get(request, field) ?? this.#without(field, request))
  }

  #without (field: string, request: FastifyRequest): string {
    const rest = editPairs(field, (name, value) => this.#names.has(name) ? undefined : value)
    this.#rests.keep(request, field, rest)
    return rest
  }
}
