import type { FastifyReply, FastifyRequest } from 'fastify'
import { checkOptions, refuse } from './check-options.ts'
import type { CacheClock } from './clock.ts'
import type { StoragePolicy } from './entry.ts'
import { type KeySettings, nameTest, trackingParameters } from './keys.ts'
import type { SetCookiePolicy } from './semantics/storability.ts'
import { evictions } from './store/bounded.ts'
import type { CacheSharing } from './sharing.ts'
import type { CacheStore } from './store/contract.ts'
import type { DiskStoreOptions } from './store/disk.ts'
import type { MemoryStoreOptions } from './store/memory.ts'

export interface KeyOptions {
  /** Sort query parameters by name; those of one name stay in their order. @default false */
  readonly sortQuery?: boolean
  /** Parameters to drop, from the key and from what the origin gets; `utm_*` stands for a prefix, `true` for the known tracking parameters. @default false */
  readonly dropQuery?: boolean | readonly string[]
  /** Request fields that are part of the key. @default [] */
  readonly headers?: readonly string[]
  /** Cookies that are part of the key. @default [] */
  readonly cookies?: readonly string[]
  /** Whatever else tells answers apart; added to the URL. */
  readonly custom?: (request: FastifyRequest) => string
}

/** Options of one route (`config.cache`), or of all. `config.cache: false` leaves a route alone. */
export interface RouteCacheOptions {
  /** Methods that may be answered from the cache; QUERY and POST are keyed by their bodies. @default ['GET', 'HEAD', 'QUERY'] */
  readonly methods?: readonly ('GET' | 'HEAD' | 'QUERY' | 'POST')[]
  /**
   * Lifetime in milliseconds, 0–31,536,000,000, where the response gives none: by status ('404') or class ('5xx'), or one number for the
   * statuses that may be cached without being told (200, 203, 204, 300, 301, 308, 404, 405, 410, 414 and 501). @default none
   */
  readonly ttl?: number | Readonly<Record<string, number>>
  /** `ttl` wins over what the response says (never over no-store, private or no-cache). @default false */
  readonly ttlOverrides?: boolean
  /** Share of the time since Last-Modified that a response without a lifetime stays fresh, 0–1; 0: none. @default 0.1 */
  readonly heuristic?: number
  /** Most that the share gives, in milliseconds. @default 86400000 (a day) */
  readonly heuristicMax?: number
  /** Only these statuses are stored. @default all that may be */
  readonly statuses?: readonly number[]
  /** `true` for a request that goes past the cache. */
  readonly bypass?: (request: FastifyRequest) => boolean
  /** Requests with one of these cookies go past the cache. @default [] */
  readonly privateCookies?: readonly string[]
  /** Responses are stored from this request for the same key on, 1–1000. @default 1 */
  readonly minUses?: number
  /** Milliseconds after its lifetime in which a response is used while it is fetched again; what the response says wins. @default 0 */
  readonly staleWhileRevalidate?: number
  /** Milliseconds after its lifetime in which a response stands in for an origin that fails; what the response says wins. @default 0 */
  readonly staleIfError?: number
  /** A stale response is used when the origin takes longer than this: milliseconds, or `'p95'` of its own recent answers. @default false */
  readonly staleWhileSlow?: false | number | 'p95'
  /** Milliseconds after its lifetime in which `staleWhileSlow` may use a response. @default 86400000 (a day) */
  readonly staleWhileSlowMax?: number
  /**
   * What to do with responses that set cookies. `explicit`: stored, cookies and all, with `public` or `s-maxage` only, and without the cookies
   * where `private` or `no-cache` names `Set-Cookie`; `store`: stored like any other (RFC 9111 7.3 allows it; one client's cookie may reach
   * another); `strip`: stored without them; `refuse`: never stored. @default 'explicit'
   */
  readonly setCookie?: SetCookiePolicy
  /** Targeted fields that come before Cache-Control (RFC 9213), the first valid one counts. @default ['cdn-cache-control'] */
  readonly targets?: readonly string[]
  /**
   * Send `103 Early Hints` with the preload, modulepreload and preconnect links of a stored response while it is fetched anew: to
   * HTTP/2 clients, and to browsers that navigate. @default false
   */
  readonly earlyHints?: boolean
  /** Follow the Cache-Control of requests (RFC 9111 5.2.1, RFC 5861 4). @default true */
  readonly requestDirectives?: boolean
  readonly key?: KeyOptions
  /** Milliseconds that requests wait for another's response of the same key, 1–600,000; `false`: each fetches for itself. @default 5000 */
  readonly collapse?: number | false
  /** Milliseconds for which requests of a key are not collapsed after its response could not be shared, 0–3,600,000. @default 2000 */
  readonly hitForMiss?: number
  /** Longest request body that can be part of a key, 1–16,777,216 bytes. @default 65536 */
  readonly maxRequestBody?: number
}

