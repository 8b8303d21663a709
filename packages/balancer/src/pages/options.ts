import type { FastifyRequest } from 'fastify'

/** What a page may show. */
export interface PageContext {
  readonly status: number
  /** The status in words. */
  readonly title: string
  /** What went wrong; '' where it is not for clients. */
  readonly detail: string
  /** `HG_UPSTREAM_FAILED` …; '' for other errors. */
  readonly code: string
  readonly requestId: string
}

/** A page's text from a function, for code alone. As a method's type, so that a sync one fits as well. */
type Render = { render (page: PageContext, request: FastifyRequest): string | Promise<string> }['render']

/** One page, in one media type. It needs one of `file`, `body` and `render`. */
export interface ErrorPage {
  /** Path of a file that is read at registration. */
  readonly file?: string
  /** Its text. In files and here `{status}`, `{title}`, `{detail}`, `{code}` and `{request.id}` are filled in; other braces stay. */
  readonly body?: string
  /** Its text from a function. When that fails, the client gets the problem document. */
  readonly render?: Render
  /** @default by the file's extension (.html, .json, .txt, .xml, .svg), else 'text/html; charset=utf-8' */
  readonly contentType?: string
  /** Answer with this status instead of the error's, 200–599. @default the error's */
  readonly status?: number
}

/** Pages by status (`'503'`) or class (`'5xx'`); a status goes before its class. Several are told apart by what the client takes. */
export type ErrorPages = Readonly<Record<string, ErrorPage | readonly ErrorPage[]>>

const page = {
  type: 'object',
  additionalProperties: false,
  properties: {
    file: { type: 'string', minLength: 1 },
    body: { type: 'string' },
    render: { isFunction: true },
    contentType: { type: 'string', pattern: '^[\\w!#$&^.+-]+/[\\w!#$&^.+-]+(\\s*;[\\x20-\\x7e]*)?$' },
    status: { type: 'integer', minimum: 200, maximum: 599 }
  } satisfies Record<keyof ErrorPage, object>
}

export const pageSchema: object = { anyOf: [page, { type: 'array', minItems: 1, items: page }] }

// Names are checked where they are compiled: in the published schema they are completed.
export const errorPagesSchema: object = { type: 'object', additionalProperties: pageSchema }

export const interceptSchema: object = { anyOf: [{ type: 'boolean' }, { type: 'array', items: { type: 'integer', minimum: 400, maximum: 599 } }] }
