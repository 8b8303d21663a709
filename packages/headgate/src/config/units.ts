import { type OptionUnit, refuse } from '@headgate/core'

const DURATIONS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const SIZES: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, KB: 1e3, MB: 1e6, GB: 1e9 }
const UNITS: Readonly<Record<OptionUnit, Readonly<Record<string, number>>>> = { ms: DURATIONS, bytes: SIZES }

/** What a text may be, for errors. */
export const ALLOWED: Readonly<Record<OptionUnit, string>> = {
  ms: "milliseconds, or a duration such as '500ms', '2s', '1.5m', '1h'",
  bytes: "bytes, or a size such as '512B', '64KiB', '1.5MiB', '1GiB', '64KB'"
}

/** A duration in milliseconds or a size in bytes, from a number with or without a unit behind it; `undefined` for other texts. */
export function parseUnit (text: string, unit: OptionUnit): number | undefined {
  const [, digits, name] = /^(\d{1,15}(?:\.\d{1,9})?)([A-Za-z]*)$/.exec(text) ?? []
  if (digits === undefined) return undefined
  const factor = name === '' ? 1 : Object.hasOwn(UNITS[unit], name!) ? UNITS[unit][name!]! : undefined
  // A third of a byte is nothing, a tenth of a millisecond neither.
  return factor === undefined ? undefined : Math.round(Number(digits) * factor)
}

interface Schema {
  readonly type?: string | readonly string[]
  readonly unit?: OptionUnit
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: boolean | Schema
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
}

const NOTHING: ReadonlySet<string> = new Set()

/** A number or a switch that is written as a text; others stay what they are. */
function typedValue (text: string, type: Schema['type']): unknown {
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  if ((type === 'number' || type === 'integer') && /^-?\d{1,15}(?:\.\d{1,9})?$/.test(text)) return Number(text)
  return text
}

/**
 * A copy of `value` in which texts stand as numbers wherever `schema` says `unit: 'ms'` or `unit: 'bytes'`, and where one is in
 * `typed` (paths without `path` itself) also wherever it wants a number or a switch; nothing else is touched, nor checked. Throws
 * `HG_POOL_INVALID_OPTION` for a text that is no such quantity, with the option's path.
 */
export function withUnits (schema: object, value: unknown, path: string, typed: ReadonlySet<string> = NOTHING): unknown {
  return convert(schema as Schema, value, path, path.length, typed)
}

function convert (schema: Schema, value: unknown, path: string, start: number, typed: ReadonlySet<string>): unknown {
  const { unit, type, properties = {}, additionalProperties, items, anyOf = [] } = schema
  if (unit !== undefined && typeof value === 'string') return parseUnit(value, unit) ?? refuse(path, `must be ${ALLOWED[unit]}`, value)
  let result = value
  if (typeof value === 'string') {
    if (typed.has(path.slice(start))) result = typedValue(value, type)
  } else if (Array.isArray(value)) {
    if (items !== undefined) result = value.map((item, index) => convert(items, item, `${path}[${index}]`, start, typed))
  } else if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    const rest = typeof additionalProperties === 'object' ? additionalProperties : {}
    result = Object.fromEntries(Object.entries(value).map(([name, inner]) =>
      [name, convert(Object.hasOwn(properties, name) ? properties[name]! : rest, inner, `${path}.${name}`, start, typed)]))
  }
  for (const branch of anyOf) result = convert(branch, result, path, start, typed)
  return result
}
