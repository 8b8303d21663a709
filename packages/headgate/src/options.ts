import { parseArgs } from 'node:util'
import type { BalancerPoolOptions } from '@headgate/balancer'
import { parseUpstreams, policies } from '@headgate/core'
import type { HealthOptions } from '@headgate/health'
import { COMMANDS } from './commands/options.ts'
import type { Source } from './config/document.ts'
import type { LoadedConfig } from './config/read.ts'
import { parseListen } from './listen.ts'
import { type LogLevel, logLevels, type ServeAdminOptions, type ServeOptions } from './serve-options.ts'
import { KEYS_VARIABLE, parseSticky, withKeys } from './sticky.ts'
import { ALLOWED, parseUnit } from './config/units.ts'
import { trusted } from './trust-proxy.ts'
import { UsageError } from './usage-error.ts'
import { parseWorkers } from './workers.ts'

export type Command =
  | { readonly name: 'help' | 'version' }
  | ServeCommand

export interface ServeCommand {
  readonly name: 'serve'
  readonly options: ServeOptions
  /** Where the options come from, for errors. */
  readonly source: Source | string
  /** The file that they come from, and how to read it again. */
  readonly file?: string
  readonly again?: () => Promise<LoadedConfig>
  /** Take over changes of the file when they are written. */
  readonly watch: boolean
  readonly workers: number | 'auto' | undefined
}

/** What `serve` takes. */
export const flags = {
  listen: { type: 'string' },
  upstream: { type: 'string', multiple: true },
  policy: { type: 'string' },
  config: { type: 'string', short: 'c' },
  watch: { type: 'boolean' },
  'log-level': { type: 'string' },
  'connect-timeout': { type: 'string' },
  timeout: { type: 'string' },
  'client-headers-timeout': { type: 'string' },
  'trust-proxy': { type: 'string' },
  'health-path': { type: 'string' },
  'health-interval': { type: 'string' },
  'no-passive': { type: 'boolean' },
  admin: { type: 'string' },
  workers: { type: 'string' },
  redis: { type: 'string' },
  cache: { type: 'boolean' },
  compress: { type: 'boolean' },
  sticky: { type: 'string' },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  'redirect-http': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' }
} as const

export const help: string = `Usage: headgate serve --upstream URL [--upstream 'URL;weight=3'] [options]
       headgate serve --config FILE [options]
       headgate init [FILE] [--format yaml|json|ts] [--force] [options]
       headgate check-config [FILE]
       headgate import nginx | haproxy FILE
       headgate top | drain | maintenance | up | auto | weight | add | remove | split | close | open | purge | explain …

A load-balancing reverse proxy. It is ready when it logs a line with "msg":"listening" and its address.

Options of serve:
  --listen ADDRESS               host:port, :port or unix:/path        (default 127.0.0.1:8080)
  --upstream URL                 an origin server; repeat it for more. After the URL may follow
                                 ;weight=N ;backup ;priority=N ;zone=NAME ;location=LAT,LON ;id=NAME ;maxInFlight=N
  --policy NAME                  how to choose among the upstreams     (default adaptive)
  --connect-timeout TIME         to connect to an upstream             (default 2s)
  --timeout TIME                 to wait for an upstream that is silent, before the response and within it
  --health-path PATH             check upstreams by HTTP requests for this path
  --health-interval TIME         from one check to the next            (default 5s);
                                 without --health-path a TCP connection is the check
  --no-passive                   do not take out upstreams whose answers to requests show that they fail
  --cache                        keep responses that allow it (RFC 9111) in 64 MiB of memory
  --compress                     encode responses as clients ask for: zstd, br, gzip, deflate
  --sticky KIND                  clients stay with their upstream: cookie, app-cookie:NAME, source-ip, header:NAME,
                                 query:NAME. Cookies are signed with the secrets in ${KEYS_VARIABLE}
                                 (32 bytes or more, the current one first, with commas between them)
  --tls-cert FILE                HTTPS, with this certificate (PEM, with those between it and the root); read again when it changes
  --tls-key FILE                 and this key
  --redirect-http ADDRESS        plain HTTP there is redirected to HTTPS
  --admin PREFIX                 dashboard, admin API and metrics under this path, for this machine alone; for others too
                                 with the token in HEADGATE_ADMIN_TOKEN
  --workers N|auto               processes that share the work, auto: one for each core; SIGHUP renews them one after the other
  --redis URL                    cache and session tables shared with other machines, in Redis or Valkey
  --config FILE                  .json, .yaml, .yml, .js, .mjs, or .ts where Node runs TypeScript; it holds
                                 { listen, pools, routes, maintenance, health, cache, compress, sticky, stream, tls, admin,
                                 logLevel, closeTimeout, clientHeadersTimeout, trustProxy }. Without --upstream and --config it is
                                 headgate.config.{ts,js,json,yaml} of this folder. SIGHUP reads it again
  --watch                        read the file again when it changes, too
  --log-level LEVEL              ${logLevels.join(', ')}  (default info)
  --client-headers-timeout TIME  for a client to send its request's head (default 60s)
  --trust-proxy LIST             addresses and networks of proxies before this one, whose X-Forwarded-* are believed;
                                 loopback, linklocal and uniquelocal are networks, too

Commands for a proxy that runs with --admin (--url ADDRESS, default http://127.0.0.1:8080/headgate; the token as above):
  top [--once] [--json] [--pool POOL]       what goes on, live or once
  drain | maintenance | up | auto UPSTREAM  an operator's word; auto takes it back. UPSTREAM is an id or an address
  weight UPSTREAM WEIGHT                    0-65535; 0: no new work
  add 'URL;weight=2' [--pool POOL]          an upstream joins
  remove UPSTREAM                           it finishes its work and leaves
  split [NAME POOL=WEIGHT …]                shares of the pools of a split; without a name all of them, and the routes [--json]
  close | open PREFIX… | --all              routes for maintenance
  purge URL… | --tag TAG | --all            out of the cache
  explain [METHOD] PATH [--header N:V]      where a request would go, and why; nothing is sent

init writes a commented file with what the options of serve say, which it asks for in a terminal where there is no --upstream:
  --format KIND                             yaml, json or ts            (default: that of FILE, or yaml)
  --force                                   in place of a file that is there

TIME is milliseconds, or 500ms, 2s, 1.5m, 1h.

  -h, --help      -v, --version

SIGTERM and SIGINT end it: running requests may finish for 30 seconds; a second signal ends it at once.
`

