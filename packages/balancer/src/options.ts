import type { SchemaObject } from 'ajv'
import type { FastifyContextConfig, FastifyRequest } from 'fastify'
import {
  type Clock, type HashKey, type Location, type OptionUnit, type PoolOptions, type Random, type UpstreamSpec, checkOptions
} from '@headgate/core'
import type { ClientLocationOptions } from './client-location.ts'
import type { Mirror, MirrorMaker } from './mirror/mirror.ts'
import { type MirrorOptions, mirrorSchema } from './mirror/options.ts'
import { type MaintenanceOptions, maintenanceSchema } from './maintenance.ts'
import { Pages } from './pages/compile.ts'
import { type Intercepts, compileIntercepts } from './pages/intercept.ts'
import { type ErrorPages, errorPagesSchema, interceptSchema } from './pages/options.ts'
import { isPlainPath } from './path.ts'
import { refuseRoute } from './refuse.ts'
import { type FixedResponse, type Redirect, redirectSchema, respondSchema } from './routing/answers.ts'
import { type FieldEditor, type HeaderRules, compileFields, headersSchema } from './routing/fields.ts'
import { type RequestLimits, limitsSchema } from './routing/limits.ts'
import { type RuleMatch, matchSchema, method } from './routing/match-options.ts'
import type { CompiledPaths } from './routing/path-match.ts'
import { type PathRewrite, type PathRewriter, compilePathRewrite, rewritePathSchema } from './routing/rewrite-path.ts'

export type { CompareOptions, MirrorOptions } from './mirror/options.ts'
export type { MaintenanceOptions } from './maintenance.ts'
export type { ErrorPage, ErrorPages, PageContext } from './pages/options.ts'
export type { FixedResponse, Redirect } from './routing/answers.ts'
export type { FieldRules, HeaderRules } from './routing/fields.ts'
export type { RequestLimits } from './routing/limits.ts'
export type { PatternText, RuleMatch, Wanted } from './routing/match-options.ts'
export type { PathRewrite } from './routing/rewrite-path.ts'

export interface RetryOptions {
  /** Attempts after the first, 0–10. With 1 or more, those that refuse the connection are passed over without counting, 32 at most. @default 2 */
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
  /**
   * Statuses of gRPC answers without any message that are tried again elsewhere, 1–16, whatever the method, as long as the body is kept.
   * @default [14] (UNAVAILABLE)
   */
  readonly grpcStatuses?: readonly number[]
  /** Bytes of a request body kept for a repetition, 0–67,108,864; longer bodies are sent once. @default 65536 */
  readonly bodyLimit?: number
}

/**
 * Names of an app's pools, for those who want them checked wherever one is named (`reply.forward('web')`,
 * `app.balancer.pool('web')`, routes): add them by declaration merging. As long as it is empty any string will do.
 *
 *     declare module '@headgate/balancer' {
 *       interface PoolNames { web: true; api: true }
 *     }
 */
export interface PoolNames {}

/** The name of a pool: one of {@link PoolNames}, or any string when there are none. */
export type PoolName = keyof PoolNames extends never ? string : Extract<keyof PoolNames, string>

/** A question to a request. As a method's type, so that options of core, which knows of no request, fit as well. */
type AskedOf<Answer> = { ask (request: FastifyRequest): Answer }['ask']

/** Options of a pool in a Fastify app: what looks at requests gets Fastify's. */
export interface BalancerPoolOptions extends Omit<PoolOptions, 'hashOn' | 'clientLocation'> {
  /** What the `hash` policy hashes: a named part of the request, or a function of it ('' and errors: the client's address). @default 'client-address' */
  readonly hashOn?: HashKey | AskedOf<string>
  /**
   * Where a request's client is, for the `nearest` policy: found in a database or in a trusted peer's header fields, or by a function. It
   * is asked at each pick, so let it be quick (a look into a table, never I/O). `undefined`, a place that is none, or an error: not
   * known. @default nobody's place is known
   */
  readonly clientLocation?: ClientLocationOptions | AskedOf<Location | undefined>
}

/**
 * One way out of a route: the first whose `match` holds is taken. It needs one of `pool`, `respond` and `redirect`. Options of
 * forwarding that it has of its own go before those of its route; its `rewritePrefix` replaces the prefix of its own `match.path`
 * where that is a `/prefix/*`.
 */
