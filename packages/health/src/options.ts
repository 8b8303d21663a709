import type { OptionUnit, Pool } from '@headgate/core'
import type { SchemaObject } from 'ajv'
import type { RouteShorthandOptions } from 'fastify'
import { type AgentOptions, agentSchema, agentSettings, type AgentSettings, checkCheck, type CheckOptions, checkSchemas, checkSettings, type CheckSettings, mergeChecks } from './check-options.ts'
import { checkLoad, type LoadOptions, loadSchema, loadSettings, type LoadSettings } from './load-options.ts'
import { checkPassive, type PassiveOptions, passiveSchema, passiveSettings, type PassiveSettings } from './passive-options.ts'
import type { CheckFunction } from './probes/index.ts'
import { type QuorumOptions, quorumSchema, quorumSettings, type QuorumSettings } from './quorum/options.ts'
import { checkShape, refuse } from './refuse.ts'
import type { CheckSharing } from './sharing.ts'

export interface PoolHealthOptions {
  /** Active checks: options of one, a function that is one, or `false`. @default a TCP connection every 5 s */
  readonly check?: false | CheckOptions | CheckFunction
  /** Judging real traffic. @default all of it on */
  readonly passive?: false | PassiveOptions
  /** Listening to upstreams that say how busy they are. @default on */
  readonly load?: false | LoadOptions
  /** Asking agents beside the upstreams. @default none */
  readonly agent?: false | AgentOptions
}

/** Hooks and settings that a route of this plugin takes over. */
export type RouteHooks = Pick<RouteShorthandOptions, 'onRequest' | 'preHandler' | 'preValidation' | 'onSend' | 'onResponse' | 'logLevel' | 'config'>

export interface HealthRouteOptions extends RouteHooks {
  /** With its slash in front. */
  readonly path?: string
}

export interface HealthRoutes {
  /** All that `app.health.snapshot()` says, as JSON. @default off; true: '/health/upstreams' */
  readonly upstreams?: boolean | string | HealthRouteOptions
  /** 200 while this app can do its work, else 503: for a readiness probe. @default off; true: '/readyz' */
  readonly ready?: boolean | string | HealthRouteOptions
  /** 200 while this app answers at all: for a liveness probe. @default off; true: '/livez' */
  readonly live?: boolean | string | HealthRouteOptions
}

export interface HealthOptions extends PoolHealthOptions {
  /** By pool: what differs from the options above; `false`: no checks and no judging there. */
  readonly pools?: Readonly<Record<string, false | PoolHealthOptions>>
  /** Pools that readiness depends on. @default all */
  readonly required?: readonly string[]
  /** Ready with a ready upstream in `any` of the required pools, or only with one in `all` of them. @default 'any' */
  readonly need?: 'any' | 'all'
  /** Milliseconds that `app.ready()` waits for pools with `initial: 'wait'`, 0–600,000; keep it under Fastify's `pluginTimeout`. @default 5000 */
  readonly readyTimeout?: number
  readonly routes?: HealthRoutes
  /** Of several processes on one machine one checks for all: made by `@headgate/workers`. @default each checks */
  readonly sharing?: CheckSharing
  /** Instances decide together whom real traffic speaks against. @default each decides alone */
  readonly quorum?: false | QuorumOptions
}

/** What holds for one pool. */
export interface PoolHealthSettings {
  readonly check: CheckSettings | undefined
  readonly passive: PassiveSettings | undefined
  readonly load: LoadSettings | undefined
  readonly agent: AgentSettings | undefined
}

export interface Route {
  readonly path: string
  readonly hooks: RouteHooks
}

export interface HealthSettings {
  readonly required: readonly string[] | undefined
  readonly need: 'any' | 'all'
  readonly readyTimeout: number
  readonly quorum: QuorumSettings | undefined
  readonly routes: { readonly upstreams: Route | undefined; readonly ready: Route | undefined; readonly live: Route | undefined }
}

const part = { anyOf: [{ const: false }, { type: 'object' }, { isFunction: true }] }
const hook = { anyOf: [{ isFunction: true }, { type: 'array', items: { isFunction: true } }] }

const poolProperties = { check: part, passive: part, load: part, agent: part } satisfies Record<keyof PoolHealthOptions, object>

const routeSchema = { type: ['boolean', 'string', 'object'], pattern: '^/' }

const routeOptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    path: { type: 'string', pattern: '^/' },
    onRequest: hook,
    preHandler: hook,
    preValidation: hook,
    onSend: hook,
    onResponse: hook,
    logLevel: { type: 'string' },
    config: { type: 'object' }
  } satisfies Record<keyof HealthRouteOptions, object>
}