export interface PurgeRouteOptions {
  /** Decides over purge requests before anything else: throws, or replies (401, 403), to refuse. May be async. */
  readonly guard: (request: FastifyRequest, reply: FastifyReply) => unknown
  /** Where a POST with `{ urls, prefixes, tags, all, soft }` purges. @default '/_cache/purge' */
  readonly path?: string
  /** Answer `PURGE /some/path` too. @default true */
  readonly method?: boolean
}

export interface CacheOptions extends RouteCacheOptions {
  /** Memory for responses; with `disk`, for the bodies that are in use. Not together with `store`. */
  readonly memory?: MemoryStoreOptions
  /** A folder for responses, which survive restarts there. Not together with `store`. @default none */
  readonly disk?: DiskStoreOptions
  /** A store of your own. @default 64 MiB of memory */
  readonly store?: CacheStore
  /** Our name in Cache-Status (RFC 9211): a token. @default 'headgate' */
  readonly name?: string
  /** Fetches in the background at one time, 0–10,000. @default 64 */
  readonly backgroundMax?: number
  /** Routes that purge; none without it. */
  readonly purge?: PurgeRouteOptions
  /**
   * The other processes of the machine, such as `colleagues` of a worker of `@headgate/workers`: purges and invalidations reach them all, and
   * they share `disk`. A `store` that tells its purges by itself needs none. @default this process is alone
   */
  readonly sharing?: CacheSharing
  /** Where time comes from, for tests. */
  readonly clock?: CacheClock
  /** Where chance comes from (names of stored responses), for tests: a number of at least 0 and less than 1. @default Math.random */
  readonly random?: () => number
}

const LONG = 31_536_000_000
const HEURISTIC_STATUSES = ['200', '203', '204', '300', '301', '308', '404', '405', '410', '414', '501']
const NAMES = { type: 'array', items: { type: 'string', minLength: 1 } }
const TOKEN = "^[!#$%&'*+.^_`|~\\w-]+$"
const TTL = { type: 'number', minimum: 0, maximum: LONG, unit: 'ms' }

const keySchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    sortQuery: { type: 'boolean' },
    dropQuery: { anyOf: [{ type: 'boolean' }, NAMES] },
    headers: { type: 'array', items: { type: 'string', pattern: TOKEN } },
    cookies: NAMES,
    custom: { isFunction: true }
  } satisfies Record<keyof KeyOptions, object>
}

const routeProperties = {
  methods: { type: 'array', items: { enum: ['GET', 'HEAD', 'QUERY', 'POST'] } },
  ttl: { anyOf: [TTL, { type: 'object', propertyNames: { pattern: '^([2-5]\\d\\d|[2-5]xx)$' }, additionalProperties: TTL }] },
  ttlOverrides: { type: 'boolean' },
  heuristic: { type: 'number', minimum: 0, maximum: 1 },
  heuristicMax: TTL,
  statuses: { type: 'array', items: { type: 'integer', minimum: 200, maximum: 599 } },
  bypass: { isFunction: true },
  privateCookies: NAMES,
  minUses: { type: 'integer', minimum: 1, maximum: 1000 },
  staleWhileRevalidate: TTL,
  staleIfError: TTL,
  staleWhileSlow: { anyOf: [{ const: false }, { type: 'number', minimum: 1, maximum: 600_000, unit: 'ms' }, { const: 'p95' }] },
  staleWhileSlowMax: TTL,
  setCookie: { enum: ['explicit', 'store', 'strip', 'refuse'] },
  targets: { type: 'array', items: { type: 'string', pattern: TOKEN } },
  earlyHints: { type: 'boolean' },
  requestDirectives: { type: 'boolean' },
  key: keySchema,
  collapse: { anyOf: [{ const: false }, { type: 'number', minimum: 1, maximum: 600_000, unit: 'ms' }] },
  hitForMiss: { type: 'number', minimum: 0, maximum: 3_600_000, unit: 'ms' },
  maxRequestBody: { type: 'integer', minimum: 1, maximum: 16_777_216, unit: 'bytes' }
} satisfies Record<keyof RouteCacheOptions, object>

const routeSchema = { type: 'object', additionalProperties: false, properties: routeProperties }

const purgeSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['guard'],
  properties: {
    guard: { isFunction: true },
    path: { type: 'string', pattern: '^/' },
    method: { type: 'boolean' }
  } satisfies Record<keyof PurgeRouteOptions, object>
}

const EVICTION = { enum: Object.keys(evictions) }
const BYTES = { type: 'integer', minimum: 1, unit: 'bytes' }

const memorySchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    maxBytes: { ...BYTES, minimum: 65_536 },
    maxEntries: { type: 'integer', minimum: 1 },
    maxEntryBytes: BYTES,
    eviction: EVICTION
  } satisfies Record<keyof MemoryStoreOptions, object>
}

const diskSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['path'],
  properties: {
    path: { type: 'string', minLength: 1 },
    maxBytes: { ...BYTES, minimum: 1_048_576 },
    maxEntries: { type: 'integer', minimum: 1 },
    maxEntryBytes: BYTES,
    eviction: EVICTION
  } satisfies Record<keyof DiskStoreOptions, object>
}

