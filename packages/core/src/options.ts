import { Ajv, type ErrorObject, type SchemaObject, type ValidateFunction } from 'ajv'
import { InvalidOptionError } from './errors.ts'
import { pruned } from './pruned-schema.ts'

// Each schema checks one value at each start: to check the schema too, and to make its code quick, takes twice as long as all the rest.
const cheap = { strict: false, validateSchema: false, meta: false, code: { optimize: false } } as const
// Options hold functions and objects with methods, which JSON Schema has no word for.
const isFunction = {
  keyword: 'isFunction', schemaType: 'boolean', error: { message: 'must be a function' },
  validate: (_: boolean, data: unknown) => typeof data === 'function'
} as const
/** Says what is wrong. */
const telling = new Ajv({ ...cheap, allErrors: true, verbose: true }).addKeyword({ ...isFunction })
/** Says whether something is. */
const knowing = new Ajv({ ...cheap, messages: false }).addKeyword({ ...isFunction })

/** Checks by one schema after which it is compiled as a whole: only what is used again and again is worth it. */
const FEW = 4

/**
 * What a numeric option counts, as `unit` beside its type in a schema: programs that read configuration files let their users
 * write '2s' or '64KiB' there. In code such options are plain numbers.
 */
export type OptionUnit = 'ms' | 'bytes'

const whole = new WeakMap<SchemaObject, ValidateFunction>()
const uses = new WeakMap<SchemaObject, number>()

function wholeOf (schema: SchemaObject): ValidateFunction {
  let validate = whole.get(schema)
  if (validate === undefined) whole.set(schema, validate = telling.compile(schema))
  return validate
}

function holds (schema: SchemaObject, value: unknown): boolean {
  const used = uses.get(schema) ?? 0
  if (used === FEW) return wholeOf(schema)(value)
  uses.set(schema, used + 1)
  const some = pruned(schema, [value]) as SchemaObject
  const valid = knowing.validate(some, value)
  knowing.removeSchema(some)
  return valid
}

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
  if (holds(schema, value)) return
  const validate = wholeOf(schema)
  // What is left of a schema may let less through, never more.
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
