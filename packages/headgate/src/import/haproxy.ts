import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Draft, type DraftPool, type DraftRule } from './draft.ts'

interface Line { readonly words: readonly string[]; readonly line: number }
interface Section { readonly kind: string; readonly name: string; readonly line: number; readonly lines: Line[] }

const KINDS = ['global', 'defaults', 'frontend', 'backend', 'listen']

/** Words of a line: quotes and backslashes as HAProxy reads them; `#` begins a comment. */
function words (text: string): string[] {
  const found: string[] = []
  for (const [whole] of text.matchAll(/#.*|(?:\\.|"(?:\\.|[^"])*"|'[^']*'|[^\s#])+/g)) {
    if (whole.startsWith('#')) break
    found.push(whole.replace(/\\(.)|"((?:\\.|[^"])*)"|'([^']*)'/g, (_, escaped?: string, double?: string, single?: string) => escaped ?? double?.replace(/\\(.)/g, '$1') ?? single ?? ''))
  }
  return found
}

function parse (text: string, draft: Draft): Section[] {
  const sections: Section[] = []
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const list = words(raw)
    const [first, name = ''] = list
    if (first === undefined) continue
    if (KINDS.includes(first)) sections.push({ kind: first, name, line: index + 1, lines: [] })
    else if (/^\S/.test(raw) && sections.at(-1) === undefined) draft.note(index + 1, list.join(' '), 'stands outside of any section that is known')
    else sections.at(-1)?.lines.push({ words: list, line: index + 1 })
  }
  return sections
}

const time = (text: string | undefined): string | undefined => text !== undefined && /^\d+(?:ms|s|m|h|d)?$/.test(text) ? (/\d$/.test(text) ? `${text}ms` : text) : undefined
const listenAt = (text: string): string => text.replace(/^\*:/, ':').replace(/^\[?::\]?:/, ':').replace(/^unix@/, 'unix:')

const QUIET = /^(?:log|maxconn|daemon|user|group|chroot|stats|nbthread|pidfile|option (?:httplog|dontlognull|forwardfor|http-server-close|http-keep-alive|redispatch|tcplog)|mode http|timeout (?:http-request|queue|http-keep-alive|check|client-fin|server-fin|tunnel))\b/