export interface Rule<P extends string = PoolName> extends ForwardOptions<P> {
  readonly match?: RuleMatch | ((request: FastifyRequest) => boolean)
  /** One pool, or pools with shares: `{ web: 95, canary: 5 }`. */
  readonly pool?: P | Readonly<Partial<Record<P, number>>>
  /** Taken in this order when nobody is ready in the pool before, or its queue is full or was waited in for too long. */
  readonly fallback?: readonly P[]
  /** What shares go by, so that a client stays in its part: a named part of the request, or a function of it; `random`: nothing. @default 'client-address' */
  readonly splitOn?: HashKey | 'random' | AskedOf<string>
  /** Name of the split, for changes at run time. @default the route's prefix, `#` and the rule's place: `/#0` */
  readonly name?: string
  /** Answer without an upstream. */
  readonly respond?: FixedResponse
  /** Send the client elsewhere. */
  readonly redirect?: Redirect
}

export interface ForwardOptions<P extends string = PoolName> {
  /** Replaces the route's prefix: `/api` with `/v1`; `/` strips it. @default unchanged */
  readonly rewritePrefix?: string
  /** Rewrite the path by pattern, after `rewritePrefix`; the query stays. @default unchanged */
  readonly rewritePath?: PathRewrite
  /** Send the client's `Host` instead of the upstream's. @default false */
  readonly preserveHost?: boolean
  /** Send this `Host`, a name with an optional port. @default the upstream's */
  readonly host?: string
  /** Change header fields of requests and responses. @default unchanged */
  readonly headers?: HeaderRules
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
  /** Milliseconds that an upgraded connection may be silent; 0: for ever. @default 3600000 */
  readonly tunnelTimeout?: number
  /** Milliseconds that a body waits for the upstream's `100 Continue` before it is sent all the same, 1–600,000. @default 1000 */
  readonly continueTimeout?: number
  /** Milliseconds for the whole request, its waiting and retries included; 0: none. @default 0 */
  readonly timeout?: number
  /** Bytes of a request body that are accepted; more is answered 413. @default unlimited */
  readonly bodyLimit?: number
  /** Copy requests to a shadow pool, whose answers nobody gets; `false`: not even where the route does. @default false */
  readonly mirror?: false | MirrorOptions<P>
  /** Pages for errors, by status (`'503'`) or class (`'5xx'`), for clients that take them by `Accept`. @default problem documents (RFC 9457) */
  readonly errorPages?: ErrorPages
  /** Answer with these pages instead of what upstreams say as well: `true`, for 5xx; or for these statuses, 400–599. @default false */
  readonly interceptErrors?: boolean | readonly number[]
  /** What may be tried again; `false`: nothing. */
  readonly retry?: false | RetryOptions
  /**
   * Go on with a response body that breaks off, from another upstream: for GET with a strong `ETag`, a known length and
   * `Accept-Ranges: bytes`; at most 3 times, out of the retry budget. @default true
   */
  readonly resume?: boolean
  /** Tell clients in `Server-Timing` how long each part took and, by its id, who answered (W3C Server Timing). @default false */
  readonly serverTiming?: boolean
  /** Keep in `request.decision` what each pick had to choose from; costs time in proportion to the pool's members. @default false */
  readonly explain?: boolean
  /** Name upstreams and causes in `Proxy-Status` and in problem documents. @default false */
  readonly exposeErrors?: boolean
}

export interface RouteOptions<P extends string = PoolName> extends ForwardOptions<P> {
  /** Path prefix, with a slash in front; `/` takes everything. */
  readonly prefix: string
  /** The pool; this or `rules`. */
  readonly pool?: P
  /** Fastify's `config` of the routes: what other plugins read of them (`rateLimit`, `sticky` …). @default {} */
  readonly config?: FastifyContextConfig
  /** What is refused before anything else of the route happens. @default nothing */
  readonly limits?: RequestLimits
  /** What it answers while it is closed for maintenance. @default the balancer's */
  readonly maintenance?: MaintenanceOptions
  /** Several pools by rules; the first that matches is taken. */
  readonly rules?: readonly Rule<P>[]
}

export interface BalancerOptions<P extends string = PoolName> {
  /** Pools by name: a list of upstreams, or all options. */
  readonly pools: Readonly<Partial<Record<P, readonly UpstreamSpec[] | BalancerPoolOptions>>>
  /** Prefixes to forward; their pools may also come from an earlier registration. Without any, use `reply.forward` in your own routes. @default [] */
  readonly routes?: readonly RouteOptions<NoInfer<P>>[]
  /** What routes answer while they are closed for maintenance: `app.balancer.maintenance.begin()` closes them. @default 503 */
  readonly maintenance?: MaintenanceOptions
  /** The proxy's name in `Via`, a token; one that comes back with it is answered 508. @default 'headgate-' and a random part */
  readonly viaName?: string
  /** Milliseconds that requests and tunnels may go on once the app closes, 0–86,400,000. @default 30000 */
  readonly closeTimeout?: number
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
  /** Where chance comes from. @default Math.random */
  readonly random?: Random
}

