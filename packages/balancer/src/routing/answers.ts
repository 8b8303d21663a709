import type { FastifyReply, FastifyRequest } from 'fastify'
import { refuseRoute } from '../refuse.ts'
import type { CompiledPaths } from './path-match.ts'
import { type Template, compileFieldValue, compileTemplate, forUrl } from './template.ts'

/** An answer of the proxy's own. */
export interface FixedResponse {
  /** 200–599. @default 200 */
  readonly status?: number
  /** @default nothing */
  readonly body?: string
  /** @default 'text/plain; charset=utf-8' */
  readonly contentType?: string
  /** More fields; values are templates as in `headers`. */
  readonly headers?: Readonly<Record<string, string>>
}

export interface Redirect {
  /** Where to: a path or a URL, as a template; `https://{host}{url}` for example. */
  readonly to: string
  /** 308 and 307 keep the method, 301 and 302 mostly do not, 303 never (RFC 9110 15.4). @default 308 */
  readonly status?: 301 | 302 | 303 | 307 | 308
}

export const respondSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    status: { type: 'integer', minimum: 200, maximum: 599 },
    body: { type: 'string' },
    contentType: { type: 'string', pattern: '^[\\x20-\\x7e]+$' },
    headers: { type: 'object', additionalProperties: { type: 'string' } }
  } satisfies Record<keyof FixedResponse, object>
}

export const redirectSchema: object = {
  type: 'object',
  additionalProperties: false,
  required: ['to'],
  properties: {
    to: { type: 'string', pattern: '^(/|https?://|\\{)' }, status: { type: 'integer', enum: [301, 302, 303, 307, 308] }
  } satisfies Record<keyof Redirect, object>
}

/** Answers a request without any upstream. */
export type Answer = (request: FastifyRequest, reply: FastifyReply) => void

/** Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compileResponse ({ status = 200, body = '', contentType = 'text/plain; charset=utf-8', headers = {} }: FixedResponse, path: string): Answer {
  const fields = Object.entries(headers).map(([name, text]): [string, Template] => {
    const at = `${path}.headers.${name}`
    if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name) || /^(?:content-length|transfer-encoding|connection)$/i.test(name)) refuseRoute(at, 'must be the name of a header field that does not frame messages', name)
    return [name, compileFieldValue(text, at)]
  })
  const payload = Buffer.from(body)
  const bodiless = status === 204 || status === 304
  if (bodiless && body !== '') refuseRoute(`${path}.body`, `must not be there with status ${status}`, body)
  return (request, reply) => {
    for (const [name, value] of fields) reply.header(name, value({ request, upstream: '' }))
    if (!bodiless) reply.header('content-type', contentType)
    void reply.code(status).send(bodiless ? undefined : payload)
  }
}

/** Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compileRedirect ({ to, status = 308 }: Redirect, path: string, paths: CompiledPaths | undefined): Answer {
  const template = compileTemplate(to, `${path}.to`, forUrl, paths)
  const absolute = /^https?:\/\//.test(to) || to.startsWith('{scheme}://')
  if (to.startsWith('{') && !absolute && !/^\{(?:path|url)\}/.test(to)) refuseRoute(`${path}.to`, "must begin with '/', 'http://', 'https://', '{scheme}://', '{path}' or '{url}'", to)
  return (request, reply) => {
    const filled = template({ request, upstream: '' })
    // A client that asks for `//elsewhere` or `/\elsewhere` must not be sent there: browsers take both for another host.
    void reply.header('location', absolute ? filled : filled.replace(/^[/\\]+/, '/')).code(status).send()
  }
}
