import { Ajv, type ErrorObject, type SchemaObject } from 'ajv'
import { CompressOptionError } from './errors.ts'

/** How a wrong value is shown in an error: short, and never a whole object. */
function show (value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 80 ? `${value.slice(0, 80)}…` : value}'`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'object' && value !== null) return `an object with keys ${Object.keys(value).join(', ') || '(none)'}`
  return String(value)
}

/** Throws {@link CompressOptionError}: the option's path, what is allowed, what was given. */
export function refuse (path: string, allowed: string, value: unknown): never {
  throw new CompressOptionError(`${path}: ${allowed}; got ${show(value)}`)
}

/** A check of values against a JSON Schema (with `isFunction: true` for functions); it throws {@link CompressOptionError} for the deepest error. */
export function optionsCheck (schema: SchemaObject): (value: unknown, path: string) => void {
  const ajv = new Ajv({ allErrors: true, allowUnionTypes: true, verbose: true, strict: false, validateSchema: false, meta: false, code: { optimize: false } })
  // Options hold functions, which JSON Schema has no word for.
  ajv.addKeyword({
    keyword: 'isFunction', schemaType: 'boolean', error: { message: 'must be a function' },
    validate: (_: boolean, data: unknown) => typeof data === 'function'
  })
  const validate = ajv.compile(schema)
  const depth = ({ instancePath }: ErrorObject): number => instancePath.split('/').length
  return (value, path) => {
    if (validate(value)) return
    const errors = validate.errors!.filter(({ keyword }) => keyword !== 'anyOf')
    const deepest = Math.max(...errors.map(depth))
    const same = errors.filter((error) => depth(error) === deepest)
    const { instancePath, data, keyword, params, parentSchema } = same[0]!
    const at = path + instancePath.replace(/\/(\d+)(?=\/|$)/g, '[$1]').replaceAll('/', '.')
    if (keyword === 'additionalProperties') {
      const name = (params as { additionalProperty: string }).additionalProperty
      refuse(`${at}.${name}`, `unknown option; known are ${Object.keys((parentSchema as SchemaObject)['properties'] as object).join(', ')}`, (data as Record<string, unknown>)[name])
    }
    refuse(at, same.filter((error) => error.instancePath === instancePath).map(allowed).join(' or '), data)
  }
}

function allowed ({ keyword, params, message }: ErrorObject): string {
  if (keyword === 'enum') return `must be one of ${(params as { allowedValues: unknown[] }).allowedValues.map(show).join(', ')}`
  if (keyword === 'const') return `must be ${show((params as { allowedValue: unknown }).allowedValue)}`
  if (keyword === 'required') return `needs '${(params as { missingProperty: string }).missingProperty}'`
  return message ?? 'is not valid'
}
