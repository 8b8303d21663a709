import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { balancerSchema } from '@headgate/balancer'
import { cacheSchema } from '@headgate/cache'
import { streamSchema } from '@headgate/stream'
import { compressSchema } from '@headgate/compress'
import { checkOptions, poolSchema } from '@headgate/core'
import { healthSchema } from '@headgate/health'
import { scalingSchema } from '@headgate/metrics'
import { redisSchema } from '@headgate/redis'
import { affinityUnits, stickyUnits } from '@headgate/sticky-session'
import { tlsSchema } from '@headgate/tls'
import { parse as parseYaml } from 'yaml'
import { parseListen } from './listen.ts'
import { logLevels, type ServeAdminOptions, type ServeOptions } from './serve-options.ts'
import { withUnits } from './units.ts'
import { UsageError } from './usage-error.ts'

const properties = {
  listen: { type: 'string' },
  pools: { type: 'object' },
  routes: { type: 'array' },
  logLevel: { type: 'string', enum: logLevels },
  viaName: { type: 'string' },
  health: { anyOf: [{ const: false }, { type: 'object' }] },
  cache: { anyOf: [{ type: 'boolean' }, { type: 'object' }] },
  stream: { type: 'object' },
  redis: { type: 'object' },
  tls: { type: 'object' },
  compress: { anyOf: [{ type: 'boolean' }, { type: 'object' }] },
  sticky: { anyOf: [{ const: false }, { type: 'object' }] },
  clientHeadersTimeout: { type: 'number', minimum: 1, maximum: 600_000, unit: 'ms' },
  admin: {
    type: 'object',
    additionalProperties: false,
    properties: {
      prefix: { type: 'string', pattern: '^(/[A-Za-z0-9._~-]+)+$' }, token: { type: 'string', pattern: '^[\\x21-\\x7e]{8,}$' }, readOnly: { type: 'boolean' },
      scaling: { type: 'object' }
    } satisfies Record<keyof ServeAdminOptions, object>
  }
}

const configSchema = { type: 'object', additionalProperties: false, required: ['pools'], properties }

/** Where times and sizes stand: the plugins check their own options, so the schema above does not descend into them. */
const unitsSchema = {
  properties: {
    ...properties,
    pools: { additionalProperties: poolSchema },
    routes: { anyOf: [(balancerSchema['properties'] as Record<string, object>)['routes'], { items: { properties: { config: { properties: { sticky: affinityUnits } } } } }] },
    health: healthSchema,
    cache: cacheSchema,
    stream: streamSchema,
    redis: redisSchema,
    tls: tlsSchema,
    compress: compressSchema,
    sticky: stickyUnits,
    admin: { properties: { scaling: scalingSchema } }
  }
}

/** Reads a configuration file. Throws {@link UsageError}, or `HG_POOL_INVALID_OPTION` with a path that begins with the file's. */
export async function readConfig (file: string): Promise<ServeOptions> {
  const config = withUnits(unitsSchema, await load(file), file)
  checkOptions(configSchema, config, file)
  const options = config as ServeOptions
  if (options.listen !== undefined) parseListen(options.listen, `${file}.listen`)
  if (options.routes !== undefined) {
    const lost = options.sticky === undefined || options.sticky === false ? options.routes.findIndex(({ config }) => config?.sticky !== undefined) : -1
    if (lost !== -1) throw new UsageError(`${file}.routes[${lost}].config.sticky is for nothing without ${file}.sticky`)
    return options
  }
  const names = Object.keys(options.pools)
  if (names.length !== 1) throw new UsageError(`${file}: routes are needed to share requests among ${names.length} pools (${names.join(', ')})`)
  return { ...options, routes: [{ prefix: '/', pool: names[0]! }] }
}

async function load (file: string): Promise<unknown> {
  const kind = extname(file)
  try {
    switch (kind) {
      case '.json': return JSON.parse(await readFile(file, 'utf8')) as unknown
      case '.yaml': case '.yml': return parseYaml(await readFile(file, 'utf8')) as unknown
      case '.js': case '.mjs': case '.ts': case '.mts': return await loadModule(file, kind)
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
  const module = (await import(pathToFileURL(resolve(file)).href)) as { default?: unknown }
  if (module.default === undefined) throw new UsageError(`--config ${file} must have a default export`)
  return module.default
}
