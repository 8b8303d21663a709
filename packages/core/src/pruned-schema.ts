import type { SchemaObject } from 'ajv'

type Schema = SchemaObject | boolean

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)

function isOfType (value: unknown, type: string): boolean {
  switch (type) {
    case 'array': return Array.isArray(value)
    case 'object': return isObject(value)
    case 'null': return value === null
    case 'integer': return typeof value === 'number'
    default: return typeof value === type
  }
}

/** A value of another type fails at once, whatever else there is. */
function mayHold (schema: Schema, values: readonly unknown[]): boolean {
  if (typeof schema === 'boolean' || schema['type'] === undefined) return true
  const types = [schema['type'] as string | string[]].flat()
  return values.some((value) => types.some((type) => isOfType(value, type)))
}

/**
 * What is left of a JSON Schema for values that are known: without the properties that none of them has, and the branches of an `anyOf` that none of
 * them can be. Whatever it lets through the whole schema lets through, and it takes a fraction of the time to compile: most options are not given.
 */
export function pruned (schema: Schema, values: readonly unknown[]): Schema {
  if (typeof schema === 'boolean') return schema
  const { properties, items, additionalProperties, anyOf } = schema as Readonly<Record<string, unknown>>
  const objects = values.filter(isObject)
  const rest: Record<string, unknown> = { ...schema }
  if (isObject(properties)) {
    rest['properties'] = Object.fromEntries(Object.entries(properties as Record<string, Schema>).flatMap(([name, one]) => {
      const given = objects.filter((object) => Object.hasOwn(object, name)).map((object) => object[name])
      return given.length === 0 ? [] : [[name, pruned(one, given)]]
    }))
  }
  if (isObject(additionalProperties)) {
    const known = Object.keys(Object(properties))
    rest['additionalProperties'] = pruned(additionalProperties, objects.flatMap((object) => Object.keys(object).filter((name) => !known.includes(name)).map((name) => object[name])))
  }
  if (isObject(items)) rest['items'] = pruned(items, values.flatMap((value) => Array.isArray(value) ? value as unknown[] : []))
  if (Array.isArray(anyOf)) {
    const left = (anyOf as Schema[]).filter((one) => mayHold(one, values))
    rest['anyOf'] = (left.length === 0 ? anyOf as Schema[] : left).map((one) => pruned(one, values))
  }
  return rest
}
