import { show } from '@headgate/core'
import { InvalidListenerError } from './errors.ts'

/** Throws {@link InvalidListenerError} for `path`. */
export function refuseListener (path: string, allowed: string, value: unknown): never {
  throw new InvalidListenerError(path, allowed, show(value))
}
