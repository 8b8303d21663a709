import { stringify } from 'yaml'
import type { ServeOptions } from '../serve-options.ts'
import { KEYS_VARIABLE } from '../sticky.ts'

export const formats = ['yaml', 'json', 'ts'] as const
export type Format = (typeof formats)[number]

const SCHEMA = './node_modules/headgate/config.schema.json'

interface Section {
  readonly about: readonly string[]
  /** Shown as a comment where the options have none. */
  readonly example: unknown
}

/** In the order in which they are written. */
const SECTIONS: { readonly [name in keyof ServeOptions]?: Section } = {
  listen: { about: ['Where clients come in: host:port, [::1]:port, :port (all interfaces), unix:/path, or a list of them.'], example: '127.0.0.1:8080' },
  tls: {
    about: ['HTTPS and HTTP/2 there. The files are read again when they change; docs/tls.md tells of ACME and client certificates.'],
    example: { certificates: [{ cert: '/etc/tls/site.pem', key: '/etc/tls/site.key' }], redirect: { listen: ':80' } }
  },
  pools: { about: ['Servers that do the work, by the name of their pool. "http://host:port;weight=3" gives one more of it, ";backup" holds it back.'], example: {} },
  routes: { about: ['Which requests go to which pool; "rules" share a prefix among several (docs/routing.md).'], example: [] },
  health: {
    about: ['Answers to real requests tell who is well; with "check" servers are asked, too.'],
    example: { check: { path: '/healthz', interval: 5000 } }
  },
  sticky: { about: [`Clients stay with their server. Cookies are signed with the secrets in the environment variable ${KEYS_VARIABLE}.`], example: { by: 'cookie' } },
  cache: { about: ['Responses that allow it are kept: true, or how much of them and for how long (docs/caching.md).'], example: { memory: { maxBytes: 67_108_864 } } },
  compress: { about: ['Responses are encoded as clients ask for.'], example: true },
  redis: { about: ['The cache and the tables of sessions are shared by way of Redis or Valkey.'], example: { url: 'redis://127.0.0.1:6379' } },
  admin: {
    about: ['Dashboard, admin API and metrics, for this machine alone; with a "token" for whoever sends it.'],
    example: { prefix: '/headgate' }
  },
  logLevel: { about: ['fatal, error, warn, info, debug, trace, silent'], example: 'info' },
  clientHeadersTimeout: { about: ['Milliseconds in which a client has to send its head.'], example: 60_000 },
  trustProxy: { about: ['Proxies before this one, whose X-Forwarded-* are believed.'], example: ['loopback', '10.0.0.0/8'] }
}

/** A configuration file that says what `options` say, with what else there is as comments. */
export function writeConfig (options: ServeOptions, format: Format, file: string): string {
  const sections = Object.entries(SECTIONS).map(([name, section]) => {
    const value = plain(options[name as keyof ServeOptions])
    return { name, ...section, value: format === 'ts' ? value : literally(value) }
  })
  if (format === 'json') return `${JSON.stringify({ $schema: SCHEMA, ...Object.fromEntries(sections.map(({ name, value }) => [name, value])) }, null, 2)}\n`
  const mark = format === 'ts' ? '//' : '#'
  const named = /^[\w./-]+$/.test(file) ? file : 'FILE'
  const head = [
    `Configuration of Headgate. \`headgate check-config ${named}\` checks it, \`headgate serve -c ${named}\` runs it;`,
    'SIGHUP, or --watch, lets a running one take it over without dropping a connection. All options: docs/configuration.md.',
    format === 'ts' ? 'Times are milliseconds, sizes bytes.' : "Times are milliseconds or '2s', sizes bytes or '64KiB'; '${NAME:-default}' comes from the environment."
  ].map((line) => `${mark} ${line}\n`).join('')
  const body = sections.map(({ name, about, example, value }) => {
    const lines = (format === 'ts' ? `${name}: ${literal(value ?? example)},` : stringify({ [name]: value ?? example }, { lineWidth: 0 }).trimEnd()).split('\n')
    return [...about.map((line) => `${mark} ${line}`), ...value === undefined ? lines.map((line) => `${mark} ${line}`) : lines].join('\n')
  })
  if (format === 'yaml') return `# yaml-language-server: $schema=${SCHEMA}\n${head}\n${body.join('\n\n')}\n`
  return `${head}import type { ServeOptions } from 'headgate'\n\nexport default {\n${body.join('\n\n').replace(/^(?=.)/gm, '  ')}\n} satisfies ServeOptions\n`
}

/** What is off, or empty, need not be said: that is the default. */
function plain (value: unknown): unknown {
  return value === false || (typeof value === 'object' && value !== null && Object.keys(value).length === 0) ? undefined : value
}

/** In these files `${NAME}` would be put in from the environment. */
function literally (value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('${', () => '$${')
  if (Array.isArray(value)) return value.map(literally)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, literally(one)]))
}

/** A value as it is written in code. */
function literal (value: unknown): string {
  if (typeof value === 'string') return /^[ -~]*$/.test(value) ? `'${value.replace(/[\\']/g, '\\$&')}'` : JSON.stringify(value)
  if (typeof value !== 'object' || value === null) return String(value)
  const inner = Array.isArray(value)
    ? value.map(literal)
    : Object.entries(value).map(([name, one]) => `${/^[A-Za-z_$][\w$]*$/.test(name) ? name : literal(name)}: ${literal(one)}`)
  const [open, close] = Array.isArray(value) ? '[]' : '{}'
  return inner.join(', ').length < 60 && !inner.some((text) => text.includes('\n'))
    ? `${open}${Array.isArray(value) ? '' : ' '}${inner.join(', ')}${Array.isArray(value) ? '' : ' '}${close}`
    : `${open}\n${inner.join(',\n').replace(/^/gm, '  ')}\n${close}`
}