const schema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...poolProperties,
    pools: { type: 'object' },
    required: { type: 'array', minItems: 1, items: { type: 'string' } },
    need: { type: 'string', enum: ['any', 'all'] },
    sharing: { type: 'object', required: ['tell'] },
    quorum: { anyOf: [{ const: false }, { type: 'object' }] },
    readyTimeout: { type: 'number', minimum: 0, maximum: 600_000, unit: 'ms' satisfies OptionUnit },
    routes: {
      type: 'object',
      additionalProperties: false,
      properties: { upstreams: routeSchema, ready: routeSchema, live: routeSchema } satisfies Record<keyof HealthRoutes, object>
    }
  } satisfies Record<keyof HealthOptions, object>
}

const parts = {
  check: { anyOf: Object.values(checkSchemas) },
  passive: passiveSchema,
  load: loadSchema,
  agent: agentSchema
} satisfies Record<keyof PoolHealthOptions, object>

/** All options with their units, for programs that read configuration files; what holds is checked at registration, and says more. */
export const healthSchema: SchemaObject = {
  properties: { ...schema.properties, ...parts, quorum: quorumSchema, pools: { additionalProperties: { properties: parts } } }
}

const poolSchema = { type: 'object', additionalProperties: false, properties: poolProperties }

function checkParts ({ check, passive, load, agent }: PoolHealthOptions, path: string): void {
  if (check !== undefined && check !== false) checkCheck(check, `${path}.check`)
  if (passive !== undefined && passive !== false) checkPassive(passive, `${path}.passive`)
  if (load !== undefined && load !== false) checkLoad(load, `${path}.load`)
  if (agent !== undefined && agent !== false) agentSettings(agent, `${path}.agent`)
}

function routeOf (given: boolean | string | HealthRouteOptions | undefined, name: keyof HealthRoutes, path: string): Route | undefined {
  if (given === undefined || given === false) return undefined
  if (typeof given === 'string') return { path: given, hooks: {} }
  if (given !== true) checkShape(routeOptionsSchema, given, `options.routes.${name}`)
  const { path: own = path, ...hooks } = given === true ? {} : given
  return { path: own, hooks }
}

/** Checks everything that can be wrong with the options, `pools` being those that there are. Throws with the option's path. */
export function parseHealth (options: HealthOptions, pools: ReadonlyMap<string, Pool>): HealthSettings {
  checkShape(schema, options, 'options')
  checkParts(options, 'options')
  const known = [...pools.keys()].join(', ')
  for (const [name, own] of Object.entries(options.pools ?? {})) {
    const path = `options.pools.${name}`
    if (!pools.has(name)) refuse(path, `there is no such pool; pools are: ${known}`, own)
    if (own === false) continue
    checkShape(poolSchema, own, path)
    checkParts(own, path)
  }
  for (const [index, name] of (options.required ?? []).entries()) {
    if (!pools.has(name)) refuse(`options.required[${index}]`, `there is no such pool; pools are: ${known}`, name)
  }
  const { upstreams, ready, live } = options.routes ?? {}
  return {
    required: options.required,
    need: options.need ?? 'any',
    readyTimeout: options.readyTimeout ?? 5000,
    quorum: options.quorum === undefined || options.quorum === false ? undefined : quorumSettings(options.quorum, 'options.quorum'),
    routes: {
      upstreams: routeOf(upstreams, 'upstreams', '/health/upstreams'), ready: routeOf(ready, 'ready', '/readyz'), live: routeOf(live, 'live', '/livez')
    }
  }
}

/** What holds for `pool`: its own options on top of those for all. Throws for what cannot work here. */
export function poolHealth (options: HealthOptions, pool: Pool): PoolHealthSettings {
  const own = options.pools?.[pool.name]
  if (own === false) return { check: undefined, passive: undefined, load: undefined, agent: undefined }
  const path = own === undefined ? 'options' : `options.pools.${pool.name}`
  const check = own?.check ?? options.check
  const passive = own?.passive ?? options.passive
  const load = own?.load ?? options.load
  const agent = own?.agent ?? options.agent
  const shared = <T>(value: T | false | undefined): Partial<T> => value === false || value === undefined ? {} : value
  return {
    check: check === false ? undefined : checkSettings(mergeChecks(options.check === false ? undefined : options.check, own?.check === false ? undefined : own?.check), `${own?.check === undefined ? 'options' : path}.check`, pool.settings.connection.tls ?? {}),
    passive: passive === false ? undefined : passiveSettings({ ...shared(options.passive), ...shared(own?.passive) }, `${path}.passive`),
    load: load === false ? undefined : loadSettings({ ...shared(options.load), ...shared(own?.load) }),
    agent: agent === false || agent === undefined ? undefined : agentSettings(agent, `${path}.agent`)
  }
}

