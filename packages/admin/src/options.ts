import { type Clock, checkOptions } from '@headgate/core'
import { type Guarded, requireGuard } from '@headgate/metrics'
import type { FastifyRequest } from 'fastify'
import type { AdminSharing } from './sharing.ts'

export interface AdminOptions extends Guarded {
  /** Path under which the API and the dashboard are. @default '/headgate' */
  readonly prefix?: string
  /** Names who makes a change, for the audit. @default nobody is named */
  readonly actor?: (request: FastifyRequest) => string
  /** Serve the dashboard beside the API. @default true */
  readonly dashboard?: boolean
  /** Changes are refused; the dashboard shows and steers nothing. @default false */
  readonly readOnly?: boolean
  /** Upstreams of a pool with figures, 0–100,000; those beyond are not shown. @default 10000 */
  readonly upstreamLimit?: number
  /**
   * Other processes of the machine, to answer and change as one with: `colleagues` of a worker of `@headgate/workers`.
   * @default none
   */
  readonly sharing?: AdminSharing
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
}

const optionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    guard: { anyOf: [{ isFunction: true }, { type: 'array', items: { isFunction: true }, minItems: 1 }] },
    unsafe: { type: 'boolean' },
    prefix: { type: 'string', pattern: '^(/[A-Za-z0-9._~-]+)+$' },
    actor: { isFunction: true },
    dashboard: { type: 'boolean' },
    readOnly: { type: 'boolean' },
    upstreamLimit: { type: 'integer', minimum: 0, maximum: 100_000 },
    sharing: { type: 'object' },
    clock: { type: 'object' }
  } satisfies Record<keyof AdminOptions, object>
}

/** Throws `HG_POOL_INVALID_OPTION` with the option's path; also when nobody guards and `unsafe` is not set. */
export function checkAdmin (options: AdminOptions): void {
  checkOptions(optionsSchema, options, 'options')
  requireGuard(options, 'options')
}