/** Reads the command line (without node and script) into what to do. Throws {@link UsageError}. */
export async function parseCommand (args: readonly string[], environment: NodeJS.ProcessEnv = process.env): Promise<Command> {
  const { values, positionals } = parse(args)
  if (values.version) return { name: 'version' }
  if (values.help || (args.length === 0)) return { name: 'help' }
  const [command, ...rest] = positionals
  if (command !== 'serve') throw new UsageError(command === undefined ? "a command is missing: 'serve'" : `unknown command '${command}': there are serve, init, ${COMMANDS.join(', ')}`)
  if (rest.length > 0) throw new UsageError(`'${rest[0]!}' is not expected after 'serve': upstreams are given with --upstream`)

  const upstreams = values.upstream ?? []
  // It brings the schemas of all plugins along.
  const reader = values.config !== undefined || upstreams.length === 0 ? await import('./config/read.ts') : undefined
  const file = values.config ?? reader?.findConfig(process.cwd())
  if (values.watch === true && file === undefined) throw new UsageError('--watch needs --config: flags do not change')
  if (file === undefined && upstreams.length === 0) throw new UsageError('nobody to forward to: give --upstream URL (repeat it for more) or --config FILE, or write a headgate.config.yaml')
  const logLevel = values['log-level']
  if (logLevel !== undefined && !isLogLevel(logLevel)) throw new UsageError(`--log-level must be one of ${logLevels.join(', ')}; it is '${logLevel}'`)
  const clientHeadersTimeout = milliseconds('client-headers-timeout', values['client-headers-timeout'])
  const workers = values.workers === undefined ? undefined : parseWorkers(values.workers)
  const overrides = {
    ...values.redis !== undefined && { redis: { url: values.redis } },
    ...values.listen !== undefined && { listen: values.listen },
    ...logLevel !== undefined && { logLevel },
    ...clientHeadersTimeout !== undefined && { clientHeadersTimeout },
    ...values['trust-proxy'] !== undefined && { trustProxy: trustedFlag(values['trust-proxy']) },
    ...adminOf(values.admin, environment),
    ...tlsOf(values)
  }
  if (overrides.listen !== undefined) parseListen(overrides.listen, '--listen')

  if (reader !== undefined && file !== undefined) {
    for (const flag of ['upstream', 'policy', 'connect-timeout', 'timeout', 'health-path', 'health-interval', 'no-passive', 'cache', 'sticky'] as const) {
      if (values[flag] !== undefined) throw new UsageError(`--${flag} and --config do not go together: put it into the file's pools, routes, health, cache and sticky`)
    }
    const again = async (): Promise<LoadedConfig> => {
      const { options, source } = await reader.loadConfig(file)
      // The flag switches it on; the file may say more about it.
      const compress = values.compress === true && (options.compress === undefined || options.compress === false) ? { compress: true } : {}
      return { options: withKeys({ ...options, ...overrides, ...compress }, environment), source }
    }
    const { options, source } = await again()
    return { name: 'serve', options, source, file, again, watch: values.watch ?? false, workers }
  }
  parseUpstreams(upstreams, '--upstream', { maxInFlightPerUpstream: Infinity })
  if (values.policy !== undefined && !Object.hasOwn(policies, values.policy)) {
    throw new UsageError(`--policy must be one of ${Object.keys(policies).join(', ')}; it is '${values.policy}'`)
  }
  const connectTimeout = milliseconds('connect-timeout', values['connect-timeout'])
  const timeout = milliseconds('timeout', values.timeout)
  const pool = {
    upstreams,
    ...values.policy !== undefined && { policy: values.policy },
    ...connectTimeout !== undefined && { connection: { connectTimeout } }
  } as BalancerPoolOptions
  const route = { prefix: '/', pool: 'default', ...timeout !== undefined && { headersTimeout: timeout, idleTimeout: timeout } }
  const sticky = values.sticky === undefined ? undefined : parseSticky(values.sticky)
  const options = {
    pools: { default: pool },
    routes: [route],
    health: healthOf(values),
    ...values.cache === true && { cache: true as const },
    compress: values.compress ?? false,
    ...sticky !== undefined && { sticky },
    ...overrides
  }
  return { name: 'serve', options: withKeys(options, environment), source: 'the flags', watch: false, workers }
}

