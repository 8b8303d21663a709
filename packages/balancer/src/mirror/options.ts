import type { OptionUnit } from '@headgate/core'
import type { PoolName } from '../options.ts'
import { method } from '../routing/match-options.ts'

/** How the shadow's answers are compared with those that clients got. */
export interface CompareOptions {
  /** Share of the copies whose answers are compared, 0–1. @default 1 */
  readonly share?: number
  /** Compare the status. @default true */
  readonly status?: boolean
  /** Names of response fields that must be the same. @default ['content-type'] */
  readonly headers?: readonly string[]
  /** `json`: as values where both say that they are JSON, else byte for byte; `bytes`: always so; `false`: not at all. @default 'json' */
  readonly body?: 'json' | 'bytes' | false
  /**
   * Places in JSON that may differ, as JSON Pointers (RFC 6901), in which `*` is any one name or index and `**` any number of them:
   * `/items/* /price` (without the space), `/**` and `/updatedAt` behind it. @default none
   */
  readonly ignore?: readonly string[]
  /** Bytes of each answer that are kept for the comparison, 0–16,777,216; longer ones are skipped. @default 65536 */
  readonly bodyLimit?: number
  /** Tell the values that differ, not only where: they may be somebody's secrets. @default false */
  readonly values?: boolean
}

/** Copies of requests for a pool whose answers nobody gets. */
export interface MirrorOptions<P extends string = PoolName> {
  /** The shadow pool. */
  readonly pool: P
  /** Share of the requests that are copied, 0–1. @default 1 */
  readonly share?: number
  /** Methods that are copied. @default all */
  readonly methods?: readonly string[]
  /** Copies at once, 1–65,535; what comes on top is not copied. @default 100 */
  readonly maxInFlight?: number
  /** Bytes of a request's body that are kept for the copy, 0–67,108,864; a request with more is not copied. @default 65536 */
  readonly bodyLimit?: number
  /** Milliseconds for a copy's answer, and then for the client's own to end, 1–600,000. @default 10000 */
  readonly timeout?: number
  /** Name of the field with which a copy says that it is one (its value is `1`); '': none. @default 'x-mirrored' */
  readonly mark?: string
  /** Compare the answers: `true`, or how. @default false */
  readonly compare?: boolean | CompareOptions
}

const share = { type: 'number', minimum: 0, maximum: 1 }
const name = { type: 'string', pattern: "^[!#$%&'*+.^_`|~\\w-]+$" }
const bytes = (maximum: number): object => ({ type: 'integer', minimum: 0, maximum, unit: 'bytes' satisfies OptionUnit })

const compareSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    share,
    status: { type: 'boolean' },
    headers: { type: 'array', items: name },
    body: { anyOf: [{ const: false }, { type: 'string', enum: ['json', 'bytes'] }] },
    ignore: { type: 'array', items: { type: 'string', pattern: '^/' } },
    bodyLimit: bytes(16_777_216),
    values: { type: 'boolean' }
  } satisfies Record<keyof CompareOptions, object>
}

export const mirrorSchema: object = {
  anyOf: [
    { const: false },
    {
      type: 'object',
      additionalProperties: false,
      required: ['pool'],
      properties: {
        pool: { type: 'string' },
        share,
        methods: { type: 'array', minItems: 1, items: method },
        maxInFlight: { type: 'integer', minimum: 1, maximum: 65_535 },
        bodyLimit: bytes(67_108_864),
        timeout: { type: 'number', minimum: 1, maximum: 600_000, unit: 'ms' satisfies OptionUnit },
        mark: { anyOf: [{ const: '' }, name] },
        compare: { anyOf: [{ type: 'boolean' }, compareSchema] }
      } satisfies Record<keyof MirrorOptions, object>
    }
  ]
}
