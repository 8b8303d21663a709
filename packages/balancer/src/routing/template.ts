import type { FastifyRequest } from 'fastify'
import { cookieValue } from '../pool-questions.ts'
import { originForm, splitQuery } from '../path.ts'
import { refuseRoute } from '../refuse.ts'
import type { CompiledPaths } from './path-match.ts'

/** What a template is filled from. */
export interface Filling {
  readonly request: FastifyRequest
  /** Address of the upstream; '' where none is chosen yet. */
  readonly upstream: string
}

type Value = (filling: Filling) => string

/** Makes a value fit for the place that it is put in. */
export type Escape = (value: string) => string

/** A template, compiled. */
export type Template = (filling: Filling) => string

/** For a URL: whole in itself, so that a value can neither end a path nor begin a query. */
export const forUrl: Escape = (value) => {
  try {
    return encodeURIComponent(value)
  } catch {
    return ''
  }
}

/** For a header field: no control characters, hence no second field; what is beyond latin1 is percent-encoded. */
// eslint-disable-next-line no-control-regex
export const forField: Escape = (value) => /^[\x20-\x7e\x80-\xff]*$/.test(value) ? value : value.replace(/[\x00-\x1f\x7f]/g, '').replace(/[^\x20-\xff]+/g, forUrl)

/** For a path of several parts: its slashes stay. */
const forPath: Escape = (value) => forUrl(value).replaceAll('%2F', '/')

const pathOf = (request: FastifyRequest): string => splitQuery(originForm(request.url))[0]
/** Without its question mark. */
const queryOf = (request: FastifyRequest): string => splitQuery(originForm(request.url))[1].slice(1)

/** Parts of a URL as the client sent them are encoded already. */
const AS_IT_IS = new Set(['url', 'path', 'query', 'host', 'hostname', 'scheme'])

const NAMED: Readonly<Record<string, Value>> = {
  'client.ip': ({ request }) => request.ip ?? '',
  scheme: ({ request }) => request.protocol ?? 'http',
  host: ({ request }) => request.host ?? '',
  hostname: ({ request }) => request.hostname ?? '',
  method: ({ request }) => request.method,
  url: ({ request }) => originForm(request.url),
  path: ({ request }) => pathOf(request),
  query: ({ request }) => queryOf(request),
  'request.id': ({ request }) => request.id,
  upstream: ({ upstream }) => upstream
}

function valueOf (name: string, paths: CompiledPaths | undefined): Value | undefined {
  if (Object.hasOwn(NAMED, name)) return NAMED[name]
  const [kind, rest = ''] = name.split(/\.(.*)/s, 2)
  if (rest === '') return undefined
  switch (kind) {
    case 'header': {
      const lower = rest.toLowerCase()
      return ({ request }) => String(request.headers[lower] ?? '')
    }
    case 'cookie': return ({ request }) => cookieValue(request.headers.cookie, rest)
    case 'query': return ({ request }) => new URLSearchParams(queryOf(request)).get(rest) ?? ''
    case 'param':
      if (paths === undefined || !paths.names.includes(rest)) return undefined
      return ({ request }) => paths.match(request)?.[rest] ?? ''
  }
  return undefined
}

/** A template for a header field: its text must be able to stand in one. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compileFieldValue (text: string, path: string, paths?: CompiledPaths): Template {
  // eslint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]|[^\x00-\xff]/.test(text)) refuseRoute(path, 'must hold no control characters and nothing beyond latin1', text)
  return compileTemplate(text, path, forField, paths)
}

/**
 * Compiles a text with `{name}` in it: `{client.ip}`, `{scheme}`, `{host}`, `{hostname}`, `{method}`, `{url}`, `{path}`, `{query}`,
 * `{request.id}`, `{upstream}`, `{header.NAME}`, `{cookie.NAME}`, `{query.NAME}`, and `{param.NAME}` of the rule's path; `{{` is a
 * brace. Values are only put in, never read as a template. Throws `HG_BALANCER_INVALID_OPTION` for `path`.
 */
export function compileTemplate (text: string, path: string, escape: Escape, paths?: CompiledPaths): Template {
  const parts: (string | Value)[] = []
  let end = 0
  for (const found of text.matchAll(/\{\{|\{([a-z]+(?:\.[\w*-]+)?)\}/gi)) {
    const [whole, name] = found
    if (found.index > end) parts.push(text.slice(end, found.index))
    end = found.index + whole.length
    if (name === undefined) {
      parts.push('{')
      continue
    }
    const value = valueOf(name, paths)
    if (value === undefined) {
      refuseRoute(path, `may name ${Object.keys(NAMED).map((known) => `{${known}}`).join(', ')}, {header.NAME}, {cookie.NAME}, {query.NAME} and {param.NAME} of the rule's path`, whole)
    }
    const escaping = escape !== forUrl ? escape : AS_IT_IS.has(name) ? forField : name === 'param.*' ? forPath : escape
    parts.push((filling) => escaping(value(filling)))
  }
  if (end < text.length) parts.push(text.slice(end))
  if (parts.length === 0) return () => ''
  if (parts.length === 1) {
    const [only] = parts
    return typeof only === 'string' ? () => only : only!
  }
  return (filling) => {
    let filled = ''
    for (const part of parts) filled += typeof part === 'string' ? part : part(filling)
    return filled
  }
}
