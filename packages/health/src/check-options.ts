import { type OptionUnit, parseTarget, type Target, type Upstream } from '@headgate/core'
import type { ConnectionOptions } from 'node:tls'
import type { Probe } from './probes/contract.ts'
import { type CheckFunction, type ProbeOptions, probes, type ProbeType } from './probes/index.ts'
import { checkShape, refuse } from './refuse.ts'

/** When to check, and what follows from the results. Times in milliseconds. */
export interface CheckTiming {
  /** From the start of one check to the next while all is well, ± `jitter`; 20–86,400,000. @default 5000 */
  readonly interval?: number
  /** That one check may take, 1–3,600,000; one that takes longer than the interval puts the next one off. @default 2000 */
  readonly timeout?: number
  /** Passed checks in a row that bring an upstream up, 1–1000. @default 2 */
  readonly rise?: number
  /** Failed checks in a row that take it down, 1–1000. @default 3 */
  readonly fall?: number
  /** Between checks while the last results differ from the verdict. @default 1000, or the interval where that is shorter */
  readonly transitionInterval?: number
  /** Between checks of an upstream that is down. @default 2000, or the interval where that is shorter */
  readonly downInterval?: number
  /** Share by which each interval is longer or shorter, 0–0.5. @default 0.1 */
  readonly jitter?: number
  /** Real successes postpone checks of a busy upstream, but never by more than this since the last check. @default 6 × interval */
  readonly postponeMax?: number
  /** A pool without a request for so long is idle. @default 300000 */
  readonly idleAfter?: number
  /** Between checks in an idle pool. @default 30000, or the interval where that is longer */
  readonly idleInterval?: number
  /** Before the first results: `up`; `down` until `rise` checks have passed; `wait`: down until the first one has. @default 'up' */
  readonly initial?: 'up' | 'down' | 'wait'
  /** An upstream that was down for so long without a break is removed from its pool, while others are ready; 0: never. @default 0 */
  readonly removeAfter?: number
  /** The port to check. @default the upstream's own */
  readonly port?: number
  /** What to check instead of the upstream's own address; `{host}`, `{port}` and `{id}` are the upstream's. Or a function of it. */
  readonly url?: string | ((upstream: Upstream) => string)
  /** TLS settings on top of the pool's own: what `tls.connect` takes. */
  readonly tls?: ConnectionOptions
}

export type CheckOptions = CheckTiming & ProbeOptions

/** Asking an agent beside the upstream, by HAProxy's agent-check protocol. */
export interface AgentOptions {
  /** 1–65535. */
  readonly port: number
  /** @default the upstream's own */
  readonly host?: string
  /** Text sent after the connection is open. @default nothing */
  readonly send?: string
  /** Milliseconds, 20–86,400,000. @default 5000 */
  readonly interval?: number
  /** Milliseconds, 1–3,600,000. @default 2000 */
  readonly timeout?: number
}

export interface AgentSettings {
  readonly port: number
  readonly host: string | undefined
  readonly send: string | undefined
  readonly interval: number
  readonly timeout: number
  readonly jitter: number
}

export interface CheckSettings extends Required<Omit<CheckTiming, 'port' | 'url' | 'tls'>> {
  readonly probe: Probe
  readonly tls: ConnectionOptions
  /** Where to check an upstream, and the path where a `url` gives one. */
  addressOf (upstream: Upstream): { readonly address: Target; readonly path: string | undefined }
}

const time = (minimum: number, maximum = 86_400_000): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })

/** JSON Schema of each of {@link CheckTiming}. */
export const checkTiming: Readonly<Record<keyof CheckTiming, object>> = {
  interval: time(20),
  timeout: time(1, 3_600_000),
  rise: { type: 'integer', minimum: 1, maximum: 1000 },
  fall: { type: 'integer', minimum: 1, maximum: 1000 },
  transitionInterval: time(20),
  downInterval: time(20),
  jitter: { type: 'number', minimum: 0, maximum: 0.5 },
  postponeMax: time(0),
  idleAfter: time(0),
  idleInterval: time(20),
  initial: { type: 'string', enum: ['up', 'down', 'wait'] },
  removeAfter: time(0),
  port: { type: 'integer', minimum: 1, maximum: 65_535 },
  url: {},
  tls: { type: 'object' }
}

/** JSON Schema of each type of check. */
export const checkSchemas: Readonly<Record<ProbeType, object>> = Object.fromEntries(Object.entries(probes).map(([type, { properties, required }]) => [type, {
  type: 'object', additionalProperties: false, properties: { type: { type: 'string' }, ...checkTiming, ...properties }, required
}])) as unknown as Record<ProbeType, object>

