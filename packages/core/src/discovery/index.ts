import type { SchemaObject } from 'ajv'
import { checkOptions, type OptionUnit, refuse } from '../options.ts'
import type { Discovery, DiscoveryKind } from './contract.ts'
import { consul, type ConsulDiscoveryOptions } from './consul.ts'
import { dns, type DnsDiscoveryOptions } from './dns.ts'
import { file, type FileDiscoveryOptions } from './file.ts'
import { http, type HttpDiscoveryOptions } from './http.ts'
import { kubernetes, type KubernetesDiscoveryOptions } from './kubernetes.ts'
import type { SubsetOptions } from './subset.ts'

/** Every kind of discovery; a new one is one new file and one line here. */
export const discoveries: {
  readonly dns: DiscoveryKind<DnsDiscoveryOptions>
  readonly file: DiscoveryKind<FileDiscoveryOptions>
  readonly http: DiscoveryKind<HttpDiscoveryOptions>
  readonly consul: DiscoveryKind<ConsulDiscoveryOptions>
  readonly kubernetes: DiscoveryKind<KubernetesDiscoveryOptions>
} = { dns, file, http, consul, kubernetes }

export type DiscoveryType = keyof typeof discoveries

/** What every kind takes. */
export interface CommonDiscoveryOptions {
  /** Use a part of the members only, where many proxies share very many upstreams. @default all */
  readonly subset?: SubsetOptions
  /** An empty answer changes nothing. @default true for `dns` and `consul`, else false */
  readonly keepWhenEmpty?: boolean
}

/** `type` and what belongs to it. */
export type DiscoveryOptions = CommonDiscoveryOptions & (
  | ({ readonly type: 'dns' } & DnsDiscoveryOptions)
  | ({ readonly type: 'file' } & FileDiscoveryOptions)
  | ({ readonly type: 'http' } & HttpDiscoveryOptions)
  | ({ readonly type: 'consul' } & ConsulDiscoveryOptions)
  | ({ readonly type: 'kubernetes' } & KubernetesDiscoveryOptions)
)

/** Checked, with defaults filled in. */
export interface DiscoverySettings {
  readonly discovery: Discovery
  readonly keepWhenEmpty: boolean
  readonly subset: SubsetOptions | undefined
}

const common: Readonly<Record<keyof CommonDiscoveryOptions, object>> = {
  subset: {
    type: 'object', additionalProperties: false, required: ['size', 'index'],
    properties: { size: { type: 'integer', minimum: 1 }, index: { type: 'integer', minimum: 0, maximum: 65_535 } } satisfies Record<keyof SubsetOptions, object>
  },
  keepWhenEmpty: { type: 'boolean' }
}

const kinds: Readonly<Record<string, DiscoveryKind<never>>> = discoveries

const schemas: ReadonlyMap<string, SchemaObject> = new Map(Object.entries(kinds).map(([type, { properties, required }]) =>
  [type, { type: 'object', additionalProperties: false, required: ['type', ...required], properties: { ...common, ...properties, type: { const: type } } }]))

interface Quantity { readonly unit?: OptionUnit; readonly type?: string; readonly anyOf?: readonly object[] }

/**
 * Where times, sizes and numbers stand, for programs that read configuration files: there they may be texts, of the environment too.
 * What is a number for one kind may be a name for another, so that nothing is checked here.
 */
export const discoveryUnits: Readonly<Record<string, Quantity>> = Object.fromEntries(Object.values(kinds)
  .flatMap(({ properties }) => Object.entries(properties as Record<string, Quantity>))
  .filter(([, { unit, type }]) => unit !== undefined || type === 'integer')
  .map(([name, { unit }]) => [name, unit === undefined ? { anyOf: [{ type: 'integer' }, {}] } : { unit }]))

/** Throws `HG_POOL_INVALID_OPTION` with a path that begins with `path`. */
export function parseDiscovery (given: DiscoveryOptions | Discovery, path: string): DiscoverySettings {
  if ('start' in given) {
    if (typeof given.start !== 'function' || typeof given.name !== 'string') refuse(path, "must have a 'type', or a name and a start()", given)
    return { discovery: given, keepWhenEmpty: given.keepWhenEmpty ?? false, subset: undefined }
  }
  const { type, subset, keepWhenEmpty } = given
  if (typeof type !== 'string' || !Object.hasOwn(kinds, type)) refuse(`${path}.type`, `must be one of ${Object.keys(kinds).join(', ')}`, type)
  checkOptions(schemas.get(type)!, given, path)
  const kind = kinds[type]!
  return { discovery: kind.create(given as never, path), keepWhenEmpty: keepWhenEmpty ?? kind.keepWhenEmpty, subset }
}

export type { ConsulDiscoveryOptions, DnsDiscoveryOptions, FileDiscoveryOptions, HttpDiscoveryOptions, KubernetesDiscoveryOptions, SubsetOptions }