function parse (args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: true })
  } catch (error) {
    // The parser's advice on dashes after the first sentence helps nobody here.
    throw new UsageError((error as Error).message.split('. ')[0]!)
  }
}

/** Without a flag for checks there are none: what a server answers at any path or port is for its owner to say. */
function healthOf (values: { readonly 'health-path'?: string; readonly 'health-interval'?: string; readonly 'no-passive'?: boolean }): HealthOptions {
  const path = values['health-path']
  if (path !== undefined && !/^\/[\x21-\x7e]*$/.test(path)) throw new UsageError(`--health-path must be a path such as '/healthz'; it is '${path}'`)
  const interval = milliseconds('health-interval', values['health-interval'], 20)
  const check = { ...interval !== undefined && { interval }, ...path !== undefined && { path } }
  return { check: path === undefined && interval === undefined ? false : check, ...values['no-passive'] === true && { passive: false as const } }
}

function adminOf (prefix: string | undefined, environment: NodeJS.ProcessEnv): { admin?: ServeAdminOptions } {
  if (prefix === undefined) return {}
  if (!/^(\/[A-Za-z0-9._~-]+)+$/.test(prefix)) throw new UsageError(`--admin must be a path such as '/headgate'; it is '${prefix}'`)
  const token = environment['HEADGATE_ADMIN_TOKEN'] ?? ''
  if (token !== '' && !/^[\x21-\x7e]{8,}$/.test(token)) throw new UsageError('HEADGATE_ADMIN_TOKEN must be at least 8 visible ASCII characters, without spaces')
  return { admin: { prefix, ...token !== '' && { token } } }
}

function tlsOf (values: { readonly 'tls-cert'?: string; readonly 'tls-key'?: string; readonly 'redirect-http'?: string }): Pick<ServeOptions, 'tls'> {
  const { 'tls-cert': cert, 'tls-key': key, 'redirect-http': redirect } = values
  if (cert === undefined && key === undefined) {
    if (redirect !== undefined) throw new UsageError('--redirect-http needs --tls-cert and --tls-key: a file says redirect under tls')
    return {}
  }
  if (cert === undefined || key === undefined) throw new UsageError('--tls-cert and --tls-key go together')
  return { tls: { certificates: [{ cert, key }], ...redirect !== undefined && { redirect: { listen: redirect } } } }
}

function trustedFlag (text: string): string {
  try {
    trusted(text)
  } catch {
    throw new UsageError(`--trust-proxy must be addresses, networks such as 10.0.0.0/8, loopback, linklocal or uniquelocal, with commas between them; it is '${text}'`)
  }
  return text
}

function isLogLevel (text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text)
}

function milliseconds (flag: string, text: string | undefined, least = 1): number | undefined {
  if (text === undefined) return undefined
  const value = parseUnit(text, 'ms')
  if (value === undefined || value < least || value > 600_000) throw new UsageError(`--${flag} must be ${ALLOWED.ms}, from ${least} ms to 10 minutes; it is '${text}'`)
  return value
}
