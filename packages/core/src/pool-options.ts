import { isIP } from 'node:net'
import type { SchemaObject } from 'ajv'
import type { AffinityHint } from './affinity.ts'
import type { Discovery } from './discovery/contract.ts'
import { type DiscoveryOptions, type DiscoverySettings, discoveryUnits, parseDiscovery } from './discovery/index.ts'
import { DuplicateUpstreamError } from './errors.ts'
import { checkOptions, type OptionUnit, refuse } from './options.ts'
import { configurable, type HashOptions, type NearestOptions, policies, type PolicyName } from './policies/index.ts'
import { locationSchema } from './policies/nearest.ts'
import type { Location, PickContext, Policy } from './policies/contract.ts'
import type { RetryBudgetOptions } from './retry-budget.ts'
import { idOf, type ParseTarget, parseTarget, type Target } from './target.ts'
import type { TransportOptions } from './transport/contract.ts'
import { type Http2Options, type Protocol, protocols } from './transport/http2/options.ts'
import type { InjectableApp } from './transport/index.ts'
import type { UpstreamSettings } from './upstream.ts'
import { upstreamTls } from './upstream-tls.ts'
import { rateShareOf, shareOf } from './share.ts'

/** One member of a pool, in full. */
export interface UpstreamOptions {
  /** Origin: `http://host:port`, `https://host`, `unix:/path`. This or `app` is required. */
  readonly url?: string
  /** An in-process Fastify app, reached through `inject` without a socket. */
  readonly app?: InjectableApp
  /** Opaque name, stable over restarts; what a sticky cookie stands for. @default derived from the address */
  readonly id?: string
  /** Share relative to the others, 0–65,535, fractions allowed; 0: no new work. @default 1 */
  readonly weight?: number
  /**
   * `name` or `name:port` that requests carry as `Host` and that certificates are checked for, where `url` holds an address.
   * @default that of `url`
   */
  readonly host?: string
  /** IP addresses behind the name in `url`, of both families: raced at each connection (RFC 8305) instead of asking the system. */
  readonly addresses?: readonly string[]
  /** Name of the zone (data centre, rack) that it is in. */
  readonly zone?: string
  /** Where it is, in degrees. */
  readonly location?: Location
  /** Used only when no upstream of a lower priority is ready: short for `priority: 1`. @default false */
  readonly backup?: boolean
  /** Tier, 0–255: the lowest with somebody ready is used. @default 0 */
  readonly priority?: number
  /** Attempts at once, ≥ 1. @default the pool's `maxInFlightPerUpstream` */
  readonly maxInFlight?: number
  /** What is spoken to it: `h1`, `h2` (`https:` only), `h2c` (`http:` and `unix:` only), `auto`. @default the pool's `protocol` */
  readonly protocol?: Protocol
}

/** A member as users write it: an address, an address with parameters (`http://a:1;weight=3;backup`), or all options. */
export type UpstreamSpec = string | UpstreamOptions

export interface QueueOptions {
  /** Requests that may wait for a free upstream, 0–1,000,000; 0: none waits. @default 1024 */
  readonly limit?: number
  /** Milliseconds that a request waits at most, 1–600,000. @default 1000 */
  readonly timeout?: number
}

/** What requests are hashed on by the `hash` policy. */
export type HashKey = 'client-address' | 'path' | 'url' | `header:${string}` | `cookie:${string}` | `query:${string}`

export interface PoolOptions {
  /** Each address once; at least one, unless there is a `discovery`. @default [] with a `discovery` */
  readonly upstreams?: readonly UpstreamSpec[]
  /** Where more members come from, and go to: `{ type: 'dns', … }`, or an object of your own. @default none */
  readonly discovery?: DiscoveryOptions | Discovery
  /** How to choose among the ready ones: a built-in's name, or your own. @default 'adaptive' */
  readonly policy?: PolicyName | Policy
  /** Options of a built-in `policy`: `boundedLoad` for `hash` and `ip-hash`; `zone`, `location`, `policy`, `spillOver` for `nearest`. */
  readonly policyOptions?: HashOptions | NearestOptions
  /** What the `hash` policy hashes: a named part of the request, or a function of it. @default 'client-address' */
  readonly hashOn?: HashKey | ((request: never) => string)
  /**
   * Where a request's client is, for the `nearest` policy: asked at each pick, so let it be quick (a look into a table, never I/O).
   * `undefined`, a place that is none, or an error: not known. @default nobody's place is known
   */
  readonly clientLocation?: (request: never) => Location | undefined
  /** Attempts at once in the whole pool, ≥ 1. @default unlimited */
  readonly maxInFlight?: number
  /** Attempts at once for each upstream that names none itself, ≥ 1. @default unlimited */
  readonly maxInFlightPerUpstream?: number
  readonly queue?: QueueOptions
  readonly retryBudget?: RetryBudgetOptions
  /** Under this share of members left by passive ejection alone, ejections are overridden; 0 (never) – 1. @default 0.5 */
  readonly panicThreshold?: number
  /** With nobody ready: answer 503 at once, or try one that is down all the same. @default 'fail' */
  readonly whenAllDown?: 'fail' | 'try-any'
  /** Milliseconds in which an added or re-admitted upstream grows from 10 % to its whole weight, 0 (off) – 3,600,000. @default 10000 */
  readonly slowStart?: number
  /** Milliseconds that a removed upstream may finish its work before it is cut off. @default 30000 */
  readonly drainTimeout?: number
  /** What is spoken to upstreams that name nothing themselves: HTTP/1.1, HTTP/2, or over TLS whatever they choose. @default 'h1' */
  readonly protocol?: Protocol
  /** Settings of the client that speaks to the upstreams: `connectTimeout`, `keepAliveTimeout`, `tls` … */
  readonly connection?: TransportOptions
}

