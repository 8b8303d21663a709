import { balancing, wholeSchema } from './schema.ts'

type Schema = Record<string, unknown>

const DURATION = '^\\d+(\\.\\d+)?(ms|s|m|h|d)?$'
const SIZE = '^\\d+(\\.\\d+)?(B|KiB|MiB|GiB|KB|MB|GB)?$'
/** A value may come from the environment as a whole. */
const FROM_ENVIRONMENT: Schema = { type: 'string', pattern: '^\\$\\{[A-Za-z_]\\w*(:-[^}]*)?\\}$' }
const NUMERIC = new Set(['number', 'integer', 'boolean'])

/** Options that no file can hold: functions, and objects with methods. */
const isCode = (schema: unknown): boolean => typeof schema === 'object' && schema !== null && (schema as Schema)['isFunction'] === true

/**
 * The JSON Schema of a configuration file, for editors: made of those that check options, where times and sizes may be texts, any
 * number or switch may come from the environment, and what only code can give is left out.
 */
export async function publishedSchema (): Promise<Schema> {
  const whole = await wholeSchema()
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'https://headgate.example/config.schema.json',
    title: 'Headgate configuration',
    // What finds times in the routes' parts of other plugins would let anything pass here.
    ...publish({ ...whole, properties: { ...whole.properties, routes: balancing['routes']! } })
  }
}

function publish (schema: Schema): Schema {
  const { unit, isFunction: _, properties, additionalProperties, items, anyOf, ...rest } = schema
  const result: Schema = { ...rest }
  if (properties !== undefined) {
    result['properties'] = Object.fromEntries(Object.entries(properties as Record<string, Schema>)
      .filter(([, inner]) => !isCode(inner)).map(([name, inner]) => [name, publish(inner)]))
  }
  if (additionalProperties !== undefined) result['additionalProperties'] = typeof additionalProperties === 'object' ? publish(additionalProperties as Schema) : additionalProperties
  if (items !== undefined) result['items'] = publish(items as Schema)
  if (anyOf !== undefined) result['anyOf'] = (anyOf as Schema[]).filter((branch) => !isCode(branch)).map(publish)
  if (unit !== undefined) return { anyOf: [result, { type: 'string', pattern: unit === 'ms' ? DURATION : SIZE }, FROM_ENVIRONMENT] }
  if (typeof rest['type'] === 'string' && NUMERIC.has(rest['type'])) return { anyOf: [result, FROM_ENVIRONMENT] }
  return result
}
