import { checkOptions, show } from '@headgate/core'
import type { SchemaObject } from 'ajv'
import { InvalidHealthOptionError } from './errors.ts'

/** Throws {@link InvalidHealthOptionError} for `path`. */
export function refuse (path: string, allowed: string, value: unknown): never {
  throw new InvalidHealthOptionError(path, allowed, show(value))
}

/** Checks `value` against a JSON Schema; `path` is that of `value` itself. Throws `HG_POOL_INVALID_OPTION`. */
export function checkShape (schema: SchemaObject, value: unknown, path: string): void {
  checkOptions(schema, value, path)
}