/**
 * Gives its argument back, with the pools' names inferred: a route, rule or fallback that names another one does not compile.
 * (`app.register` alone cannot infer them.)
 */
export function balancerOptions<const P extends string> (options: BalancerOptions<P>): BalancerOptions<P> {
  return options
}

/** The names of the pools in options, for {@link PoolNames}: `interface PoolNames extends Record<PoolNamesOf<typeof options>, true> {}`. */
export type PoolNamesOf<Options> = Options extends BalancerOptions<infer P> ? P : never

/** A route's settings, checked and complete. */
export interface RouteSettings {
  readonly prefix: string
  readonly rewritePrefix: string | undefined
  readonly rewritePath: PathRewriter | undefined
  readonly preserveHost: boolean
  readonly host: string | undefined
  readonly editRequest: FieldEditor | undefined
  readonly editResponse: FieldEditor | undefined
  readonly rewriteLocation: boolean
  readonly cookieDomain: string | undefined
  readonly cookiePath: string | undefined
  readonly rewritesCookies: boolean
  /** Anything of a response's head is changed. */
  readonly rewritesResponse: boolean
  readonly forwardedHeaders: boolean
  readonly viaName: string
  readonly headersTimeout: number
  readonly idleTimeout: number
  readonly tryTimeout: number
  readonly tunnelTimeout: number
  readonly continueTimeout: number
  readonly timeout: number
  readonly bodyLimit: number
  readonly mirror: Mirror | undefined
  readonly pages: Pages | undefined
  readonly intercepts: Intercepts | undefined
  readonly retries: number
  readonly retryStatuses: ReadonlySet<number>
  readonly retryMethods: ReadonlySet<string>
  readonly retryByKey: boolean
  readonly retryGrpc: ReadonlySet<number>
  readonly replayLimit: number
  readonly resume: boolean
  readonly serverTiming: boolean
  readonly explain: boolean
  readonly exposeErrors: boolean
}

const time = { type: 'number', minimum: 1, maximum: 86_400_000, unit: 'ms' satisfies OptionUnit }

/** Schemas of {@link ForwardOptions}, by name. */
export const forwardSchema: Record<keyof ForwardOptions, object> = {
  rewritePrefix: { type: 'string' },
  rewritePath: rewritePathSchema,
  preserveHost: { type: 'boolean' },
  host: { type: 'string', pattern: '^(?:[\\w.-]+|\\[[\\da-fA-F:.]+\\])(?::\\d{1,5})?$' },
  headers: headersSchema,
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
  mirror: mirrorSchema,
  errorPages: errorPagesSchema,
  interceptErrors: interceptSchema,
  resume: { type: 'boolean' },
  serverTiming: { type: 'boolean' },
  explain: { type: 'boolean' },
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
          methods: { type: 'array', items: method },
          idempotencyKey: { type: 'boolean' },
          grpcStatuses: { type: 'array', items: { type: 'integer', minimum: 1, maximum: 16 } },
          bodyLimit: { type: 'integer', minimum: 0, maximum: 67_108_864, unit: 'bytes' satisfies OptionUnit }
        } satisfies Record<keyof RetryOptions, object>
      }
    ]
  }
}

const forwardOptionsSchema = { type: 'object', additionalProperties: false, properties: forwardSchema }

const ruleSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...forwardSchema,
    match: { anyOf: [{ isFunction: true }, matchSchema] },
    pool: { anyOf: [{ type: 'string' }, { type: 'object', minProperties: 1, additionalProperties: { type: 'number', minimum: 0 } }] },
    fallback: { type: 'array', items: { type: 'string' } },
    splitOn: { anyOf: [{ isFunction: true }, { type: 'string', pattern: '^(random|client-address|path|url|(header|cookie):[!#$%&\'*+.^_`|~\\w-]+|query:.+)$' }] },
    name: { type: 'string', minLength: 1, maxLength: 128 },
    respond: respondSchema,
    redirect: redirectSchema
  } satisfies Record<keyof Rule, object>
}

const routeSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['prefix'],
  properties: {
    ...forwardSchema,
    prefix: { type: 'string' },
    pool: { type: 'string' },
    config: { type: 'object' },
    limits: limitsSchema,
    maintenance: maintenanceSchema,
    rules: { type: 'array', minItems: 1, items: ruleSchema }
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
    maintenance: maintenanceSchema,
    viaName: { type: 'string', pattern: "^[!#$%&'*+.^_`|~\\w-]+$" },
    closeTimeout: { ...time, minimum: 0 },
    clock: { type: 'object' },
    random: { isFunction: true }
  } satisfies Record<keyof BalancerOptions, object>
}