/** A condition of HAProxy's as one of ours. */
function condition (criterion: string, values: readonly string[]): Record<string, unknown> | undefined {
  const list = values.filter((value) => !value.startsWith('-'))
  const text = (value: string): unknown => values.includes('-i') ? { pattern: `^${value.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`, flags: 'i' } : value
  const one = (items: readonly string[]): unknown => items.length === 1 ? items[0] : items
  const [, header, fetched] = /^(?:req\.)?(hdr|hdr_dom|hdr_end|cook|url_param|req\.cook)\(([\w-]+)/.exec(criterion) ?? []
  if (criterion === 'path_beg') return { path: one(list.map((path) => `${path.replace(/\/+$/, '')}/*`)) }
  if (criterion === 'path') return { path: one(list) }
  if (criterion === 'method') return { method: one(list) }
  if (criterion === 'src') return { client: one(list) }
  if (fetched?.toLowerCase() === 'host' && header === 'hdr') return { host: one(list) }
  if (fetched?.toLowerCase() === 'host' && header === 'hdr_end') return { host: one(list.map((name) => `*${name.startsWith('.') ? '' : '.'}${name}`)) }
  if (fetched === undefined || list.length !== 1) return undefined
  if (header === 'hdr') return { header: { [fetched]: text(list[0]!) } }
  if (header === 'cook') return { cookie: { [fetched]: text(list[0]!) } }
  return header === 'url_param' ? { query: { [fetched]: text(list[0]!) } } : undefined
}

/** Conditions that all hold, as one; `undefined` where two of them are of one kind and cannot be joined. */
function join (parts: readonly Record<string, unknown>[]): Record<string, unknown> | undefined {
  const all: Record<string, unknown> = {}
  for (const part of parts) {
    for (const [name, value] of Object.entries(part)) {
      if (all[name] === undefined) all[name] = value
      else if (typeof value === 'object' && !Array.isArray(value)) all[name] = { ...all[name] as object, ...value }
      else return undefined
    }
  }
  return all
}

/** `%[src]` and the like as a template. */
function template (text: string): string | undefined {
  let known = true
  const result = text.replace(/\{/g, '{{').replace(/%\[([^\]]+)\]/g, (_, fetch: string) => {
    const [, kind, name] = /^(?:req\.)?(hdr|cook|url_param)\(([\w-]+)\)$/.exec(fetch) ?? []
    const direct = { src: 'client.ip', path: 'path', query: 'query', method: 'method', url: 'url' }[fetch]
    if (direct !== undefined) return `{${direct}}`
    if (kind !== undefined) return `{${{ hdr: 'header', cook: 'cookie', url_param: 'query' }[kind]!}.${name!}}`
    known = false
    return ''
  })
  return known && !/%[a-zA-Z]/.test(result) ? result : undefined
}

/** Translates the common subset of an HAProxy configuration. */
/** `folder`: where paths of error files that are not absolute begin. */
export function importHaproxy (text: string, folder = ''): Draft {
  const draft = new Draft()
  const sections = parse(text, draft)
  const defaults: Line[] = []
  for (const section of sections) {
    // Later defaults replace earlier ones.
    if (section.kind === 'defaults') defaults.splice(0, defaults.length, ...section.lines)
    else if (section.kind === 'global') for (const { words, line } of section.lines) { if (!QUIET.test(words.join(' '))) draft.note(line, words.join(' '), 'is for HAProxy\'s own process') }
    else {
      const tcp = (section.lines.findLast(({ words }) => words[0] === 'mode') ?? defaults.findLast(({ words }) => words[0] === 'mode'))?.words[1] === 'tcp'
      if (section.kind !== 'frontend') backend(draft, section, defaults, tcp)
    }
  }
  for (const line of defaults) if (!knownDefault(line)) draft.note(line.line, line.words.join(' '), 'has no counterpart that is known')
  const pages = new Map(sections.map((section) => [section.name, errorPages(draft, section.kind === 'defaults' ? [] : section.lines, folder)]))
  const common = errorPages(draft, defaults, folder)
  for (const section of sections) {
    if (section.kind === 'frontend' || section.kind === 'listen') frontend(draft, section, defaults, (pool) => ({ ...common, ...pages.get(section.name), ...pages.get(pool) }))
  }
  return draft
}

const knownDefault = ({ words }: Line): boolean => QUIET.test(words.join(' ')) || ['mode', 'balance', 'retries', 'errorfile'].includes(words[0]!) ||
  (words[0] === 'timeout' && ['connect', 'client', 'server'].includes(words[1] ?? ''))

function backend (draft: Draft, section: Section, defaults: readonly Line[], tcp: boolean): void {
  const pool: DraftPool = { upstreams: [], policy: 'weighted-round-robin' }
  const check: Record<string, unknown> = {}
  let checked = false
  for (const { words, line } of [...defaults.filter(({ words }) => ['balance', 'timeout'].includes(words[0]!)), ...section.lines]) {
    const [first, second = '', ...rest] = words
    const leave = (reason = 'has no counterpart that is known'): void => { draft.note(line, words.join(' '), reason) }
    if (first === 'balance') balance(pool, second, rest, leave)
    else if (first === 'timeout' && second === 'connect') pool['connection'] = { connectTimeout: time(rest[0]) ?? '2s' }
    else if (first === 'cookie' && !tcp) {
      if (rest.includes('insert')) draft.sticky[section.name] = { by: 'cookie', name: second }
      else if (rest.includes('prefix') || rest.includes('rewrite')) leave('see app-cookie of sticky sessions')
      else leave()
    } else if (first === 'option' && second === 'httpchk') Object.assign(check, rest.length > 1 ? { method: rest[0], path: rest[1] } : { path: rest[0] ?? '/' })
    else if (first === 'http-check' && second === 'expect' && rest[0] === 'status') check['expect'] = { status: rest[1]!.includes('-') ? [rest[1]!.replace('-', '–')] : [Number(rest[1])] }
    else if (first === 'server' || first === 'default-server') {
      if (first === 'default-server') leave('give each upstream its own parameters')
      else checked = server(draft, pool, check, words, line, tcp) || checked
    } else if (section.kind === 'backend' && first !== 'mode' && first !== 'retries' && first !== 'timeout' && first !== 'errorfile' && !QUIET.test(words.join(' ')) && !isEdit(words)) leave()
  }
  if (pool.upstreams.length === 0) return
  if (tcp) {
    if (checked || Object.keys(check).length > 0) draft.checks[section.name] = checked && check['path'] === undefined ? { type: 'tcp', ...check } : check
    draft.stream.pools[section.name] = pool
    return
  }
  draft.pools[section.name] = pool
  if (checked) draft.checks[section.name] = check['path'] === undefined ? { type: 'tcp', ...check } : check
}

function balance (pool: DraftPool, kind: string, rest: readonly string[], leave: (reason?: string) => void): void {
  const policy = { roundrobin: 'weighted-round-robin', 'static-rr': 'weighted-round-robin', leastconn: 'least-connections', first: 'first', source: 'ip-hash', random: 'p2c' }[kind]
  const [, fetch, name] = /^(hdr|rdp-cookie)\(([\w-]+)\)$/.exec(kind) ?? []
  if (policy !== undefined) pool['policy'] = policy
  else if (kind === 'uri') Object.assign(pool, { policy: 'hash', hashOn: rest.includes('whole') ? 'url' : 'path' })
  else if (kind === 'url_param') Object.assign(pool, { policy: 'hash', hashOn: `query:${rest[0] ?? ''}` })
  else if (fetch === 'hdr') Object.assign(pool, { policy: 'hash', hashOn: `header:${name!}` })
  else leave()
}

/** Adds one `server` line; tells whether it is checked. */
function server (draft: Draft, pool: DraftPool, check: Record<string, unknown>, all: readonly string[], line: number, tcp: boolean): boolean {
  const [, name = '', address = '', ...parameters] = all
  const secure = parameters.includes('ssl')
  let spec = address.startsWith('/') || address.startsWith('unix@') ? `unix:${address.replace(/^unix@/, '')}` : `${tcp ? secure ? 'tls' : 'tcp' : secure ? 'https' : 'http'}://${address.includes(':') ? address : `${address}:${secure ? 443 : 80}`}`
  spec += `;id=${name}`
  let checked = false
  for (let i = 0; i < parameters.length; i++) {
    const parameter = parameters[i]!
    switch (parameter) {
      case 'check': checked = true; break
      case 'ssl': case 'on': break
      case 'backup': spec += ';backup'; break
      case 'disabled': spec += ';weight=0'; break
      case 'weight': spec += `;weight=${parameters[++i]!}`; break
      case 'maxconn': spec += `;maxInFlight=${parameters[++i]!}`; break
      case 'inter': check['interval'] = time(parameters[++i]); break
      case 'rise': case 'fall': check[parameter] = Number(parameters[++i]); break
      case 'cookie': i++; break
      case 'verify':
        if (parameters[++i] === 'none') draft.note(line, `server ${name} … verify none`, 'certificates of upstreams are verified unless connection.tls.rejectUnauthorized is false')
        break
      default: draft.note(line, `server ${name} … ${parameter}`, 'has no counterpart that is known')
    }
  }
  pool.upstreams.push(spec)
  return checked
}

const isEdit = (words: readonly string[]): boolean => /^http-(?:request|response)$/.test(words[0]!) && /^(?:set|add|del)-header$/.test(words[1] ?? '')

function frontend (draft: Draft, section: Section, defaults: readonly Line[], pagesOf: (pool: string) => Record<string, unknown>): void {
  const acls = new Map<string, Record<string, unknown> | undefined>()
  const rules: DraftRule[] = []
  const shared: DraftRule = {}
  const binds: string[] = []
  let last: string | undefined
  let tcp = defaults.findLast(({ words }) => words[0] === 'mode')?.words[1] === 'tcp'
  for (const { words, line } of [...defaults.filter(({ words }) => words[0] === 'timeout' || words[0] === 'retries'), ...section.lines]) {
    const [first, second = '', ...rest] = words
    const leave = (reason = 'has no counterpart that is known'): void => { draft.note(line, words.join(' '), reason) }
    switch (first) {
      case 'mode': tcp = second === 'tcp'; break
      case 'bind':
        if (rest.includes('ssl')) leave('TLS is an option of its own: see the documentation of TLS')
        else {
          binds.push(...second.split(',').map(listenAt))
          if (rest.length > 0) leave('of bind only the address was translated')
        }
        break
      case 'acl': {
        const [criterion = '', ...values] = rest
        const found = condition(criterion, values)
        if (found === undefined) leave('such a condition has no counterpart that is known')
        if (acls.has(second)) leave('several lines of one acl mean or: give rules of their own')
        else acls.set(second, found)
        break
      }
      case 'errorfile': break
      case 'default_backend': last = second; break
      case 'use_backend': {
        const match = matchOf(rest, acls)
        if (match === undefined) leave('its condition was not translated')
        else rules.push({ ...Object.keys(match).length > 0 && { match }, pool: second })
        break
      }
      case 'redirect': case 'http-request': {
        if (isEdit(words)) {
          edit(shared, words, leave)
          break
        }
        const rule = special(first === 'redirect' ? ['redirect', second, ...rest] : [second, ...rest], acls)
        if (rule === undefined) leave()
        else rules.push(rule)
        break
      }
      case 'http-response':
        if (isEdit(words)) edit(shared, words, leave)
        else leave()
        break
      case 'timeout':
        if (second === 'server' && time(rest[0]) !== undefined) Object.assign(shared, { headersTimeout: time(rest[0]), idleTimeout: time(rest[0]) })
        break
      case 'retries': shared['retry'] = { attempts: Math.min(10, Number(second)) }; break
      default:
        if (section.kind === 'frontend' && !QUIET.test(words.join(' '))) leave()
        else if (section.kind === 'listen' && !QUIET.test(words.join(' ')) && !['balance', 'server', 'cookie', 'option', 'http-check', 'default-server'].includes(first!)) leave()
    }
  }
  if (section.kind === 'listen') last ??= section.name
  if (tcp) {
    for (const listen of binds) if (last !== undefined) draft.stream.listeners.push({ name: section.name, listen, pool: last })
    return
  }
  for (const bind of binds) draft.listen.add(bind)
  if (last !== undefined) rules.push({ pool: last })
  draft.rules.push(...rules.map((rule) => {
    if (rule['pool'] === undefined) return rule
    const pages = pagesOf(rule['pool'] as string)
    return { ...rule, ...shared, ...Object.keys(pages).length > 0 && { errorPages: pages } }
  }))
}

/** `errorfile STATUS FILE`: a whole response, of which body and type are the page. */
function errorPages (draft: Draft, lines: readonly Line[], folder: string): Record<string, unknown> {
  const pages: Record<string, unknown> = {}
  for (const { words: [first, status = '', path = ''], line } of lines) {
    if (first !== 'errorfile') continue
    let text: string
    try {
      text = readFileSync(resolve(folder, path), 'utf8')
    } catch {
      draft.note(line, `errorfile ${status} ${path}`, 'it could not be read: see errorPages')
      continue
    }
    const [head = '', ...body] = text.split(/\r?\n\r?\n/)
    const contentType = /^content-type: *(.+?)\r?$/im.exec(head)?.[1]
    const answered = /^HTTP\/[\d.]+ (\d{3})/.exec(head)?.[1]
    pages[status] = { body: body.join('\n\n'), ...contentType !== undefined && { contentType }, ...answered !== undefined && answered !== status && { status: Number(answered) } }
  }
  return pages
}

/** `if a b`, or `unless` as far as there is a way to say it. */
function matchOf ([keyword, ...names]: readonly string[], acls: ReadonlyMap<string, Record<string, unknown> | undefined>): Record<string, unknown> | undefined {
  if (keyword === undefined) return {}
  if (keyword !== 'if') return undefined
  const parts: (Record<string, unknown> | undefined)[] = []
  for (let i = 0; i < names.length; i++) {
    // One without a name stands in braces.
    const end = names[i] === '{' ? names.indexOf('}', i) : -1
    if (end === -1) parts.push(acls.get(names[i]!))
    else {
      parts.push(condition(names[i + 1] ?? '', names.slice(i + 2, end)))
      i = end
    }
  }
  return parts.length === 0 || parts.includes(undefined) ? undefined : join(parts as Record<string, unknown>[])
}

function special (given: readonly string[], acls: ReadonlyMap<string, Record<string, unknown> | undefined>): DraftRule | undefined {
  const at = given.findIndex((word) => word === 'if' || word === 'unless')
  const [kind, ...rest] = at === -1 ? given : given.slice(0, at)
  const match = at === -1 ? {} : matchOf(given.slice(at), acls)
  if (match === undefined) return undefined
  const rule: DraftRule = { ...Object.keys(match).length > 0 && { match } }
  const option = (name: string): string | undefined => rest.includes(name) ? rest[rest.indexOf(name) + 1] : undefined
  if (kind === 'deny') return { ...rule, respond: { status: Number(option('deny_status') ?? 403) } }
  if (kind === 'return') return { ...rule, respond: { status: Number(option('status') ?? 200), ...option('string') !== undefined && { body: option('string') }, ...option('content-type') !== undefined && { contentType: option('content-type') } } }
  if (kind !== 'redirect') return undefined
  const status = Number(option('code') ?? 302)
  if (rest[0] === 'scheme') return { ...rule, redirect: { to: `${rest[1]!}://{hostname}{url}`, status } }
  const to = template(rest[1] ?? '')
  if (to === undefined || !/^(?:\/|https?:)/.test(to)) return undefined
  if (rest[0] === 'location') return { ...rule, redirect: { to, status } }
  return rest[0] === 'prefix' ? { ...rule, redirect: { to: `${to.replace(/\/$/, '')}{url}`, status } } : undefined
}

function edit (shared: DraftRule, [side, verb, name = '', value = '', ...rest]: readonly string[], leave: (reason?: string) => void): void {
  if (rest.length > 0 || value === 'if') return leave('header rules have no conditions: give the rule of that condition its own')
  const filled = template(value)
  if (filled === undefined) return leave('a value in it has no counterpart')
  const headers = (shared['headers'] ??= {}) as Record<string, { remove?: string[]; set?: Record<string, string>; append?: Record<string, string> }>
  const fields = headers[side === 'http-request' ? 'request' : 'response'] ??= {}
  if (verb === 'del-header') (fields.remove ??= []).push(name)
  else (fields[verb === 'set-header' ? 'set' : 'append'] ??= {})[name] = filled
}
