import { type Clock, checkOptions, type OptionUnit, show } from '@headgate/core'
import type { CommonOptions } from './contract.ts'
import { InvalidStickyOptionError } from './errors.ts'
import { type AffinityOptions, type KindName, kinds, remembersNothing } from './kinds/index.ts'
import type { CookieOptions } from './kinds/cookie.ts'
import type { StickStore } from './store.ts'

export interface TableOptions {
  /** Where the table is kept. @default in this process's memory */
  readonly store?: StickStore
  /** Clients that are remembered in memory; beyond, the longest idle are forgotten. 1–10,000,000. @default 100000 */
  readonly maxEntries?: number
  /** Milliseconds that a store may take to find a client before the request goes on without it, 1–60,000. @default 250 */
  readonly timeout?: number
}

/** What belongs to no single rule. */
export interface SharedOptions {
  /**
   * Secrets that sign cookies, each of at least 32 bytes: the current one first, then older ones that are still accepted.
   * Required in production where something is signed (`NODE_ENV=production`). @default a random one, outside production
   */
  readonly keys?: readonly (string | Buffer)[]
  readonly table?: TableOptions
  /** Other options for single pools, or `false` for none. Each is complete in itself: nothing is inherited. @default {} */
  readonly pools?: Readonly<Record<string, AffinityOptions | false>>
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
}

/** Options of the plugin: those for all pools, and what is shared. */
export type StickyOptions = AffinityOptions & SharedOptions

const YEAR = 31_536_000_000
const time = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })

const common = {
  failover: { type: 'string', enum: ['rebind', 'borrow', 'strict'] },
  borrowTime: time(1, 86_400_000),
  drain: { type: 'string', enum: ['keep', 'move'] },
  rebalance: { type: 'number', minimum: 0, maximum: 1 },
  idleTimeout: time(1000, YEAR),
  lifetime: time(1000, YEAR)
} satisfies Record<keyof CommonOptions, object>

const shared = {
  keys: { type: 'array', minItems: 1 },
  table: {
    type: 'object',
    additionalProperties: false,
    properties: {
      store: { type: 'object', required: ['get', 'set', 'touch', 'delete', 'expire'] },
      maxEntries: { type: 'integer', minimum: 1, maximum: 10_000_000 },
      timeout: time(1, 60_000)
    } satisfies Record<keyof TableOptions, object>
  },
  pools: { type: 'object' },
  clock: { type: 'object', required: ['now', 'wall', 'setTimeout', 'clearTimeout'] }
} satisfies Record<keyof SharedOptions, object>

const schemaOf = (name: KindName, more: object): Parameters<typeof checkOptions>[0] => ({
  type: 'object',
  additionalProperties: false,
  required: kinds[name].required,
  properties: { ...kinds[name].properties, ...common, ...more }
})
const schemas = new Map((Object.keys(kinds) as KindName[]).map((name) => [name, { alone: schemaOf(name, {}), whole: schemaOf(name, shared) }]))

/** Where times stand in a route's `config.sticky`, and in the plugin's options: for programs that read configuration files. */
export const affinityUnits: object = { properties: common }
export const stickyUnits: object = { properties: { ...common, table: shared.table, pools: { additionalProperties: affinityUnits } } }

export function refuseSticky (path: string, allowed: string, value: unknown): never {
  throw new InvalidStickyOptionError(path, allowed, show(value))
}

/** Checks the options of one rule, with those that are shared when it is the plugin's own. Throws with an option's path. */
export function checkAffinity (options: AffinityOptions, path: string, whole = false): void {
  if (typeof options !== 'object' || options === null) refuseSticky(path, whole ? 'must be an object' : 'must be an object, or false', options)
  const { by = 'cookie' } = options
  const schema = schemas.get(by)
  if (schema === undefined) refuseSticky(`${path}.by`, `must be one of ${[...schemas.keys()].join(', ')}`, by)
  checkOptions(whole ? schema.whole : schema.alone, options, path)
  if ((options.rebalance ?? 0) > 0 && remembersNothing(options)) refuseSticky(`${path}.rebalance`, "needs memory: 'table'; a hash says where everybody belongs", options.rebalance)
  if ((options.rebalance ?? 0) > 0 && options.by === 'app-cookie' && options.mode === 'prefix') {
    refuseSticky(`${path}.rebalance`, "needs mode: 'learn'; a prefix is the application's to set", options.rebalance)
  }
  if (options.borrowTime !== undefined && options.failover !== 'borrow') refuseSticky(`${path}.borrowTime`, "is for failover: 'borrow'", options.borrowTime)
  if (options.by === undefined || options.by === 'cookie') checkCookie(options, path)
}

const TOGETHER = /^(source-ip|header:[!#$%&'*+.^_`|~\w-]+|query:.+)$/

/** What no schema says well, and what browsers would refuse without a word. */
function checkCookie ({ name, path: cookiePath, domain, sameSite, secure, partitioned, together }: CookieOptions, path: string): void {
  if (together !== undefined && typeof together !== 'function' && !TOGETHER.test(together)) {
    refuseSticky(`${path}.together`, "must be 'source-ip', 'header:NAME', 'query:NAME' or a function", together)
  }
  if (secure === false && sameSite === 'none') refuseSticky(`${path}.sameSite`, "'none' needs secure cookies", sameSite)
  if (secure === false && partitioned === true) refuseSticky(`${path}.partitioned`, 'needs secure cookies', partitioned)
  if (name?.startsWith('__Secure-') === true && secure !== true) refuseSticky(`${path}.secure`, `must be true for the name ${name}`, secure)
  if (name?.startsWith('__Host-') === true && (secure !== true || cookiePath !== '/' || domain !== undefined)) {
    refuseSticky(`${path}.name`, "'__Host-' needs secure: true, path: '/' and no domain", name)
  }
}

/** Checks the plugin's own options. */
export function checkSticky (options: StickyOptions): void {
  checkAffinity(options, 'options', true)
  for (const [index, key] of (options.keys ?? []).entries()) {
    // Never show a secret, not even a bad one.
    if (typeof key !== 'string' && !Buffer.isBuffer(key)) refuseSticky(`options.keys[${index}]`, 'must be a string or a Buffer of at least 32 bytes', typeof key)
    if (Buffer.byteLength(key) < 32) refuseSticky(`options.keys[${index}]`, 'must have at least 32 bytes', `one of ${Buffer.byteLength(key)} bytes`)
  }
  for (const [name, rule] of Object.entries(options.pools ?? {})) if (rule !== false) checkAffinity(rule, `options.pools.${name}`)
}
