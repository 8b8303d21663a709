import router from 'find-my-way'
import type { FastifyRequest } from 'fastify'
import { isPlainPath, originForm } from '../path.ts'
import { refuseRoute } from '../refuse.ts'

/** Parts of a request's path by name, decoded; `undefined`: it does not match. */
export type PathMatch = (request: FastifyRequest) => Readonly<Record<string, string | undefined>> | undefined

/** Conditions on paths, compiled. */
export interface CompiledPaths {
  readonly match: PathMatch
  /** Names of the parts. */
  readonly names: readonly string[]
  /** What all its paths begin with where it is one `/prefix/*`: what `rewritePrefix` of the rule replaces. */
  readonly prefix: string | undefined
}

const NOTHING: Readonly<Record<string, string | undefined>> = Object.freeze({})

/** The path that a request asks for, as it was sent, without its query. */
function sentPath (request: FastifyRequest): string {
  const target = originForm(request.url)
  const at = target.search(/[?#]/)
  return at === -1 ? target : target.slice(0, at)
}

function decoded (text: string, decode: (text: string) => string): string {
  if (!text.includes('%')) return text
  try {
    return decode(text)
  } catch {
    return text
  }
}

/** As Fastify's router reads it: percent-encoded characters are plain, but for those that would then mean something else. */
const plainPath = (request: FastifyRequest): string => decoded(sentPath(request), decodeURI)

/** Compiles what a rule says of paths. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compilePaths (patterns: readonly string[], path: string): CompiledPaths {
  const matches = patterns.map((pattern, index) => compileOne(pattern, patterns.length === 1 ? path : `${path}[${index}]`))
  const names = patterns.length === 1 ? namesOf(patterns[0]!) : []
  const prefix = patterns.length === 1 && isPrefix(patterns[0]!) ? patterns[0]!.slice(0, -2) || '/' : undefined
  if (matches.length === 1) return { match: matches[0]!, names, prefix }
  return {
    match: (request) => {
      for (const match of matches) {
        const found = match(request)
        if (found !== undefined) return found
      }
      return undefined
    },
    names, prefix
  }
}

const isPrefix = (pattern: string): boolean => pattern.endsWith('/*') && !/[:*(]/.test(pattern.slice(0, -1))

/** `:name`, and `*` for what the star stands for. */
function namesOf (pattern: string): string[] {
  return [...pattern.matchAll(/:(\w+)|\*/g)].map(([whole, name]) => name ?? whole)
}

function compileOne (pattern: string, path: string): PathMatch {
  if (!/[:*(]/.test(pattern)) {
    if (!isPlainPath(pattern) || pattern.includes('%')) refuseRoute(path, "must be a path such as '/exact', '/prefix/*' or '/users/:id', not encoded, without dot segments", pattern)
    return (request) => plainPath(request) === pattern ? NOTHING : undefined
  }
  if (isPrefix(pattern)) {
    const base = pattern.slice(0, -2)
    return (request) => {
      const asked = plainPath(request)
      if (asked !== base && !(asked.startsWith(base) && asked.charCodeAt(base.length) === 0x2f)) return undefined
      return { '*': decoded(asked.slice(base.length + 1), decodeURIComponent) }
    }
  }
  const routes = router({ ignoreDuplicateSlashes: false, caseSensitive: true })
  try {
    routes.on('GET', pattern, () => {})
  } catch (error) {
    refuseRoute(path, `must be a pattern of Fastify's router (${(error as Error).message})`, pattern)
  }
  return (request) => routes.find('GET', sentPath(request))?.params
}
