import type { AffinityOptions, StickyOptions } from '@headgate/sticky-session'
import type { ServeOptions } from './serve-options.ts'
import { UsageError } from './usage-error.ts'

/** Secrets stay off the command line, which every user of the machine can read. */
export const KEYS_VARIABLE = 'HEADGATE_STICKY_KEYS'

/** `cookie`, `app-cookie:NAME`, `source-ip`, `header:NAME` or `query:NAME` as options. Throws {@link UsageError}. */
export function parseSticky (text: string): AffinityOptions {
  const [by, name] = text.split(/:(.*)/s, 2)
  if ((by === 'cookie' || by === 'source-ip') && name === undefined) return { by }
  if (name !== undefined && (by === 'query' ? name !== '' : (by === 'header' || by === 'app-cookie') && /^[!#$%&'*+.^_`|~\w-]+$/.test(name))) {
    return { by, name } as AffinityOptions
  }
  throw new UsageError(`--sticky must be cookie, app-cookie:NAME, source-ip, header:NAME or query:NAME; it is '${text}'`)
}

/** Adds the environment's secrets to options that have none of their own. Throws {@link UsageError}. */
export function withKeys (options: ServeOptions, environment: NodeJS.ProcessEnv): ServeOptions {
  const text = environment[KEYS_VARIABLE]
  if (options.sticky === undefined || options.sticky === false || options.sticky.keys !== undefined || text === undefined) return options
  const keys = text.split(',').map((key) => key.trim())
  for (const [index, key] of keys.entries()) {
    const size = Buffer.byteLength(key)
    if (size < 32) throw new UsageError(`${KEYS_VARIABLE} must hold secrets of at least 32 bytes, the current one first, with commas between them; number ${index + 1} has ${size}`)
  }
  return { ...options, sticky: { ...options.sticky, keys } as StickyOptions }
}
