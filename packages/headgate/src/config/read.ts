import { readFile, stat } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkOptions } from '@headgate/core'
import { parseListen } from '../listen.ts'
import type { ServeOptions } from '../serve-options.ts'
import { UsageError } from '../usage-error.ts'
import { type Source, parseText } from './document.ts'
import { placed } from './placed.ts'
import { configSchema, wholeSchema } from './schema.ts'
import { withUnits } from './units.ts'

const KINDS = ['ts', 'mts', 'js', 'mjs', 'json', 'yaml', 'yml'] as const

/** A configuration file, read and checked as far as it can be without its plugins. */
export interface LoadedConfig {
  readonly options: ServeOptions
  readonly source: Source
}

/** The configuration file of a folder, where there is one: `headgate.config.ts`, `.js`, `.json`, `.yaml` … */
export function findConfig (folder: string): string | undefined {
  return KINDS.map((kind) => join(folder, `headgate.config.${kind}`)).find((file) => existsSync(file))
}

/** Reads a configuration file. Throws {@link UsageError}, or `HG_POOL_INVALID_OPTION` with the place of the mistake. */
export async function readConfig (file: string, environment: NodeJS.ProcessEnv = process.env): Promise<ServeOptions> {
  return (await loadConfig(file, environment)).options
}

/** As {@link readConfig}, with what is needed to say where a later mistake stands. */
export async function loadConfig (file: string, environment: NodeJS.ProcessEnv = process.env): Promise<LoadedConfig> {
  const source = await load(file, environment)
  try {
    return { options: await optionsOf(source), source }
  } catch (error) {
    throw placed(error, source)
  }
}

async function optionsOf ({ value, file, typed }: Source): Promise<ServeOptions> {
  const used = Object.keys(Object(value) as object)
  // Routes have options of sessions only where there are any.
  const config = withUnits(await wholeSchema(used.includes('sticky') ? used : used.filter((name) => name !== 'routes')), value, file, typed)
  checkOptions(configSchema, config, file)
  const { $schema: _, ...options } = config as ServeOptions & { readonly $schema?: string }
  const { listen, pools = {}, stream, routes, sticky } = options
  if (typeof listen === 'string') parseListen(listen, `${file}.listen`)
  else for (const [index, address] of (listen ?? []).entries()) parseListen(address, `${file}.listen[${index}]`)
  const names = Object.keys(pools)
  if (names.length === 0) {
    if (stream === undefined || options.pools !== undefined) throw new UsageError(`${file}.pools: is required, with at least one pool; without HTTP there must be a 'stream'`)
    for (const name of ['routes', 'cache', 'compress', 'sticky', 'rateLimit'] as const) {
      if (options[name] !== undefined) throw new UsageError(`${file}.${name} is for HTTP, and there are no ${file}.pools`)
    }
    return options
  }
  if (routes !== undefined) {
    const lost = sticky === undefined || sticky === false ? routes.findIndex(({ config }) => config?.sticky !== undefined) : -1
    if (lost !== -1) throw new UsageError(`${file}.routes[${lost}].config.sticky is for nothing without ${file}.sticky`)
    return options
  }
  if (names.length !== 1) throw new UsageError(`${file}: routes are needed to share requests among ${names.length} pools (${names.join(', ')})`)
  return { ...options, routes: [{ prefix: '/', pool: names[0]! }] }
}

async function load (file: string, environment: NodeJS.ProcessEnv): Promise<Source> {
  const kind = extname(file)
  try {
    switch (kind) {
      case '.json': return parseText(await readFile(file, 'utf8'), file, 'json', environment)
      case '.yaml': case '.yml': return parseText(await readFile(file, 'utf8'), file, 'yaml', environment)
      case '.js': case '.mjs': case '.ts': case '.mts': return { file, value: await loadModule(file, kind), typed: new Set(), locate: () => undefined }
    }
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`--config ${file} cannot be read: ${(error as Error).message}`)
  }
  throw new UsageError(`--config must be a .json, .yaml, .yml, .js, .mjs, .ts or .mts file; it is '${file}'`)
}

async function loadModule (file: string, kind: string): Promise<unknown> {
  // Node strips types itself from 22.18 and 23.6 on; older ones from 22.6 on with --experimental-strip-types.
  if (kind.endsWith('ts') && !(process.features as { readonly typescript?: unknown }).typescript) {
    throw new UsageError(`--config ${file}: TypeScript needs Node 22.18 or newer, and this is ${process.version}; use a .mjs file`)
  }
  // A module is loaded once for each address: another one for each time it was written lets it be read again.
  const { mtimeMs } = await stat(file)
  const module = (await import(`${pathToFileURL(resolve(file)).href}?at=${mtimeMs}`)) as { default?: unknown }
  if (module.default === undefined) throw new UsageError(`--config ${file} must have a default export`)
  return module.default
}
