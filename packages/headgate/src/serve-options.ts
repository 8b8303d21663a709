import type { RateLimitPluginOptions } from '@fastify/rate-limit'
import type { BalancerOptions } from '@headgate/balancer'
import type { CacheOptions } from '@headgate/cache'
import type { NamedCheck, StreamOptions } from '@headgate/stream'
import type { CompressOptions } from '@headgate/compress'
import type { CheckTiming, HealthOptions, PoolHealthOptions, QuorumOptions } from '@headgate/health'
import type { RedisOptions } from '@headgate/redis'
import type { ScalingOptions } from '@headgate/metrics'
import type { StickyOptions } from '@headgate/sticky-session'
import type { TlsOptions } from '@headgate/tls'

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Who may look and steer, and where. */
export interface ServeAdminOptions {
  /** Path of the dashboard; its API is under `PREFIX/api`, metrics for Prometheus at `PREFIX/metrics`. @default '/headgate' */
  readonly prefix?: string
  /**
   * At least 8 visible ASCII characters. Whoever sends it as bearer token, or as the password of basic authentication, may come from
   * anywhere. @default only this machine may
   */
  readonly token?: string
  /** Changes are refused. @default false */
  readonly readOnly?: boolean
  /** Options of `scaling` of `@headgate/metrics`: advice on how many upstreams each pool should have. @default none */
  readonly scaling?: ScalingOptions
}

/** A check of `@headgate/health`, or one by the name of a protocol: `redis`, `postgres`, `mysql`, `smtp`, `dns` or `tls`, with its options beside it. */
export type ServeCheck = PoolHealthOptions['check'] | (Omit<CheckTiming, 'port' | 'url' | 'tls'> & NamedCheck)

/** Options of `@headgate/health`, where Redis is the store of a quorum unless another one is given. */
export interface ServeHealthOptions extends Omit<HealthOptions, 'quorum' | 'check' | 'pools'> {
  /** How all are checked unless `pools` says otherwise; `false`: not at all. @default by connections */
  readonly check?: ServeCheck
  /** What holds for single pools; `false`: neither checks nor judging of traffic. */
  readonly pools?: Readonly<Record<string, false | (Omit<PoolHealthOptions, 'check'> & { readonly check?: ServeCheck })>>
  /** Instances decide together whom real traffic speaks against; `false`: each decides alone. @default with `redis`: all who use it, by majority */
  readonly quorum?: false | Partial<QuorumOptions>
}

/** Of `@fastify/rate-limit`; a file has no functions. */
export type ServeRateLimitOptions = Omit<RateLimitPluginOptions, 'global' | 'redis' | 'nameSpace'>

/** What `serve` takes; a configuration file holds the same object, where times and sizes may be texts ('2s', '64KiB'). */
export interface ServeOptions extends Omit<BalancerOptions, 'pools'> {
  /** Pools for HTTP, as in `BalancerOptions`; there may be none beside `stream`. @default none */
  readonly pools?: BalancerOptions['pools']
  /**
   * `host:port`, `[::1]:port`, `:port` (all interfaces) or `unix:/path`, or several of them; port 0: any free one.
   * @default '127.0.0.1:8080'; nothing where there is only `stream`
   */
  readonly listen?: string | readonly string[]
  /** Least level of the log on stdout. @default 'info' */
  readonly logLevel?: LogLevel
  /** Milliseconds in which a client has to send a request's head, 1–600,000. @default 60000 */
  readonly clientHeadersTimeout?: number
  /**
   * Proxies before this one, whose `X-Forwarded-For`, `-Host` and `-Proto` are believed: addresses and networks, or `loopback`,
   * `linklocal`, `uniquelocal`, as a list or with commas between them. @default none
   */
  readonly trustProxy?: string | readonly string[]
  /** Options of `@headgate/tls`: HTTPS instead of plain HTTP at `listen`. @default none */
  readonly tls?: TlsOptions
  /** Options of `@headgate/stream`: listeners for TCP and UDP beside the one for HTTP. @default none */
  readonly stream?: StreamOptions
  /**
   * Options of `@fastify/rate-limit` for all routes; with `redis` they count together, otherwise each process for itself. Routes have their own in
   * `config.rateLimit`, `false` for none. @default no limits but those of routes
   */
  readonly rateLimit?: ServeRateLimitOptions
  /** Options of `@headgate/cache`; `true`: its defaults. @default false */
  readonly cache?: boolean | CacheOptions
  /** Options of `@headgate/health`; `false`: no checks and no judging of traffic. @default judging of traffic alone */
  readonly health?: false | ServeHealthOptions
  /** Encode responses: `true`, or options of `@headgate/compress`. @default false */
  readonly compress?: boolean | CompressOptions
  /** Options of `@headgate/sticky-session`. @default false */
  readonly sticky?: false | StickyOptions
  /** Options of `@headgate/redis`: the cache's responses and the tables of sessions are kept there, and ejections voted on, by all who use it. @default none */
  readonly redis?: RedisOptions
  /** Dashboard, admin API and metrics under a prefix. @default none */
  readonly admin?: ServeAdminOptions
}
