import type { SchemaObject } from 'ajv'
import type { FastifyContextConfig, FastifyRequest } from 'fastify'
import { type Clock, type OptionUnit, type PoolOptions, type Random, type UpstreamSpec, checkOptions, show } from '@headgate/core'
import { InvalidRouteError } from './errors.ts'

export interface RetryOptions {
  /** Attempts after the first, 0–10. @default 2 */
  readonly attempts?: number
  /**
   * Statuses that are tried again elsewhere, 400–599; 429 only where its `Retry-After` is understood.
   * @default [429, 502, 503, 504]
   */
  readonly statuses?: readonly number[]
  /** Methods that may be repeated after they were sent. @default GET, HEAD, OPTIONS, TRACE, PUT, DELETE, QUERY (RFC 9110 9.2.2) */
  readonly methods?: readonly string[]
  /** Requests of any method that carry an `Idempotency-Key` may be repeated too. @default false */
  readonly idempotencyKey?: boolean
  /** Bytes of a request body kept for a repetition, 0–67,108,864; longer bodies are sent once. @default 65536 */
  readonly bodyLimit?: number
}

/** A condition of a rule; all that are given must hold. Strings are compared whole, patterns searched. */
export interface RuleMatch {
  readonly method?: string | readonly string[]
  readonly header?: Readonly<Record<string, string | RegExp>>
  readonly cookie?: Readonly<Record<string, string | RegExp>>
}

/** One way out of a route: the first whose `match` holds is taken. */
export interface Rule<P extends string = string> {
  readonly match?: RuleMatch | ((request: FastifyRequest) => boolean)
  /** One pool, or pools with shares: `{ web: 95, canary: 5 }`. */
  readonly pool: P | Readonly<Partial<Record<P, number>>>
  /** Taken in this order when nobody is ready in the pool before. */
  readonly fallback?: readonly P[]
}

export interface ForwardOptions {
  /** Replaces the route's prefix: `/api` with `/v1`; `/` strips it. @default unchanged */
  readonly rewritePrefix?: string
  /** Send the client's `Host` instead of the upstream's. @default false */
  readonly preserveHost?: boolean
  /** Turn the upstream's own address and prefix in `Location` back into what the client sees. @default false */
  readonly rewriteLocation?: boolean
  /** Replaces the Domain of cookies that the upstream sets; '' removes it. @default unchanged */
  readonly cookieDomain?: string
  /** Replaces the Path of cookies that the upstream sets. @default unchanged */
  readonly cookiePath?: string
  /** Add X-Forwarded-* and Forwarded (RFC 7239), replacing what an untrusted client sent. @default true */
  readonly forwardedHeaders?: boolean
  /** Milliseconds from the sent request to the response head, 1–86,400,000. @default 30000 */
  readonly headersTimeout?: number
  /** Milliseconds without a byte in either direction of a body, 1–86,400,000. @default 60000 */
  readonly idleTimeout?: number
  /** Milliseconds from the pick of an upstream to its response head, the body's upload included; 0: none. @default 0 */
  readonly tryTimeout?: number
  /** Milliseconds that an upgraded connection may be silent, to the next quarter; 0: for ever. @default 3600000 */
  readonly tunnelTimeout?: number
  /** Milliseconds that a body waits for the upstream's `100 Continue` before it is sent all the same, 1–600,000. @default 1000 */
  readonly continueTimeout?: number
  /** Milliseconds for the whole request, its waiting and retries included; 0: none. @default 0 */
  readonly timeout?: number
  /** Bytes of a request body that are accepted; more is answered 413. @default unlimited */
  readonly bodyLimit?: number
  /** What may be tried again; `false`: nothing. */
  readonly retry?: false | RetryOptions
  /**
   * Go on with a response body that breaks off, from another upstream: for GET with a strong `ETag`, a known length and
   * `Accept-Ranges: bytes`; at most 3 times, out of the retry budget. @default true
   */
  readonly resume?: boolean
  /** Name upstreams and causes in `Proxy-Status` and in problem documents. @default false */
  readonly exposeErrors?: boolean
}

export interface RouteOptions<P extends string = string> extends ForwardOptions {
  /** Path prefix, with a slash in front; `/` takes everything. */
  readonly prefix: string
  /** The pool; this or `rules`. */
  readonly pool?: P
  /** Fastify's `config` of the routes: what other plugins read of them (`rateLimit`, `sticky` …). @default {} */
  readonly config?: FastifyContextConfig
  /** Several pools by rules; the first that matches is taken. */
  readonly rules?: readonly Rule<P>[]
}

export interface BalancerOptions<P extends string = string> {
  /** Pools by name: a list of upstreams, or all options. */
  readonly pools: Readonly<Record<P, readonly UpstreamSpec[] | PoolOptions>>
  /** Prefixes to forward. Without any, use `reply.forward` in your own routes. @default [] */
  readonly routes?: readonly RouteOptions<NoInfer<P>>[]
  /** The proxy's name in `Via`, a token; one that comes back with it is answered 508. @default 'headgate-' and a random part */
  readonly viaName?: string
  /** Milliseconds that requests and tunnels may go on once the app closes, 0–86,400,000. @default 30000 */
  readonly closeTimeout?: number
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
  /** Where chance comes from. @default Math.random */
  readonly random?: Random
}

