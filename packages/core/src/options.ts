import { Ajv, type ErrorObject, type SchemaObject, type ValidateFunction } from 'ajv'
import { InvalidOptionError } from './errors.ts'

// Each schema checks one value at each start: to check the schema too, and to make its code quick, takes twice as long as all the rest.
const ajv = new Ajv({
  allErrors: true, useDefaults: false, allowUnionTypes: true, verbose: true, strict: false, validateSchema: false, meta: false, code: { optimize: false }
})
// Options hold functions and objects with methods, which JSON Schema has no word for.
ajv.addKeyword({
  keyword: 'isFunction', schemaType: 'boolean', error: { message: 'must be a function' },
  validate: (_: boolean, data: unknown) => typeof data === 'function'
})

/**
 * What a numeric option counts, as `unit` beside its type in a schema: programs that read configuration files let their users
 * write '2s' or '64KiB' there. In code such options are plain numbers.
 */
export type OptionUnit = 'ms' | 'bytes'

const compiled = new WeakMap<SchemaObject, ValidateFunction>()

/** How a wrong value is shown in an error: short, and never a whole object. */
export function show (value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 80 ? `${value.slice(0, 80)}…` : value}'`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'object' && value !== null) return `an object with keys ${Object.keys(value).join(', ') || '(none)'}`
  return String(value)
}

/** Throws {@link InvalidOptionError} for `path`. */
export function refuse (path: string, allowed: string, value: unknown): never {
  throw new InvalidOptionError(path, allowed, show(value))
}

/** Names one error of Ajv as `path`, what is allowed, and the value. */
function explain (path: string, error: ErrorObject): [string, string, unknown] {
  const at = path + error.instancePath.replace(/\/(\d+)(?=\/|$)/g, '[$1]').replaceAll('/', '.')
  const params = error.params as Record<string, unknown>
  switch (error.keyword) {
    case 'additionalProperties': {
      const known = Object.keys((error.parentSchema as SchemaObject)['properties'] as object).join(', ')
      return [`${at}.${String(params['additionalProperty'])}`, `unknown option; known are ${known}`, error.data === undefined ? undefined : (error.data as Record<string, unknown>)[String(params['additionalProperty'])]]
    }
    case 'required':
      return [`${at}.${String(params['missingProperty'])}`, 'is required', undefined]
    case 'const':
      return [at, `must be ${show(params['allowedValue'])}`, error.data]
    case 'minProperties':
      return [at, 'must have at least one entry', error.data]
    case 'enum':
      return [at, `must be one of ${(params['allowedValues'] as unknown[]).map(show).join(', ')}`, error.data]
    default:
      return [at, error.message ?? 'is not valid', error.data]
  }
}

/** A wrong or missing key is one step below the object that it is found in. */
function depth ({ instancePath, keyword }: ErrorObject): number {
  return instancePath.split('/').length + (keyword === 'additionalProperties' || keyword === 'required' ? 1 : 0)
}

/**
 * Checks `value` against a JSON Schema (with `isFunction: true` for functions) and throws {@link InvalidOptionError} with the
 * path of the first wrong option, `path` being that of `value` itself.
 */
export function checkOptions (schema: SchemaObject, value: unknown, path: string): void {
  let validate = compiled.get(schema)
  if (validate === undefined) compiled.set(schema, validate = ajv.compile(schema))
  if (validate(value)) return
  const errors = validate.errors!
  // Of the branches of an anyOf the deepest error is the one about what the user most likely meant.
  let chosen = errors[0]!
  for (const error of errors) {
    const deeper = depth(error) - depth(chosen)
    if (deeper > 0 || (deeper === 0 && error.keyword === 'anyOf')) chosen = error
  }
  if (chosen.keyword === 'anyOf') {
    const types = errors.filter((error) => error !== chosen && error.instancePath === chosen.instancePath)
    refuse(explain(path, chosen)[0], types.map((error) => explain(path, error)[1]).join(' or '), chosen.data)
  }
  refuse(...explain(path, chosen))
}
