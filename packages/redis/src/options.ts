import { type Clock, checkOptions, type OptionUnit, refuse } from '@headgate/core'

export interface RedisOptions {
  /** `redis://user:password@host:6379/0`, `rediss://…` for TLS, or `redis+unix:///path`. @default 'redis://127.0.0.1:6379' */
  readonly url?: string
  /** Nodes of a Redis Cluster to begin with, as URLs; in place of `url`. */
  readonly cluster?: readonly string[]
  /**
   * Sentinels and the name that they know the primary by; in place of `url`. List all of them, the same in all processes: more than half of
   * those that are listed decide. Port 26379 unless given; with `rediss://` they and the servers are spoken to by TLS.
   */
  readonly sentinel?: { readonly nodes: readonly string[]; readonly name: string; readonly password?: string }
  /** User and password where `cluster` or `sentinel` is given. */
  readonly username?: string
  readonly password?: string
  /** Begins all keys and names; those who share it share all state. 1–64 of `A-Za-z0-9._:-`. @default 'headgate' */
  readonly prefix?: string
  /** Milliseconds that one question may take before the answer is that of this process alone, 1–10,000. @default 20 */
  readonly timeout?: number
  /** Milliseconds for a new connection, 1–60,000. @default 2000 */
  readonly connectTimeout?: number
  /** Failures in a row after which Redis is not asked for a while, 1–1000. @default 5 */
  readonly failures?: number
  /** Milliseconds of the first such while, 10–60,000; each further one is twice as long, up to 5 s (or this, where it is longer). @default 250 */
  readonly retryAfter?: number
  /**
   * Milliseconds, 1000–600,000, that a process without contact counts as a member: for so long it uses what it has of shared responses, a purge
   * waits for it, and its votes hold. @default 5000
   */
  readonly lease?: number
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
}

const ms = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })
const URLS = { type: 'array', minItems: 1, items: { type: 'string', pattern: '^rediss?://[^/]+/?$' } }

/** Of {@link RedisOptions}. */
export const redisSchema: { readonly type: 'object'; readonly [keyword: string]: unknown } = {
  type: 'object',
  additionalProperties: false,
  properties: {
    url: { type: 'string', pattern: '^(rediss?://|redis\\+unix:///)' },
    cluster: URLS,
    sentinel: {
      type: 'object',
      additionalProperties: false,
      required: ['nodes', 'name'],
      properties: { nodes: URLS, name: { type: 'string', minLength: 1 }, password: { type: 'string' } }
    },
    username: { type: 'string', minLength: 1 },
    password: { type: 'string', minLength: 1 },
    prefix: { type: 'string', pattern: '^[A-Za-z0-9._:-]{1,64}$' },
    timeout: ms(1, 10_000),
    connectTimeout: ms(1, 60_000),
    failures: { type: 'integer', minimum: 1, maximum: 1000 },
    retryAfter: ms(10, 60_000),
    lease: ms(1000, 600_000),
    clock: { type: 'object', required: ['now', 'wall', 'setTimeout', 'clearTimeout'] }
  } satisfies Record<keyof RedisOptions, object>
}

/** Throws `HG_POOL_INVALID_OPTION` with the option's path. */
export function checkRedis (options: RedisOptions): void {
  checkOptions(redisSchema, options, 'redis')
  const { url, cluster, sentinel, username, password } = options
  const given = Object.entries({ url, cluster, sentinel }).filter(([, value]) => value !== undefined).map(([name]) => name)
  if (given.length > 1) refuse(`redis.${given[1]!} beside redis.${given[0]!}`, 'must not be given: they are different ways to one place', given.join(' and '))
  if (cluster === undefined && sentinel === undefined && (username !== undefined || password !== undefined)) {
    refuse('redis.username and redis.password', 'are for cluster and sentinel: put them into redis.url', username ?? '(a password)')
  }
}