/** A route's settings, checked and complete. */
export interface RouteSettings {
  readonly prefix: string
  readonly rewritePrefix: string | undefined
  readonly preserveHost: boolean
  readonly rewriteLocation: boolean
  readonly cookieDomain: string | undefined
  readonly cookiePath: string | undefined
  readonly rewritesCookies: boolean
  readonly forwardedHeaders: boolean
  readonly viaName: string
  readonly headersTimeout: number
  readonly idleTimeout: number
  readonly tryTimeout: number
  readonly tunnelTimeout: number
  readonly continueTimeout: number
  readonly timeout: number
  readonly bodyLimit: number
  readonly retries: number
  readonly retryStatuses: ReadonlySet<number>
  readonly retryMethods: ReadonlySet<string>
  readonly retryByKey: boolean
  readonly replayLimit: number
  readonly resume: boolean
  readonly exposeErrors: boolean
}

const time = { type: 'number', minimum: 1, maximum: 86_400_000, unit: 'ms' satisfies OptionUnit }

const forwardSchema = {
  rewritePrefix: { type: 'string', pattern: '^/[\\x21-\\x7e]*$' },
  preserveHost: { type: 'boolean' },
  rewriteLocation: { type: 'boolean' },
  cookieDomain: { type: 'string', pattern: '^[A-Za-z0-9.-]*$' },
  cookiePath: { type: 'string', pattern: '^/[^;\\s]*$' },
  forwardedHeaders: { type: 'boolean' },
  headersTimeout: time,
  idleTimeout: time,
  timeout: { ...time, minimum: 0 },
  tryTimeout: { ...time, minimum: 0 },
  tunnelTimeout: { ...time, minimum: 0 },
  continueTimeout: { ...time, maximum: 600_000 },
  bodyLimit: { type: 'integer', minimum: 0, unit: 'bytes' satisfies OptionUnit },
  resume: { type: 'boolean' },
  exposeErrors: { type: 'boolean' },
  retry: {
    anyOf: [
      { const: false },
      {
        type: 'object',
        additionalProperties: false,
        properties: {
          attempts: { type: 'integer', minimum: 0, maximum: 10 },
          statuses: { type: 'array', items: { type: 'integer', minimum: 400, maximum: 599 } },
          methods: { type: 'array', items: { type: 'string', minLength: 1 } },
          idempotencyKey: { type: 'boolean' },
          bodyLimit: { type: 'integer', minimum: 0, maximum: 67_108_864, unit: 'bytes' satisfies OptionUnit }
        } satisfies Record<keyof RetryOptions, object>
      }
    ]
  }
} satisfies Record<keyof ForwardOptions, object>

const forwardOptionsSchema = { type: 'object', additionalProperties: false, properties: forwardSchema }

const routeSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['prefix'],
  properties: {
    ...forwardSchema,
    prefix: { type: 'string', pattern: '^/' },
    pool: { type: 'string' },
    config: { type: 'object' },
    rules: { type: 'array', minItems: 1, items: { type: 'object', required: ['pool'] } }
  } satisfies Record<keyof RouteOptions, object>
}

/** JSON Schema of {@link BalancerOptions}, for those who check whole configurations; pools have `poolSchema` of core. */
export const balancerSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  required: ['pools'],
  properties: {
    pools: { type: 'object', minProperties: 1 },
    routes: { type: 'array', items: routeSchema },
    viaName: { type: 'string', pattern: "^[!#$%&'*+.^_`|~\\w-]+$" },
    closeTimeout: { ...time, minimum: 0 },
    clock: { type: 'object' },
    random: { isFunction: true }
  } satisfies Record<keyof BalancerOptions, object>
}

const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'QUERY', 'PROPFIND']

/** Throws {@link InvalidRouteError} for `path`. */
export function refuseRoute (path: string, allowed: string, value: unknown): never {
  throw new InvalidRouteError(path, allowed, show(value))
}

/** Checks the plugin's options, but for what pools and rules check themselves. */
export function checkBalancer (options: unknown): void {
  checkOptions(balancerSchema, options, 'options')
}

/** Fills in a route's defaults; `path` names the options in errors. */
export function routeSettings (prefix: string, options: ForwardOptions, viaName: string, path?: string): RouteSettings {
  if (path !== undefined) checkOptions(forwardOptionsSchema, options, path)
  const retry = options.retry === false ? { attempts: 0 } : options.retry ?? {}
  return Object.freeze({
    prefix,
    rewritePrefix: options.rewritePrefix?.replace(/(?<=.)\/$/, ''),
    preserveHost: options.preserveHost ?? false,
    rewriteLocation: options.rewriteLocation ?? false,
    cookieDomain: options.cookieDomain,
    cookiePath: options.cookiePath,
    rewritesCookies: options.cookieDomain !== undefined || options.cookiePath !== undefined,
    forwardedHeaders: options.forwardedHeaders ?? true,
    viaName,
    headersTimeout: options.headersTimeout ?? 30_000,
    idleTimeout: options.idleTimeout ?? 60_000,
    tryTimeout: options.tryTimeout ?? 0,
    tunnelTimeout: options.tunnelTimeout ?? 3_600_000,
    continueTimeout: options.continueTimeout ?? 1000,
    timeout: options.timeout ?? 0,
    bodyLimit: options.bodyLimit ?? Infinity,
    retries: retry.attempts ?? 2,
    retryStatuses: new Set(retry.statuses ?? (retry.attempts === 0 ? [] : [429, 502, 503, 504])),
    retryMethods: new Set(retry.methods ?? IDEMPOTENT),
    retryByKey: retry.idempotencyKey ?? false,
    replayLimit: retry.bodyLimit ?? 65_536,
    resume: options.resume ?? true,
    exposeErrors: options.exposeErrors ?? false
  })
}
