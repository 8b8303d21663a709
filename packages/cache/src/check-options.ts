import { Ajv, type ErrorObject, type SchemaObject, type ValidateFunction } from 'ajv'
import { CacheOptionError } from './errors.ts'

const ajv = new Ajv({ allErrors: true, allowUnionTypes: true, verbose: true, strict: false, validateSchema: false, meta: false, code: { optimize: false } })
// Options hold functions, which JSON Schema has no word for.
ajv.addKeyword({
  keyword: 'isFunction', schemaType: 'boolean', error: { message: 'must be a function' },
  validate: (_: boolean, data: unknown) => typeof data === 'function'
})

const compiled = new WeakMap<SchemaObject, ValidateFunction>()

/** How a wrong value is shown in an error: short, and never a whole object. */
function show (value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 80 ? `${value.slice(0, 80)}…` : value}'`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'object' && value !== null) return `an object with keys ${Object.keys(value).join(', ') || '(none)'}`
  return String(value)
}

/** Throws {@link CacheOptionError} that names the option's path, what is allowed, and what was given. */
export function refuse (path: string, allowed: string, value: unknown): never {
  throw new CacheOptionError(`${path}: ${allowed}; got ${show(value)}`)
}

function explain (path: string, { keyword, instancePath, params, message, data, parentSchema }: ErrorObject): never {
  const at = path + instancePath.replace(/\/(\d+)(?=\/|$)/g, '[$1]').replaceAll('/', '.')
  if (keyword === 'additionalProperties') {
    const name = (params as { additionalProperty: string }).additionalProperty
    const known = Object.keys((parentSchema as SchemaObject)['properties'] as object).join(', ')
    return refuse(`${at}.${name}`, `unknown option; known are ${known}`, (data as Record<string, unknown>)[name])
  }
  if (keyword === 'required') return refuse(`${at}.${(params as { missingProperty: string }).missingProperty}`, 'is required', undefined)
  if (keyword === 'enum') return refuse(at, `must be one of ${((params as { allowedValues: unknown[] }).allowedValues).map(show).join(', ')}`, data)
  return refuse(at, message ?? 'is not valid', data)
}

/** Checks `value` against a JSON Schema (with `isFunction: true` for functions); the deepest error is told. Throws {@link CacheOptionError}. */
export function checkOptions (schema: SchemaObject, value: unknown, path: string): void {
  let validate = compiled.get(schema)
  if (validate === undefined) compiled.set(schema, validate = ajv.compile(schema))
  if (validate(value)) return
  let chosen = validate.errors![0]!
  const depth = ({ instancePath }: ErrorObject): number => instancePath.split('/').length
  for (const error of validate.errors!) if (depth(error) > depth(chosen)) chosen = error
  if (chosen.keyword === 'type' || chosen.keyword === 'const') {
    // Several branches of one alternative failed at the same place: tell them all.
    const same = validate.errors!.filter((error) => error.instancePath === chosen.instancePath && error.message !== undefined && error.keyword !== 'anyOf')
    if (same.length > 1) refuse(path + chosen.instancePath.replaceAll('/', '.'), same.map((error) => error.message).join(' or '), chosen.data)
  }
  explain(path, chosen)
}
