import { type Clock, type OptionUnit, systemClock } from '@headgate/core'
import { checkShape } from '../refuse.ts'
import type { VoteStore } from './contract.ts'
import type { Agreement } from './tally.ts'

export interface QuorumOptions {
  /** Where instances tell each other: `redis.votes()` of `@headgate/redis`, or any other with one verb, `exchange`. */
  readonly store: VoteStore
  /** Instances that have to agree until an upstream is ejected for all, 1–1000, or more than half of those that live. @default 'majority' */
  readonly agree?: Agreement
  /**
   * What an instance does meanwhile with an upstream that it would eject. `avoid`: ejects it for itself alone. `keep`: goes on using it until
   * enough agree. While the store cannot be reached, each decides alone in both cases. @default 'avoid'
   */
  readonly alone?: 'avoid' | 'keep'
  /** Milliseconds between two exchanges, 100–60,000; new evidence is told at once. @default 1000 */
  readonly interval?: number
  /** Milliseconds that a vote stands after its last evidence, 1000–3,600,000; and as long as its own instance ejects the upstream. @default 30000 */
  readonly window?: number
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
}

export type QuorumSettings = Required<QuorumOptions>

const time = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })

/** JSON Schema of {@link QuorumOptions}, but for `store`: a program may know one for those who give none. */
export const quorumSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    store: { type: 'object', required: ['exchange'] },
    agree: { anyOf: [{ const: 'majority' }, { type: 'integer', minimum: 1, maximum: 1000 }] },
    alone: { type: 'string', enum: ['avoid', 'keep'] },
    interval: time(100, 60_000),
    window: time(1000, 3_600_000),
    clock: { type: 'object', required: ['now', 'wall', 'setTimeout', 'clearTimeout'] }
  } satisfies Record<keyof QuorumOptions, object>
}

/** Checks what a user gave, and fills in the defaults. Throws `HG_POOL_INVALID_OPTION` with a path that starts with `path`. */
export function quorumSettings (options: QuorumOptions, path: string): QuorumSettings {
  checkShape({ ...quorumSchema, required: ['store'] }, options, path)
  return Object.freeze({ agree: 'majority', alone: 'avoid', interval: 1000, window: 30_000, clock: systemClock, ...options })
}
