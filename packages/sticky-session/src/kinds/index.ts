import type { Binding, CommonOptions, KindContext } from '../contract.ts'
import { appCookie, type AppCookieOptions } from './app-cookie.ts'
import { CookieBinding, type CookieOptions } from './cookie.ts'
import { header, type HeaderOptions } from './header.ts'
import { key, type KeyOptions } from './key.ts'
import type { KeyedOptions } from './keyed.ts'
import { param, type ParamOptions } from './param.ts'
import { query, type QueryOptions } from './query.ts'
import { sourceIp, type SourceIpOptions } from './source-ip.ts'

/** How clients are found again, and with what options. */
export type AffinityOptions =
  | CookieOptions | AppCookieOptions | SourceIpOptions | HeaderOptions | QueryOptions | ParamOptions | KeyOptions

export type KindName = NonNullable<AffinityOptions['by']>

interface Kind {
  /** JSON Schema of the options, beside those that all kinds take. */
  readonly properties: object
  readonly required: readonly string[]
  /** Does it sign what it gives to clients? */
  signs (options: AffinityOptions): boolean
  create (options: never, context: KindContext): Binding
}

type Properties<O> = Record<Exclude<keyof O, keyof CommonOptions>, object>

const token = { type: 'string', pattern: "^[!#$%&'*+.^_`|~\\w-]{1,256}$" }
const text = { type: 'string', minLength: 1, maxLength: 256 }
const by = { type: 'string' }
const memory = { type: 'string', enum: ['table', 'hash'] } satisfies Record<string, unknown>
const bits = (maximum: number): object => ({ type: 'integer', minimum: 1, maximum })
const never = (): boolean => false

/** Every kind. A new one is a file of its own, and a line in here and in {@link AffinityOptions}. */
export const kinds: Readonly<Record<KindName, Kind>> = {
  cookie: {
    properties: {
      by,
      name: token,
      path: { type: 'string', pattern: '^/[\\x21-\\x3a\\x3c-\\x7e]*$' },
      domain: { type: 'string', pattern: '^\\.?[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*$' },
      sameSite: { type: 'string', enum: ['lax', 'strict', 'none'] },
      secure: { enum: [true, false, 'auto'] },
      partitioned: { type: 'boolean' },
      forward: { type: 'boolean' },
      together: {}
    } satisfies Properties<CookieOptions>,
    required: [],
    signs: () => true,
    create: (options: CookieOptions, context) => new CookieBinding(options, context) as Binding
  },
  'app-cookie': {
    properties: { by, name: token, mode: { type: 'string', enum: ['learn', 'prefix'] } } satisfies Properties<AppCookieOptions>,
    required: ['name'],
    signs: (options) => (options as AppCookieOptions).mode === 'prefix',
    create: appCookie
  },
  'source-ip': {
    properties: { by, memory, ipv4Prefix: bits(32), ipv6Prefix: bits(128) } satisfies Properties<SourceIpOptions>,
    required: [],
    signs: never,
    create: sourceIp
  },
  header: { properties: { by, memory, name: token } satisfies Properties<HeaderOptions>, required: ['name'], signs: never, create: header },
  query: { properties: { by, memory, name: text } satisfies Properties<QueryOptions>, required: ['name'], signs: never, create: query },
  param: { properties: { by, memory, name: text } satisfies Properties<ParamOptions>, required: ['name'], signs: never, create: param },
  key: { properties: { by, memory, key: { isFunction: true } } satisfies Properties<KeyOptions>, required: ['key'], signs: never, create: key }
}

/** Does it find clients by a hash alone, with nothing noted anywhere? */
export function remembersNothing (options: AffinityOptions): boolean {
  return (options as KeyedOptions).memory === 'hash' || (options.by === 'source-ip' && options.memory === undefined)
}