/** JSON Schema of {@link AgentOptions}. */
export const agentSchema: object = {
  type: 'object',
  additionalProperties: false,
  required: ['port'],
  properties: {
    port: { type: 'integer', minimum: 1, maximum: 65_535 },
    host: { type: 'string', pattern: '^[^\\s/@]+$' },
    send: { type: 'string', minLength: 1 },
    interval: time(20),
    timeout: time(1, 3_600_000)
  } satisfies Record<keyof AgentOptions, object>
}

/** Names that the `type` of a check may have. */
export const probeTypes: readonly string[] = Object.keys(probes)

type Given = CheckOptions | CheckFunction

function typeOf (options: CheckOptions): ProbeType {
  return options.type ?? ('path' in options ? 'http' : 'tcp')
}

/** Checks what a user gave, without the defaults of others. Throws with a path that starts with `path`. */
export function checkCheck (given: Given, path: string): void {
  if (typeof given === 'function') return
  if (typeof given !== 'object' || given === null || Array.isArray(given)) refuse(path, 'must be false, an object or a function', given)
  const type = typeOf(given)
  if (!Object.hasOwn(probes, type)) refuse(`${path}.type`, `must be one of ${probeTypes.join(', ')}`, type)
  checkShape(checkSchemas[type], given, path)
  const { url, port } = given
  if (url !== undefined && typeof url !== 'string' && typeof url !== 'function') refuse(`${path}.url`, 'must be a string or a function of the upstream', url)
  if (url !== undefined && port !== undefined) refuse(`${path}.port`, "does not go with 'url', which has one itself", port)
  if (typeof url === 'string') parseUrl(url.replace('{host}', 'host').replace('{port}', '1').replace('{id}', 'id'), `${path}.url`)
}

/** A pool's own check on top of the defaults for all: timing is inherited, the probe only where the type is the same. */
export function mergeChecks (defaults: Given | undefined, own: Given | undefined): CheckOptions {
  const base = asOptions(defaults)
  const top = asOptions(own)
  if (own === undefined) return base
  const inherits = Object.keys(top).every((key) => Object.hasOwn(checkTiming, key)) || typeOf(top) === typeOf(base)
  const kept = Object.entries(base).filter(([key]) => inherits || Object.hasOwn(checkTiming, key))
  return { ...Object.fromEntries(kept), ...top } as CheckOptions
}

function asOptions (given: Given | undefined): CheckOptions {
  return typeof given === 'function' ? { type: 'function', run: given } : given ?? {}
}

/** Fills in the defaults and makes the probe. `tls` is the pool's. Throws for a probe that cannot work here. */
export function checkSettings (options: CheckOptions, path: string, tls: ConnectionOptions): CheckSettings {
  const type = typeOf(options)
  const kind = probes[type]
  const own = Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(kind.properties, key)))
  const interval = options.interval ?? 5000
  const { url, port } = options
  return Object.freeze({
    probe: kind.create(own as never, path),
    interval,
    timeout: options.timeout ?? 2000,
    rise: options.rise ?? 2,
    fall: options.fall ?? 3,
    transitionInterval: options.transitionInterval ?? Math.min(1000, interval),
    downInterval: options.downInterval ?? Math.min(2000, interval),
    jitter: options.jitter ?? 0.1,
    postponeMax: options.postponeMax ?? 6 * interval,
    idleAfter: options.idleAfter ?? 300_000,
    idleInterval: options.idleInterval ?? Math.max(30_000, interval),
    initial: options.initial ?? 'up',
    removeAfter: options.removeAfter ?? 0,
    tls: { ...tls, ...options.tls },
    addressOf (upstream: Upstream) {
      const { target } = upstream
      if (port !== undefined) return { address: withPort(target, port), path: undefined }
      if (url === undefined) return { address: target, path: undefined }
      const text = typeof url === 'function' ? url(upstream) : url.replaceAll('{host}', bracketed(target.hostname)).replaceAll('{port}', String(target.port)).replaceAll('{id}', upstream.id)
      return parseUrl(text, `${path}.url`)
    }
  })
}

/** Checks an agent's options and fills in the defaults. */
export function agentSettings (options: AgentOptions, path: string): AgentSettings {
  checkShape(agentSchema, options, path)
  const interval = options.interval ?? 5000
  return Object.freeze({
    port: options.port, host: options.host, send: options.send, interval, timeout: options.timeout ?? 2000, jitter: 0.1
  })
}

const bracketed = (host: string): string => host.includes(':') ? `[${host}]` : host

function withPort (target: Target, port: number): Target {
  const host = `${bracketed(target.hostname)}:${port}`
  return { ...target, socketPath: undefined, port, host, href: `${target.protocol}//${host}` }
}

function parseUrl (text: string, path: string): { address: Target; path: string | undefined } {
  const [, origin = text, rest] = /^(https?:\/\/[^/?#]+)(\/[\x21-\x7e]*)?$/.exec(text) ?? []
  return { address: parseTarget(origin, path), path: rest }
}
