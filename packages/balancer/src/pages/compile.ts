import { readFileSync } from 'node:fs'
import { extname } from 'node:path'
import type { FastifyRequest } from 'fastify'
import { refuseRoute } from '../refuse.ts'
import { fillPage } from './fill.ts'
import type { ErrorPage, ErrorPages, PageContext } from './options.ts'

/** A page, ready to be sent. */
export interface Page {
  readonly contentType: string
  /** Without parameters, in lower case. */
  readonly mediaType: string
  readonly status: number | undefined
  readonly text: (context: PageContext, request: FastifyRequest) => string | Promise<string>
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8', '.htm': 'text/html; charset=utf-8', '.json': 'application/json', '.txt': 'text/plain; charset=utf-8',
  '.xml': 'application/xml', '.svg': 'image/svg+xml'
}
const HTML = 'text/html; charset=utf-8'

/** The pages of a route, by status. */
export class Pages {
  readonly #exact = new Map<number, readonly Page[]>()
  readonly #classes = new Map<number, readonly Page[]>()

  /** Reads files. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
  constructor (options: ErrorPages, path: string) {
    for (const [name, given] of Object.entries(options)) {
      const at = `${path}.${name}`
      const pages = compilePages(given, at)
      if (/^[45]\d\d$/.test(name)) this.#exact.set(Number(name), pages)
      else if (/^[45]xx$/.test(name)) this.#classes.set(Number(name[0]), pages)
      else refuseRoute(at, "must be a status such as '503', or a class, '4xx' or '5xx'", name)
    }
  }

  /** Those for a status; empty without any. */
  of (status: number): readonly Page[] {
    return this.#exact.get(status) ?? this.#classes.get(Math.floor(status / 100)) ?? []
  }
}

/** One page, or one for each of several media types. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compilePages (given: ErrorPage | readonly ErrorPage[], path: string): readonly Page[] {
  return Array.isArray(given)
    ? (given as readonly ErrorPage[]).map((page, index) => compilePage(page, `${path}[${index}]`))
    : [compilePage(given as ErrorPage, path)]
}

function compilePage (page: ErrorPage, path: string): Page {
  const { file, body, render, status } = page
  if ([file, body, render].filter((content) => content !== undefined).length !== 1) refuseRoute(path, "needs one of 'file', 'body' and 'render'", page)
  const contentType = page.contentType ?? (file === undefined ? HTML : TYPES[extname(file).toLowerCase()] ?? HTML)
  const mediaType = contentType.split(';', 1)[0]!.trim().toLowerCase()
  const text = render ?? fillPage(file === undefined ? body! : read(file, `${path}.file`), mediaType)
  return { contentType, mediaType, status, text }
}

function read (file: string, path: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    return refuseRoute(path, `must be a file that can be read (${(error as Error).message})`, file)
  }
}
