import { Draft, type DraftPool, type DraftRule } from './draft.ts'
import { type Access, accessOf, guarded } from './nginx-access.ts'
import { Internals, errorPages } from './nginx-pages.ts'
import { type Directive, parseNginx } from './nginx-parse.ts'

const show = ({ name, args }: Directive): string => [name, ...args].join(' ')

/** nginx's times are seconds without a unit, ours milliseconds. */
const time = (text: string): string | undefined => /^\d+$/.test(text) ? `${text}s` : /^\d+(?:ms|s|m|h|d)$/.test(text) ? text : undefined
const size = (text: string): string | undefined => {
  const [, digits, unit = ''] = /^(\d+)([kmgKMG]?)$/.exec(text) ?? []
  return digits === undefined ? undefined : `${digits}${{ '': 'B', k: 'KiB', m: 'MiB', g: 'GiB' }[unit.toLowerCase()]!}`
}

const VARIABLES: Readonly<Record<string, string>> = {
  remote_addr: 'client.ip', scheme: 'scheme', host: 'hostname', http_host: 'host', request_uri: 'url', uri: 'path', args: 'query', query_string: 'query',
  request_method: 'method', request_id: 'request.id', upstream_addr: 'upstream', server_name: 'hostname'
}

/** A text with nginx's variables as a template; `undefined` when one of them has no counterpart. */
function template (text: string): string | undefined {
  let known = true
  const result = text.replace(/\{/g, '{{').replace(/\$\{\{(\w+)\}/g, '$$$1').replace(/\$(\w+)/g, (_, name: string) => {
    const [, kind = '', rest = ''] = /^(http|cookie|arg)_(.+)$/.exec(name) ?? []
    if (Object.hasOwn(VARIABLES, name)) return `{${VARIABLES[name]!}}`
    if (kind === 'http') return `{header.${rest.replaceAll('_', '-')}}`
    if (kind === 'cookie') return `{cookie.${rest}}`
    if (kind === 'arg') return `{query.${rest}}`
    known = false
    return ''
  })
  return known ? result : undefined
}

/** Nothing to translate: it is so anyway, or has no meaning here. */
const BUILT_IN = new Set(['events', 'include', 'http', 'proxy_http_version', 'zone', 'proxy_buffering', 'server_tokens', 'sendfile', 'tcp_nopush', 'tcp_nodelay', 'proxy_redirect_default'])
const FORWARDING = /^(x-forwarded-(?:for|proto|host|port)|forwarded|upgrade|connection)$/i

/** Translates the common subset of an nginx configuration. Throws `UsageError` for a text that is none. */
export function importNginx (text: string, file: string): Draft {
  const draft = new Draft()
  const top = parseNginx(text, file)
  const http = top.flatMap((directive) => directive.name === 'http' ? directive.block ?? [] : ['upstream', 'server'].includes(directive.name) ? [directive] : [])
  for (const directive of top) if (!['http', 'upstream', 'server', 'events'].includes(directive.name)) leave(draft, directive)
  for (const directive of http) if (directive.name === 'upstream') upstream(draft, directive)
  const inherited = http.filter(({ name }) => name !== 'upstream' && name !== 'server')
  const shared: DraftRule = {}
  const zones = clientZones(inherited)
  const blocks = http.filter(({ name }) => name === 'server')
  for (const directive of inherited) if (!whole(draft, directive, zones) && !forwarding(draft, directive, shared)) leave(draft, directive)
  const around: Around = { shared, access: accessOf(inherited) ?? [], zones: blocks.length === 1 ? zones : new Set() }
  const servers = blocks.map((directive) => server(draft, directive, around))
  if (draft.listen.size > 1 && blocks.length > 1) {
    draft.note(blocks[1]!.line, 'server {…}', 'servers are told apart by their names alone, whatever address a request comes in at: look at those that share a name, or have none')
  }
  // Servers with names first: one without takes what is left.
  for (const { rules } of servers.toSorted((a, b) => Number(a.last) - Number(b.last))) draft.rules.push(...rules)
  return draft
}

const ELSEWHERE: Readonly<Record<string, string>> = {
  limit_conn: 'limits are a route\'s: see limits.maxPerClient', limit_req: 'see rateLimit', limit_req_zone: 'see rateLimit', internal: 'nothing that was translated leads there'
}

function leave (draft: Draft, directive: Directive, reason = ELSEWHERE[directive.name] ?? 'has no counterpart that is known'): void {
  if (BUILT_IN.has(directive.name)) {
    if (directive.name === 'include') draft.note(directive.line, show(directive), 'was not read: import that file too')
    return
  }
  draft.note(directive.line, show(directive) + (directive.block === undefined ? '' : ' {…}'), reason)
}

function upstream (draft: Draft, { args: [name = ''], block = [] }: Directive): void {
  const pool: DraftPool = { upstreams: [], policy: 'weighted-round-robin' }
  for (const directive of block) {
    const { args } = directive
    switch (directive.name) {
      case 'server': {
        const [address = '', ...parameters] = args
        let spec = origin(address, 'http')
        let down = false
        for (const parameter of parameters) {
          const [key, value] = parameter.split('=', 2)
          if (key === 'weight') spec += `;weight=${value!}`
          else if (key === 'backup') spec += ';backup'
          else if (key === 'max_conns') spec += `;maxInFlight=${value!}`
          else if (key === 'down') down = true
          else draft.note(directive.line, `server … ${parameter}`, key === 'max_fails' || key === 'fail_timeout' ? 'ejection is adaptive: see health.passive' : 'has no counterpart')
        }
        if (down) spec += ';weight=0'
        pool.upstreams.push(spec)
        break
      }
      case 'least_conn': pool['policy'] = 'least-connections'; break
      case 'ip_hash': pool['policy'] = 'ip-hash'; break
      case 'random': pool['policy'] = args[0] === 'two' ? 'p2c' : 'random'; break
      case 'hash': {
        const on = hashOn(args[0] ?? '')
        if (on === undefined) leave(draft, directive, 'such a key needs a function in a configuration in JavaScript')
        else Object.assign(pool, { policy: 'hash', hashOn: on })
        break
      }
      case 'keepalive': pool['connection'] = { maxIdle: Number(args[0]) }; break
      case 'sticky':
        if (args[0] === 'cookie') draft.sticky[name] = { by: 'cookie', name: args[1] ?? 'route' }
        else leave(draft, directive, 'see the kinds of sticky sessions')
        if (args.length > 2 && args[0] === 'cookie') draft.note(directive.line, show(directive), 'of a sticky cookie only its name was translated')
        break
      default: leave(draft, directive)
    }
  }
  draft.pools[name] = pool
}

function hashOn (key: string): string | undefined {
  const [, kind, rest = ''] = /^\$(http|cookie|arg)_(\w+)$/.exec(key) ?? []
  if (kind !== undefined) return { http: `header:${rest.replaceAll('_', '-')}`, cookie: `cookie:${rest}`, arg: `query:${rest}` }[kind]
  return { $remote_addr: 'client-address', $binary_remote_addr: 'client-address', $request_uri: 'url', $uri: 'path' }[key]
}

const origin = (address: string, scheme: string): string => address.startsWith('unix:') ? address : `${scheme}://${address}`

/** What holds for a server from outside of it. */
interface Around {
  readonly shared: DraftRule
  readonly access: readonly Access[]
  /** Zones by client address whose limits can be the whole's. */
  readonly zones: ReadonlySet<string>
}

/** Names of `limit_conn_zone`s that count by client address. */
function clientZones (block: readonly Directive[]): Set<string> {
  const zones = block.filter(({ name, args: [key = ''] }) => name === 'limit_conn_zone' && /^\$(?:binary_)?remote_addr$/.test(key))
  return new Set(zones.map(({ args }) => /^zone=([^:]+)/.exec(args[1] ?? '')?.[1] ?? ''))
}

/** What is said of everything together. */
function whole (draft: Draft, { name, args }: Directive, zones: ReadonlySet<string>): boolean {
  if (name === 'allow' || name === 'deny') return true
  if (name === 'limit_conn_zone') return /^\$(?:binary_)?remote_addr$/.test(args[0] ?? '')
  const [zone = '', count = ''] = args
  if (name !== 'limit_conn' || !zones.has(zone) || !/^[1-9]\d{0,5}$/.test(count)) return false
  draft.route['limits'] = { maxPerClient: Number(count) }
  return true
}

function server (draft: Draft, { block = [] }: Directive, around: Around): { rules: DraftRule[]; last: boolean } {
  const shared: DraftRule = structuredClone(around.shared)
  const access = accessOf(block) ?? around.access
  const internals = new Internals(block)
  const hosts: string[] = []
  const locations: Directive[] = []
  let everything: DraftRule | undefined
  let last = false
  for (const directive of block) {
    const { name, args } = directive
    if (name === 'listen') {
      const [address = '', ...flags] = args
      if (flags.includes('default_server')) last = true
      if (flags.includes('ssl') || flags.includes('http2') || flags.includes('quic')) draft.note(directive.line, show(directive), 'TLS is an option of its own: see the documentation of TLS')
      else draft.listen.add(address.startsWith('unix:') ? address : /^\d+$/.test(address) ? `:${address}` : address.replace(/^(?:\*|\[::\]):/, ':').replace(/^(\[[^\]]*\]|[^:]+)$/, '$1:80'))
    } else if (name === 'server_name') {
      for (const host of args) {
        if (host === '_' || host === '') last = true
        else if (host.startsWith('.')) hosts.push(host.slice(1), `*${host}`)
        else if (/^(?:\*\.)?[\w.-]+$/.test(host)) hosts.push(host)
        else draft.note(directive.line, `server_name ${host}`, 'names are exact, or *.name')
      }
    } else if (name === 'location') locations.push(directive)
    else if (name === 'return') everything = answer(draft, directive)
    else if (name === 'root' || whole(draft, directive, around.zones)) continue
    else if (!ofPages(draft, directive, shared, internals) && !forwarding(draft, directive, shared)) leave(draft, directive)
  }
  const match = hosts.length === 0 ? {} : { host: hosts.length === 1 ? hosts[0] : hosts }
  if (everything !== undefined) return { rules: [{ ...Object.keys(match).length > 0 && { match }, ...everything }], last: last || hosts.length === 0 }
  // What copies go to is no way in.
  for (const { block: inner = [] } of locations) for (const { name, args: [first = ''] } of inner) if (name === 'mirror' && first !== 'off') internals.pass(first)
  // nginx takes the exact one, then the longest prefix.
  const weight = ({ args }: Directive): number => args[0] === '=' ? Infinity : args.at(-1)!.length
  const rules = locations.toSorted((a, b) => weight(b) - weight(a)).flatMap((directive) => location(draft, directive, match, shared, access, internals))
  return { rules, last: last || hosts.length === 0 }
}

/** Error pages and copies, which other locations say more of. */
function ofPages (draft: Draft, directive: Directive, options: DraftRule, internals: Internals): boolean {
  const { name, args: [first = ''], line } = directive
  switch (name) {
    case 'error_page': errorPages(draft, directive, options, internals); return true
    case 'proxy_intercept_errors':
      // Which ones is known where all is: at the end.
      options['interceptErrors'] = first === 'on'
      return true
    case 'mirror': {
      if (first === 'off') delete options['mirror']
      else {
        const address = internals.pass(first)
        if (address === undefined) draft.note(line, show(directive), 'copies go to a pool: see mirror')
        else options['mirror'] = { pool: poolFor(draft, address) }
      }
      return true
    }
    case 'mirror_request_body':
      if (first === 'off') draft.note(line, show(directive), 'copies have their bodies, up to mirror.bodyLimit')
      return true
  }
  return false
}

/** nginx replaces those answers that it has a page for. */
function intercepted (options: DraftRule): DraftRule {
  const { interceptErrors, errorPages: pages, ...rest } = options
  if (pages === undefined) return rest
  return { ...rest, errorPages: pages, ...interceptErrors === true && { interceptErrors: Object.keys(pages as object).map(Number) } }
}

function location (
  draft: Draft, directive: Directive, match: Record<string, unknown>, shared: DraftRule, inherited: readonly Access[], internals: Internals
): DraftRule[] {
  if (internals.used.has(directive)) return []
  const { args, block = [], line } = directive
  const [modifier, path] = args.length > 1 ? args as [string, string] : ['', args[0] ?? '']
  if (modifier.startsWith('~')) {
    draft.note(line, `${show(directive)} {…}`, 'paths are exact, prefixes, or patterns of Fastify\'s router, not expressions')
    return []
  }
  if (path.startsWith('@')) {
    draft.note(line, `${show(directive)} {…}`, 'named locations: see fallback and errorPages')
    return []
  }
  const base = path.replace(/\/+$/, '')
  if (modifier !== '=' && !path.endsWith('/')) draft.note(line, `location ${path}`, `takes ${path} and what is below it, not ${path}x`)
  const condition = { ...match, ...modifier === '=' ? { path } : base !== '' && { path: `${base}/*` } }
  const rule: DraftRule = { ...Object.keys(condition).length > 0 && { match: condition } }
  let target = false
  const own: DraftRule = structuredClone(shared)
  // Inside nginx's blocks a directive of the same kind replaces all inherited ones.
  if (block.some(({ name }) => name === 'error_page')) delete own['errorPages']
  if (block.some(({ name }) => name === 'proxy_set_header') && own['headers'] !== undefined) delete (own['headers'] as Record<string, unknown>)['request']
  for (const inner of block) {
    if (inner.name === 'return') {
      Object.assign(rule, answer(draft, inner))
      target = true
    } else if (inner.name === 'proxy_pass') target = pass(draft, inner, rule, own, base)
    else if (inner.name === 'allow' || inner.name === 'deny') continue
    else if (!ofPages(draft, inner, own, internals) && !forwarding(draft, inner, own)) leave(draft, inner)
  }
  if (!target) {
    draft.note(line, `${show(directive)} {…}`, 'only locations with proxy_pass or return can be translated: Headgate serves no files')
    return []
  }
  // What is returned at once asks nobody who he is.
  return rule['pool'] === undefined ? [rule] : guarded({ ...rule, ...intercepted(own) }, accessOf(block) ?? inherited)
}

function pass (draft: Draft, directive: Directive, rule: DraftRule, own: DraftRule, base: string): boolean {
  const [url = ''] = directive.args
  const [, scheme = '', name = '', path] = /^(https?):\/\/(unix:[^:]+|[^/]+)(?::?(\/.*))?$/.exec(url) ?? []
  if (name === '' || url.includes('$')) {
    draft.note(directive.line, show(directive), 'the address must be fixed')
    return false
  }
  rule['pool'] = poolFor(draft, `${scheme}://${name}`)
  // With a path nginx puts it in the place of the location's.
  const to = path?.replace(/(?<=.)\/$/, '')
  if (to !== undefined && (to !== base || base === '') && !(to === '/' && base === '')) own['rewritePrefix'] = to
  return true
}

/** The pool of an address, which may be an upstream's name. */
function poolFor (draft: Draft, address: string): string {
  const [, scheme = '', name = ''] = /^(https?):\/\/(.*)$/.exec(address) ?? []
  const known = draft.pools[name]
  if (known === undefined) draft.pools[name] = { upstreams: [origin(name, scheme)] }
  else if (scheme === 'https') known.upstreams = known.upstreams.map((spec) => spec.replace(/^http:/, 'https:'))
  return name
}

function answer (draft: Draft, directive: Directive): DraftRule {
  const [first = '', ...rest] = directive.args
  const status = Number(first)
  const text = rest.join(' ')
  if (/^(?:https?:|\/)/.test(first) || [301, 302, 303, 307, 308].includes(status)) {
    const to = template(/^\d+$/.test(first) ? text : first)
    if (to !== undefined && /^(?:\/|https?:\/\/|\{scheme\}:\/\/|\{url\}|\{path\})/.test(to)) return { redirect: { to, status: /^\d+$/.test(first) ? status : 302 } }
  }
  if (text.includes('$') || !(status >= 200)) draft.note(directive.line, show(directive), 'the text of an answer is fixed, and its status 200–599')
  return { respond: { status: status >= 200 ? status : 404, ...text !== '' && !text.includes('$') && { body: text } } }
}

interface Fields { set?: Record<string, string>; remove?: string[] }

/** What can stand in http, server and location alike. */
function forwarding (draft: Draft, directive: Directive, options: DraftRule): boolean {
  const { name, args, line } = directive
  const [first = '', second = ''] = args
  const fields = (kind: 'request' | 'response'): Fields => {
    const headers = (options['headers'] ??= {}) as Record<string, Fields>
    return headers[kind] ??= {}
  }
  const set = (kind: 'request' | 'response', value: string): void => {
    const filled = template(value)
    if (filled === undefined) draft.note(line, show(directive), 'a variable in it has no counterpart')
    else if (filled === '') (fields(kind).remove ??= []).push(first)
    else (fields(kind).set ??= {})[first] = filled
  }
  switch (name) {
    case 'proxy_set_header':
      if (first.toLowerCase() === 'host') {
        if (['$host', '$http_host'].includes(second)) options['preserveHost'] = true
        else if (second !== '$proxy_host' && !second.includes('$')) options['host'] = second
        else if (second !== '$proxy_host') draft.note(line, show(directive), "Host is the client's, the upstream's, or a fixed one")
      } else if (!FORWARDING.test(first)) set('request', second)
      return true
    case 'add_header': set('response', second); return true
    case 'proxy_hide_header': (fields('response').remove ??= []).push(first); return true
    case 'proxy_read_timeout': case 'proxy_send_timeout': {
      const value = time(first)
      if (value === undefined) return false
      if (name === 'proxy_read_timeout') options['headersTimeout'] = value
      options['idleTimeout'] = value
      return true
    }
    case 'client_max_body_size': {
      const value = size(first)
      if (value === undefined) return false
      if (value !== '0B') options['bodyLimit'] = value
      return true
    }
    case 'proxy_next_upstream_tries':
      // 0 is no bound.
      options['retry'] = { attempts: Number(first) === 0 ? 10 : Math.min(10, Math.max(0, Number(first) - 1)) }
      return true
    case 'proxy_next_upstream':
      if (first === 'off') options['retry'] = false
      else draft.note(line, show(directive), 'what is tried again: see retry.statuses and retry.methods')
      return true
    case 'proxy_redirect':
      options['rewriteLocation'] = first !== 'off'
      return true
    case 'proxy_cookie_path': options['cookiePath'] = second; return true
    case 'proxy_cookie_domain': options['cookieDomain'] = second; return true
  }
  return false
}
