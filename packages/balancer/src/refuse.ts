import { show } from '@headgate/core'
import { InvalidRouteError } from './errors.ts'

/** Throws {@link InvalidRouteError} for `path`. */
export function refuseRoute (path: string, allowed: string, value: unknown): never {
  throw new InvalidRouteError(path, allowed, show(value))
}
