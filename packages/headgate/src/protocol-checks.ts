import { checkOptions, refuse } from '@headgate/core'
import { checkTiming, type HealthOptions, probeTypes } from '@headgate/health'
import type { checkKinds, CheckKind } from '@headgate/stream'
import type { ServeHealthOptions } from './serve-options.ts'

type Kinds = typeof checkKinds

/** What stands under `check`, as far as it matters here. */
interface Given extends Readonly<Record<string, unknown>> {
  readonly type?: unknown
}

// These checks speak to the upstream's own address, by the pool's own TLS.
const { port: _port, url: _url, tls: _tls, ...timing } = checkTiming

interface HealthPart {
  readonly anyOf: readonly object[]
  readonly additionalProperties: { readonly properties: object }
}

/** The schema of health's options, where checks may go by the name of a protocol too. */
export function withProtocolSchemas (schema: object, kinds: Kinds): object {
  const { properties } = schema as { readonly properties: Readonly<Record<string, HealthPart>> }
  const named = Object.entries(kinds).map(([type, { properties }]) => (
    { type: 'object', additionalProperties: false, required: ['type'], properties: { type: { const: type }, ...timing, ...properties } }
  ))
  const check = { anyOf: [...properties['check']!.anyOf, ...named] }
  const pool = properties['pools']!.additionalProperties
  return { ...schema, properties: { ...properties, check, pools: { additionalProperties: { ...pool, properties: { ...pool.properties, check } } } } }
}

/** Options in which every check is one that `@headgate/health` knows. */
export type TranslatedHealth = Omit<HealthOptions, 'quorum'> & Pick<ServeHealthOptions, 'quorum'>

/** Checks by the name of a protocol become the functions that `@headgate/stream` has for them. Throws `HG_POOL_INVALID_OPTION`. */
export async function withProtocols ({ check, pools, ...options }: ServeHealthOptions): Promise<TranslatedHealth> {
  const given = [check, ...Object.values(pools ?? {}).map((pool) => Object(pool) as { readonly check?: unknown }).map(({ check }) => check)]
  // The package is loaded for those who name something that may be its.
  const kinds = given.some((one) => (Object(one) as Given).type !== undefined) ? (await import('@headgate/stream')).checkKinds : undefined
  return {
    ...options,
    ...check !== undefined && { check: translated(check, 'options.check', kinds) },
    ...pools !== undefined && {
      pools: Object.fromEntries(Object.entries(pools).map(([name, own]) => [name, typeof own !== 'object' || own.check === undefined
        ? own
        : { ...own, check: translated(own.check, `options.pools.${name}.check`, kinds) }]))
    }
  } as TranslatedHealth
}

function translated (check: unknown, path: string, kinds: Kinds | undefined): HealthOptions['check'] {
  const given = Object(check) as Given
  const type = given.type as keyof Kinds
  if (kinds === undefined) return check as HealthOptions['check']
  if (!Object.hasOwn(kinds, type)) {
    if (type !== undefined && !probeTypes.includes(type)) refuse(`${path}.type`, `must be one of ${[...probeTypes, ...Object.keys(kinds)].join(', ')}`, type)
    return check as HealthOptions['check']
  }
  const kind = kinds[type] as unknown as CheckKind<object>
  const { type: _, ...rest } = given
  checkOptions({ type: 'object', additionalProperties: false, properties: { ...timing, ...kind.properties } }, rest, path)
  const isOwn = ([name]: [string, unknown]): boolean => Object.hasOwn(kind.properties, name)
  const own = Object.entries(rest).filter(isOwn)
  return { ...Object.fromEntries(Object.entries(rest).filter((entry) => !isOwn(entry))), type: 'function', run: kind.create(Object.fromEntries(own)) }
}
