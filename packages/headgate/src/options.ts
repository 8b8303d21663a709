import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { BalancerOptions } from '@headgate/balancer'
import { checkOptions, type PoolOptions } from '@headgate/core'
import { parse as parseYaml } from 'yaml'

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** What `serve` takes; a configuration file holds the same object. */
export interface ServeOptions extends BalancerOptions {
  /** `host:port`, `[::1]:port`, `:port` (all interfaces) or `unix:/path`; port 0: any free one. @default '127.0.0.1:8080' */
  readonly listen?: string
  /** Least level of the log on stdout. @default 'info' */
  readonly logLevel?: LogLevel
  /** Milliseconds in which a client has to send a request's head, 1–600,000. @default 60000 */
  readonly clientHeadersTimeout?: number
}

/** A mistake of the user's in flags or configuration: shown without a stack, and the command ends with status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export type Command =
  | { readonly name: 'help' | 'version' }
  | { readonly name: 'serve'; readonly options: ServeOptions }

const flags = {
  listen: { type: 'string' },
  upstream: { type: 'string', multiple: true },
  policy: { type: 'string' },
  config: { type: 'string' },
  'log-level': { type: 'string' },
  'connect-timeout': { type: 'string' },
  timeout: { type: 'string' },
  'client-headers-timeout': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' }
} as const

export const help: string = `Usage: headgate serve --upstream URL [--upstream 'URL;weight=3'] [options]
       headgate serve --config FILE [options]

A load-balancing reverse proxy. It is ready when it logs a line with "msg":"listening" and its address.

Options of serve:
  --listen ADDRESS               host:port, :port or unix:/path        (default 127.0.0.1:8080)
  --upstream URL                 an origin server; repeat it for more. After the URL may follow
                                 ;weight=N ;backup ;priority=N ;zone=NAME ;id=NAME ;maxInFlight=N
  --policy NAME                  how to choose among the upstreams     (default adaptive)
  --connect-timeout MS           to connect to an upstream             (default 2000)
  --timeout MS                   to wait for an upstream that is silent, before the response and within it
  --config FILE                  .json, .yaml, .yml, .js or .mjs with { listen, pools, routes, logLevel, clientHeadersTimeout }
  --log-level LEVEL              ${logLevels.join(', ')}  (default info)
  --client-headers-timeout MS    for a client to send its request's head (default 60000)

  -h, --help      -v, --version

SIGTERM and SIGINT end it: running requests may finish for 30 seconds; a second signal ends it at once.
`

const configSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['pools'],
  properties: {
    listen: { type: 'string' },
    pools: { type: 'object' },
    routes: { type: 'array' },
    logLevel: { type: 'string', enum: logLevels },
    viaName: { type: 'string' },
    clientHeadersTimeout: { type: 'number', minimum: 1, maximum: 600_000 }
  }
}

/** Reads the command line (without node and script) into what to do. Throws {@link UsageError}. */
export async function parseCommand (args: readonly string[]): Promise<Command> {
  const { values, positionals } = parse(args)
  if (values.version) return { name: 'version' }
  if (values.help || (args.length === 0)) return { name: 'help' }
  const [command, ...rest] = positionals
  if (command !== 'serve') throw new UsageError(command === undefined ? "a command is missing: 'serve'" : `unknown command '${command}': there is 'serve'`)
  if (rest.length > 0) throw new UsageError(`'${rest[0]!}' is not expected after 'serve': upstreams are given with --upstream`)

  const upstreams = values.upstream ?? []
  if (values.config === undefined && upstreams.length === 0) throw new UsageError('nobody to forward to: give --upstream URL (repeat it for more) or --config FILE')
  const logLevel = values['log-level']
  if (logLevel !== undefined && !isLogLevel(logLevel)) throw new UsageError(`--log-level must be one of ${logLevels.join(', ')}; it is '${logLevel}'`)
  const clientHeadersTimeout = milliseconds('client-headers-timeout', values['client-headers-timeout'])
  const overrides = {
    ...values.listen !== undefined && { listen: values.listen },
    ...logLevel !== undefined && { logLevel },
    ...clientHeadersTimeout !== undefined && { clientHeadersTimeout }
  }
  if (overrides.listen !== undefined) parseListen(overrides.listen)

  if (values.config !== undefined) {
    for (const flag of ['upstream', 'policy', 'connect-timeout', 'timeout'] as const) {
      if (values[flag] !== undefined) throw new UsageError(`--${flag} and --config do not go together: put it into the file's pools and routes`)
    }
    return { name: 'serve', options: { ...await readConfig(values.config), ...overrides } }
  }
  const connectTimeout = milliseconds('connect-timeout', values['connect-timeout'])
  const timeout = milliseconds('timeout', values.timeout)
  const pool = {
    upstreams,
    ...values.policy !== undefined && { policy: values.policy },
    ...connectTimeout !== undefined && { connection: { connectTimeout } }
  } as PoolOptions
  const route = { prefix: '/', pool: 'default', ...timeout !== undefined && { headersTimeout: timeout, idleTimeout: timeout } }
  return { name: 'serve', options: { pools: { default: pool }, routes: [route], ...overrides } }
}

/** `host:port` and its kin as what `listen` takes. Throws {@link UsageError}. */
export function parseListen (text: string): { host: string; port: number } | { path: string } {
  if (text.startsWith('unix:') && text.length > 5) return { path: text.slice(5) }
  const [, host = '', digits = ''] = /^(\[[\da-fA-F:.]+\]|[^:[\]/\s]*):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === '' || port > 65_535) throw new UsageError(`--listen must be host:port, [::1]:port, :port or unix:/path; it is '${text}'`)
  return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port }
}

function parse (args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: true })
  } catch (error) {
    // The parser's advice on dashes after the first sentence helps nobody here.
    throw new UsageError((error as Error).message.split('. ')[0]!)
  }
}

function isLogLevel (text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text)
}

function milliseconds (flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > 600_000) throw new UsageError(`--${flag} must be milliseconds, 1–600000; it is '${text}'`)
  return value
}

async function readConfig (file: string): Promise<ServeOptions> {
  const config = await load(file)
  checkOptions(configSchema, config, file)
  const options = config as ServeOptions
  if (options.listen !== undefined) parseListen(options.listen)
  if (options.routes !== undefined) return options
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
      case '.js': case '.mjs': return ((await import(pathToFileURL(resolve(file)).href)) as { default: unknown }).default
    }
  } catch (error) {
    throw new UsageError(`--config ${file} cannot be read: ${(error as Error).message}`)
  }
  throw new UsageError(`--config must be a .json, .yaml, .yml, .js or .mjs file; it is '${file}'`)
}
