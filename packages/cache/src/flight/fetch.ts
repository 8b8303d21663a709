import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Route } from '../route.ts'
import type { Where } from '../where.ts'

/** What a flight's handler was run with. */
export interface Detached {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** The reply's logger before it ran. */
  readonly logged: unknown
}

/** The fetch behind a flight: on whose behalf, and where it goes. */
export interface Fetch {
  readonly request: FastifyRequest
  readonly route: Route
  readonly where: Where
  readonly detached: Detached
}
