import type { MemoryStoreOptions } from '@headgate/cache'
import { checkOptions, type OptionUnit } from '@headgate/core'

export interface RedisCacheOptions {
  /** The tier of this process in front of Redis, as `memory` of `@headgate/cache`. @default 64 MiB */
  readonly memory?: MemoryStoreOptions
  /**
   * Bytes of one body at most in Redis, 1024–67,108,864. A body is read as a whole before the first byte goes out, so that no failure cuts it.
   * @default 1048576
   */
  readonly maxEntryBytes?: number
  /** Milliseconds after its lifetime that a response stays in Redis, to be validated or used in need, 0–31,536,000,000. @default 3600000 */
  readonly keepStale?: number
  /**
   * Milliseconds after which another process may fetch what a process that has gone silent was fetching, 100–600,000; one that lives holds its
   * claim as long as it fetches. @default 2000
   */
  readonly claim?: number
  /**
   * What this process does with its own tier when it was without contact for longer than the lease. `serve`: uses it as ever; purges made
   * elsewhere take effect when contact is back. `validate`: asks the origin before each use, so that no purge is ever missed. @default 'serve'
   */
  readonly isolated?: 'serve' | 'validate'
}

const ms = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })

/** Of {@link RedisCacheOptions}. */
export const redisCacheSchema: { readonly type: 'object'; readonly [keyword: string]: unknown } = {
  type: 'object',
  additionalProperties: false,
  properties: {
    memory: { type: 'object' },
    maxEntryBytes: { type: 'integer', minimum: 1024, maximum: 67_108_864, unit: 'bytes' satisfies OptionUnit },
    keepStale: ms(0, 31_536_000_000),
    claim: ms(100, 600_000),
    isolated: { enum: ['serve', 'validate'] }
  } satisfies Record<keyof RedisCacheOptions, object>
}

export function checkRedisCache (options: RedisCacheOptions): void {
  checkOptions(redisCacheSchema, options, 'cache')
}