const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'QUERY', 'PROPFIND']

/** Checks the plugin's options, but for what pools and rules check themselves. */
export function checkBalancer (options: unknown): asserts options is BalancerOptions {
  checkOptions(balancerSchema, options, 'options')
  for (const [index, route] of ((options as BalancerOptions).routes ?? []).entries()) {
    const path = `options.routes[${index}]`
    if (!isPlainPath(route.prefix) || /[:*%]/.test(route.prefix)) {
      refuseRoute(`${path}.prefix`, "must be a plain path such as '/' or '/api': no pattern, query, encoding, dot segment or double slash", route.prefix)
    }
    checkRewrite(route, path)
    for (const [place, rule] of (route.rules ?? []).entries()) checkRewrite(rule, `${path}.rules[${place}]`)
  }
}

/** Checks options of `reply.forward`. */
export function checkForward (options: unknown, path: string): asserts options is ForwardOptions {
  checkOptions(forwardOptionsSchema, options, path)
  checkRewrite(options as ForwardOptions, path)
}

export function checkRewrite ({ rewritePrefix, host, preserveHost }: ForwardOptions, path: string): void {
  if (host !== undefined && preserveHost === true) refuseRoute(`${path}.host`, "must not be given beside 'preserveHost'", host)
  if (rewritePrefix === undefined || (isPlainPath(rewritePrefix) && /^[\x21-\x7e]+$/.test(rewritePrefix))) return
  refuseRoute(`${path}.rewritePrefix`, "must be a plain ASCII path such as '/' or '/v1': no query, dot segment or double slash", rewritePrefix)
}

/** Fills in a route's defaults. `path` names the options in errors; `paths`: what the rule they belong to says of paths. */
export function routeSettings (
  prefix: string, options: ForwardOptions, viaName: string, path: string, mirrors: MirrorMaker, paths?: CompiledPaths
): RouteSettings {
  const { headers = {}, rewritePath, rewriteLocation = false, cookieDomain, cookiePath } = options
  const rewritesCookies = cookieDomain !== undefined || cookiePath !== undefined
  const retry = options.retry === false ? { attempts: 0 } : options.retry ?? {}
  return Object.freeze({
    prefix,
    rewritePrefix: options.rewritePrefix?.replace(/(?<=.)\/$/, ''),
    rewritePath: rewritePath && compilePathRewrite(rewritePath, `${path}.rewritePath`),
    preserveHost: options.preserveHost ?? false,
    host: options.host,
    editRequest: headers.request && compileFields(headers.request, `${path}.headers.request`, true, paths),
    editResponse: headers.response && compileFields(headers.response, `${path}.headers.response`, false, paths),
    rewriteLocation,
    cookieDomain,
    cookiePath,
    rewritesCookies,
    rewritesResponse: rewriteLocation || rewritesCookies || headers.response !== undefined,
    forwardedHeaders: options.forwardedHeaders ?? true,
    viaName,
    headersTimeout: options.headersTimeout ?? 30_000,
    idleTimeout: options.idleTimeout ?? 60_000,
    tryTimeout: options.tryTimeout ?? 0,
    tunnelTimeout: options.tunnelTimeout ?? 3_600_000,
    continueTimeout: options.continueTimeout ?? 1000,
    timeout: options.timeout ?? 0,
    bodyLimit: options.bodyLimit ?? Infinity,
    mirror: options.mirror === undefined || options.mirror === false ? undefined : mirrors(options.mirror, `${path}.mirror`),
    pages: options.errorPages && new Pages(options.errorPages, `${path}.errorPages`),
    intercepts: compileIntercepts(options.interceptErrors),
    retries: retry.attempts ?? 2,
    retryStatuses: new Set(retry.statuses ?? (retry.attempts === 0 ? [] : [429, 502, 503, 504])),
    retryMethods: new Set(retry.methods ?? IDEMPOTENT),
    retryByKey: retry.idempotencyKey ?? false,
    retryGrpc: new Set(retry.grpcStatuses ?? (retry.attempts === 0 ? [] : [14])),
    replayLimit: retry.bodyLimit ?? 65_536,
    resume: options.resume ?? true,
    serverTiming: options.serverTiming ?? false,
    explain: options.explain ?? false,
    exposeErrors: options.exposeErrors ?? false
  })
}