/** Of the plugin's options; `unit` says what their numbers are. */
export const cacheSchema: { readonly type: 'object'; readonly [keyword: string]: unknown } = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...routeProperties,
    memory: memorySchema,
    disk: diskSchema,
    store: { type: 'object' },
    name: { type: 'string', pattern: '^[A-Za-z*][A-Za-z0-9!#$%&\'*+.^_`|~:/-]*$' },
    backgroundMax: { type: 'integer', minimum: 0, maximum: 10_000 },
    purge: purgeSchema,
    sharing: { type: 'object', required: ['on', 'tell', 'ask', 'gather'] },
    clock: { type: 'object' },
    random: { isFunction: true }
  } satisfies Record<keyof CacheOptions, object>
}

/** A route's options, filled in once. */
export interface RouteSettings {
  readonly bodyless: boolean
  readonly head: boolean
  /** Methods that are keyed by their body. */
  readonly bodyMethods: ReadonlySet<string>
  readonly storage: StoragePolicy
  readonly statuses: ReadonlySet<number> | undefined
  readonly bypass: ((request: FastifyRequest) => boolean) | undefined
  readonly privateCookies: readonly string[]
  readonly minUses: number
  readonly staleIfError: number
  readonly staleWhileSlow: false | number | 'p95'
  readonly staleWhileSlowMax: number
  readonly earlyHints: boolean
  readonly requestDirectives: boolean
  readonly key: KeySettings
  readonly collapse: number
  readonly hitForMiss: number
  readonly maxRequestBody: number
}

function compileTtl (ttl: RouteCacheOptions['ttl']): StoragePolicy['ttl'] {
  if (ttl === undefined) return () => undefined
  const table: Readonly<Record<string, number>> = typeof ttl === 'number' ? Object.fromEntries(HEURISTIC_STATUSES.map((status) => [status, ttl])) : ttl
  return (status) => table[status] ?? table[`${Math.floor(status / 100)}xx`]
}

/** Throws {@link CacheOptionError}. */
export function checkCache (options: unknown): void {
  checkOptions(cacheSchema, options, 'options')
  const { store, memory, disk } = options as CacheOptions
  if (store !== undefined && (memory !== undefined || disk !== undefined)) refuse('options.store', 'takes the place of memory and disk: give one or the other', store)
  for (const method of ['get', 'getUrl', 'touch', 'create', 'update', 'delete', 'read', 'entries', 'close'] as const) {
    if (store !== undefined && typeof store[method] !== 'function') refuse(`options.store.${method}`, 'must be a function', store[method])
  }
}

/** Checks a route's own options; `path` is where they stand. Throws {@link CacheOptionError}. */
export function checkRoute (options: unknown, path: string): void {
  checkOptions(routeSchema, options, path)
}

/** Fills in the defaults of options that were checked. */
export function routeSettings (options: RouteCacheOptions): RouteSettings {
  const methods = options.methods ?? ['GET', 'HEAD', 'QUERY']
  const key = options.key ?? {}
  const dropped = key.dropQuery === true ? trackingParameters : key.dropQuery === undefined || key.dropQuery === false ? [] : key.dropQuery
  return Object.freeze({
    bodyless: methods.includes('GET'),
    head: methods.includes('HEAD'),
    bodyMethods: new Set(methods.filter((method) => method === 'QUERY' || method === 'POST')),
    storage: {
      targets: (options.targets ?? ['cdn-cache-control']).map((name) => name.toLowerCase()),
      heuristic: { fraction: options.heuristic ?? 0.1, max: options.heuristicMax ?? 86_400_000 },
      setCookie: options.setCookie ?? 'explicit',
      ttl: compileTtl(options.ttl),
      ttlOverrides: options.ttlOverrides ?? false,
      staleWhileRevalidate: options.staleWhileRevalidate ?? 0
    },
    statuses: options.statuses === undefined ? undefined : new Set(options.statuses),
    bypass: options.bypass,
    privateCookies: options.privateCookies ?? [],
    minUses: options.minUses ?? 1,
    staleIfError: options.staleIfError ?? 0,
    staleWhileSlow: options.staleWhileSlow ?? false,
    staleWhileSlowMax: options.staleWhileSlowMax ?? 86_400_000,
    earlyHints: options.earlyHints ?? false,
    requestDirectives: options.requestDirectives ?? true,
    key: {
      sortQuery: key.sortQuery ?? false,
      drop: nameTest(dropped),
      headers: (key.headers ?? []).map((name) => name.toLowerCase()),
      cookies: key.cookies ?? [],
      custom: key.custom
    },
    collapse: options.collapse === false ? 0 : options.collapse ?? 5000,
    hitForMiss: options.hitForMiss ?? 2000,
    maxRequestBody: options.maxRequestBody ?? 65_536
  })
}