const number = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum })
const integer = (minimum: number, maximum: number): object => ({ type: 'integer', minimum, maximum })
const time = (minimum: number, maximum: number): object => ({ ...number(minimum, maximum), unit: 'ms' satisfies OptionUnit })
const size = (minimum: number, maximum: number): object => ({ ...integer(minimum, maximum), unit: 'bytes' satisfies OptionUnit })
const object = (properties: object, required: string[] = []): object => ({ type: 'object', additionalProperties: false, properties, required })

const upstreamSchema = object({
  url: { type: 'string', minLength: 1 },
  app: { type: 'object', required: ['inject'] },
  id: { type: 'string', pattern: '^[A-Za-z0-9._~-]{1,128}$' },
  weight: number(0, 65_535),
  host: { type: 'string', pattern: '^([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\])(:\\d{1,5})?$' },
  addresses: { type: 'array', minItems: 1, items: { type: 'string' } },
  zone: { type: 'string', minLength: 1 },
  location: locationSchema,
  backup: { type: 'boolean' },
  priority: integer(0, 255),
  maxInFlight: integer(1, 1e9),
  protocol: { type: 'string', enum: protocols }
} satisfies Record<keyof UpstreamOptions, object>)

const connectionSchema = object({
  connectTimeout: time(1, 600_000),
  keepAliveTimeout: time(0, 3_600_000),
  freshFor: time(0, 3_600_000),
  maxIdle: integer(0, 65_535),
  maxRequestsPerConnection: integer(1, 1e9),
  maxConnectionAge: time(1, 1e9),
  maxHeadSize: size(1024, 16_777_216),
  transferCodings: { type: 'string', enum: ['chunked', 'unknown'] },
  readBufferSize: size(4096, 16_777_216),
  tls: { type: 'object' },
  http2: object({
    maxConnections: integer(1, 1024),
    maxStreams: integer(1, 1_000_000),
    windowSize: size(65_535, 1_073_741_824),
    pingInterval: time(0, 3_600_000),
    pingTimeout: time(1, 600_000)
  } satisfies Record<keyof Http2Options, object>)
} satisfies Record<keyof TransportOptions, object>)

/** JSON Schema of {@link PoolOptions}, for those who check whole configurations. */
export const poolSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  properties: {
    upstreams: { type: 'array', items: { type: ['string', 'object'] } },
    discovery: { type: 'object', properties: discoveryUnits },
    policy: { type: ['string', 'object'] },
    policyOptions: { type: 'object' },
    hashOn: {},
    clientLocation: { isFunction: true },
    maxInFlight: integer(1, 1e9),
    maxInFlightPerUpstream: integer(1, 1e9),
    queue: object({ limit: integer(0, 1_000_000), timeout: time(1, 600_000) } satisfies Record<keyof QueueOptions, object>),
    retryBudget: object({ ratio: number(0, 10), perSecond: number(0, 100_000) } satisfies Record<keyof RetryBudgetOptions, object>),
    panicThreshold: number(0, 1),
    whenAllDown: { type: 'string', enum: ['fail', 'try-any'] },
    slowStart: time(0, 3_600_000),
    drainTimeout: time(0, 86_400_000),
    protocol: { type: 'string', enum: protocols },
    connection: connectionSchema
  } satisfies Record<keyof PoolOptions, object>
}

