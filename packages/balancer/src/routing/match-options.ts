import type { FastifyRequest } from 'fastify'

/** A regular expression as files can hold it; its flags are those of JavaScript. */
export interface PatternText {
  readonly pattern: string
  readonly flags?: string
}

/** What a field has to be: that text, something that the pattern is found in, there (`true`), or not there (`false`). */
export type Wanted = string | boolean | RegExp | PatternText

/** A condition of a rule; all that are given must hold. Strings are compared whole, patterns searched. */
export interface RuleMatch {
  /**
   * Of the path as the client asks for it: `/exact`, `/prefix/*`, or a pattern of Fastify's router such as `/users/:id/photos`.
   * Percent-encoded characters equal the plain ones.
   */
  readonly path?: string | readonly string[]
  readonly method?: string | readonly string[]
  /** Names without a port: `api.example`, or `*.example` for all below it. */
  readonly host?: string | readonly string[]
  readonly header?: Readonly<Record<string, Wanted>>
  readonly cookie?: Readonly<Record<string, Wanted>>
  /** The first value of each parameter. */
  readonly query?: Readonly<Record<string, Wanted>>
  /** Addresses and networks (`10.0.0.0/8`, `fd00::/8`) of clients; with `trustProxy` the address that a trusted proxy tells. */
  readonly client?: string | readonly string[]
  /** Media types of the request's body: `application/json`, or `image/*`. */
  readonly contentType?: string | readonly string[]
  /** All other conditions hold, and this says so too. Quick, and without effects: it is also asked by dry runs. */
  readonly when?: (request: FastifyRequest) => boolean
}

// Methods are case-sensitive (RFC 9110 9.1): one in small letters would never match.
export const method: object = { type: 'string', pattern: '^[A-Z][A-Z0-9-]*$' }

const oneOrMore = (items: object): object => ({ anyOf: [items, { type: 'array', minItems: 1, items }] })

export const matchSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    path: oneOrMore({ type: 'string', pattern: '^/' }),
    method: oneOrMore(method),
    host: oneOrMore({ type: 'string', minLength: 1 }),
    header: { type: 'object' },
    cookie: { type: 'object' },
    query: { type: 'object' },
    client: oneOrMore({ type: 'string', minLength: 1 }),
    contentType: oneOrMore({ type: 'string', pattern: '^[\\w!#$&^.+-]+/([\\w!#$&^.+-]+|\\*)$' }),
    when: { isFunction: true }
  } satisfies Record<keyof RuleMatch, object>
}