const HASH_KEY = /^(client-address|path|url|header:[!#$%&'*+.^_`|~\w-]+|cookie:[!#$%&'*+.^_`|~\w-]+|query:.+)$/

const PARAMETERS = ';weight=N ;backup ;priority=N ;zone=NAME ;location=LATITUDE,LONGITUDE ;id=NAME ;maxInFlight=N ;protocol=h1|h2|h2c|auto, each once'

/** `http://host:1;weight=3;backup;zone=a` as options. */
function parseSpec (text: string, path: string): UpstreamOptions {
  const [url = '', ...parameters] = text.split(';')
  const options: Record<string, unknown> = { url: url.trim() }
  for (const parameter of parameters) {
    const at = parameter.indexOf('=')
    const name = (at === -1 ? parameter : parameter.slice(0, at)).trim()
    const value = at === -1 ? undefined : parameter.slice(at + 1).trim()
    if (name === 'url' || Object.hasOwn(options, name)) refuse(path, `parameters are ${PARAMETERS}`, text)
    if (name === 'backup' && value === undefined) options['backup'] = true
    else if (name === 'weight' || name === 'priority' || name === 'maxInFlight') {
      if (value === undefined || !/^\d+(\.\d+)?$/.test(value)) refuse(`${path};${name}`, 'must be a number, 0 or more', value)
      options[name] = Number(value)
    } else if (name === 'location') {
      const [, latitude, longitude] = /^(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)$/.exec(value ?? '') ?? []
      if (latitude === undefined) refuse(`${path};location`, 'must be LATITUDE,LONGITUDE in degrees, such as 48.9,2.4', value)
      options['location'] = { latitude: Number(latitude), longitude: Number(longitude) }
    } else if ((name === 'zone' || name === 'id' || name === 'protocol') && value !== undefined) options[name] = value
    else refuse(path, `parameters are ${PARAMETERS}`, text)
  }
  return options
}

/** A checked member: its settings, and the app for an in-process one. */
export interface ParsedUpstream {
  readonly settings: UpstreamSettings
  readonly app: InjectableApp | undefined
}

/** What members take from their pool. */
export interface UpstreamDefaults {
  readonly maxInFlightPerUpstream: number
  /** @default 'h1' */
  readonly protocol?: Protocol
}

/** The protocol has to fit the address: HTTP/2 with TLS and without are two. */
function checkProtocol (protocol: Protocol, target: Target, path: string): Protocol {
  if (protocol === 'h2' && target.protocol !== 'https:' && target.protocol !== 'app:') refuse(path, "must be 'h2c', 'h1' or 'auto' for an upstream without TLS", protocol)
  if (protocol === 'h2c' && target.protocol === 'https:') refuse(path, "must be 'h2', 'h1' or 'auto' for an https: upstream", protocol)
  return protocol
}

/** Checks one member. `parse` reads its address, HTTP origins unless given. Throws `HG_POOL_INVALID_OPTION` with `path`. */
export function parseUpstream (
  spec: UpstreamSpec, path: string, defaults: UpstreamDefaults, parse: ParseTarget = parseTarget
): ParsedUpstream {
  const options = typeof spec === 'string' ? parseSpec(spec, path) : spec
  checkOptions(upstreamSchema, options, path)
  const { url, app } = options
  if ((url === undefined) === (app === undefined)) refuse(path, "needs either 'url' or 'app'", options)
  if (app !== undefined && options.id === undefined) refuse(`${path}.id`, 'is required for an in-process app, which has no address to name it by', undefined)
  if (options.backup === true && options.priority === 0) refuse(`${path}.priority`, 'must be above 0 for a backup', 0)
  const plain: Target = url === undefined
    ? { protocol: 'app:', hostname: 'localhost', port: 0, socketPath: undefined, host: 'localhost', href: `app:${options.id!}`, serverName: 'localhost', addresses: undefined }
    : parse(url, typeof spec === 'string' ? path : `${path}.url`)
  const target = options.host === undefined && options.addresses === undefined ? plain : withNames(plain, options, path)
  return {
    app,
    settings: {
      id: options.id ?? idOf(target.href),
      target,
      weight: options.weight ?? 1,
      zone: options.zone,
      location: options.location,
      priority: options.priority ?? (options.backup === true ? 1 : 0),
      maxInFlight: shareOf(options.maxInFlight ?? defaults.maxInFlightPerUpstream, `${path}.maxInFlight`),
      protocol: checkProtocol(options.protocol ?? defaults.protocol ?? 'h1', target, `${path}.protocol`)
    }
  }
}

/** A target that goes by another name, or of whose name the addresses are known. */
function withNames (target: Target, { host, addresses }: UpstreamOptions, path: string): Target {
  const wrong = addresses?.find((address) => isIP(address) === 0)
  if (wrong !== undefined) refuse(`${path}.addresses`, 'must be IP addresses', wrong)
  const name = host?.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  return {
    ...target,
    ...host !== undefined && { host, serverName: isIP(name!) === 0 ? name! : '' },
    ...addresses !== undefined && { addresses }
  }
}

/** Checks a list of members, duplicates included. */
export function parseUpstreams (
  specs: readonly UpstreamSpec[], path: string, defaults: UpstreamDefaults, parse: ParseTarget = parseTarget
): ParsedUpstream[] {
  const seen = new Map<string, number>()
  return specs.map((spec, index) => {
    const parsed = parseUpstream(spec, `${path}[${index}]`, defaults, parse)
    for (const name of [parsed.settings.target.href, `id ${parsed.settings.id}`]) {
      const first = seen.get(name)
      if (first !== undefined) throw new DuplicateUpstreamError(`${path}[${index}]`, name, `${path}[${first}]`)
      seen.set(name, index)
    }
    return parsed
  })
}

/** A pool's settings with every default filled in. */
export interface PoolSettings {
  readonly policy: Policy
  readonly hashOn: PoolOptions['hashOn']
  readonly clientLocation: PoolOptions['clientLocation']
  readonly maxInFlight: number
  readonly maxInFlightPerUpstream: number
  readonly queueLimit: number
  readonly queueTimeout: number
  readonly retryBudget: RetryBudgetOptions
  readonly panicThreshold: number
  readonly whenAllDown: 'fail' | 'try-any'
  readonly slowStart: number
  readonly drainTimeout: number
  readonly protocol: Protocol
  readonly connection: TransportOptions
  readonly discovery: DiscoverySettings | undefined
}

/** A built-in policy with options of its own. */
function configured (name: PolicyName, options: object, path: string): Policy {
  const known = configurable[name]
  if (known === undefined) return refuse(path, `must not be given: only ${Object.keys(configurable).join(', ')} take options, not ${name}`, options)
  checkOptions(object(known.properties), options, path)
  return known.make(options as never)
}

/** Checks everything of a pool but its members. */
export function parsePool (options: PoolOptions, path: string): PoolSettings {
  checkOptions(poolSchema, options, path)
  const { policy = 'adaptive', hashOn = 'client-address' } = options
  if (typeof policy === 'string' && !Object.hasOwn(policies, policy)) refuse(`${path}.policy`, `must be one of ${Object.keys(policies).join(', ')}, or a Policy object`, policy)
  if (typeof policy === 'object' && typeof policy.create !== 'function') refuse(`${path}.policy`, 'must be a policy name or an object with name and create()', policy)
  if (typeof hashOn !== 'function' && !(typeof hashOn === 'string' && HASH_KEY.test(hashOn))) {
    refuse(`${path}.hashOn`, "must be 'client-address', 'path', 'url', 'header:NAME', 'cookie:NAME', 'query:NAME' or a function", hashOn)
  }
  if (typeof policy === 'object' && options.policyOptions !== undefined) refuse(`${path}.policyOptions`, 'must not be given with a policy of your own', options.policyOptions)
  return Object.freeze({
    policy: typeof policy === 'object' ? policy : options.policyOptions === undefined ? policies[policy] : configured(policy, options.policyOptions, `${path}.policyOptions`),
    hashOn,
    clientLocation: options.clientLocation,
    maxInFlight: shareOf(options.maxInFlight ?? Infinity, `${path}.maxInFlight`),
    maxInFlightPerUpstream: options.maxInFlightPerUpstream ?? Infinity,
    queueLimit: shareOf(options.queue?.limit ?? 1024, `${path}.queue.limit`),
    queueTimeout: options.queue?.timeout ?? 1000,
    retryBudget: { ...options.retryBudget, perSecond: rateShareOf(options.retryBudget?.perSecond ?? 10) },
    panicThreshold: options.panicThreshold ?? 0.5,
    whenAllDown: options.whenAllDown ?? 'fail',
    slowStart: options.slowStart ?? 10_000,
    drainTimeout: options.drainTimeout ?? 30_000,
    protocol: options.protocol ?? 'h1',
    connection: options.connection?.tls === undefined
      ? options.connection ?? {}
      : { ...options.connection, tls: upstreamTls(options.connection.tls, `${path}.connection.tls`) },
    discovery: options.discovery === undefined ? undefined : parseDiscovery(options.discovery, `${path}.discovery`)
  })
}

/** What {@link Pool.pick} reads of a request, beside what the policy reads. */
export interface PoolContext extends PickContext {
  readonly affinity: AffinityHint | undefined
  /** Attempts before this one. */
  readonly attempts: number
  /** May be sent again without harm: such requests are preferred for trials of ejected upstreams. */
  readonly repeatable: boolean
  /** Was already tried for this request. */
  hasTried (upstream: { readonly id: string }): boolean
}
