import type { FastifyRequest } from 'fastify'
import { cookieValue } from '../pool-questions.ts'
import { refuseRoute } from '../refuse.ts'
import type { PatternText, RuleMatch, Wanted } from './match-options.ts'
import { networksOf } from './networks.ts'
import { type CompiledPaths, compilePaths } from './path-match.ts'

/** Does a request meet a rule's conditions? */
export type Matcher = (request: FastifyRequest) => boolean

export interface CompiledMatch {
  /** `undefined`: every request does. */
  readonly matches: Matcher | undefined
  readonly paths: CompiledPaths | undefined
}

type Test = (value: string | undefined) => boolean

const listOf = <T>(given: T | readonly T[]): readonly T[] => [given].flat() as T[]

/** Compiles a pattern. One that remembers where it stopped would match every other time. */
export function compilePattern (given: RegExp | PatternText, path: string): RegExp {
  if (given instanceof RegExp) return new RegExp(given.source, given.flags.replace(/[gy]/g, ''))
  const { pattern, flags = '', ...rest } = given
  if (typeof pattern !== 'string' || typeof flags !== 'string' || Object.keys(rest).length > 0) refuseRoute(path, 'must be { pattern, flags } and nothing else', given)
  try {
    return new RegExp(pattern, flags.replace(/[gy]/g, ''))
  } catch (error) {
    return refuseRoute(path, (error as Error).message, `/${pattern}/${flags}`)
  }
}

function compileWanted (wanted: Wanted, path: string): Test {
  if (typeof wanted === 'string') return (value) => value === wanted
  if (typeof wanted === 'boolean') return (value) => (value !== undefined) === wanted
  if (typeof wanted !== 'object' || wanted === null) return refuseRoute(path, 'must be a string, true, false, a RegExp or { pattern }', wanted)
  const pattern = compilePattern(wanted, path)
  return (value) => value !== undefined && pattern.test(value)
}

const compileFields = (fields: Readonly<Record<string, Wanted>>, path: string): [name: string, test: Test][] =>
  Object.entries(fields).map(([name, wanted]) => [name, compileWanted(wanted, `${path}.${name}`)])

/** `example.org` or `*.example.org`, without a final dot. */
function compileHosts (hosts: readonly string[], path: string): Matcher {
  const exact = new Set<string>()
  const below: string[] = []
  for (const [index, given] of hosts.entries()) {
    const host = given.toLowerCase().replace(/\.$/, '')
    if (!/^(?:\*\.)?(?:[\w-]+\.)*[\w-]+$|^\[[\da-f:.]+\]$/.test(host)) refuseRoute(`${path}[${index}]`, "must be a name such as 'api.example', or '*.example', without a port", given)
    if (host.startsWith('*.')) below.push(host.slice(1))
    else exact.add(host)
  }
  return (request) => {
    const asked = (request.hostname ?? '').toLowerCase().replace(/\.$/, '')
    if (exact.has(asked)) return true
    for (const suffix of below) if (asked.length > suffix.length && asked.endsWith(suffix)) return true
    return false
  }
}

/** Whole types, and `type/*`. */
function compileTypes (types: readonly string[]): Matcher {
  const wanted = types.map((type) => type.toLowerCase())
  return (request) => {
    const asked = (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()
    for (const type of wanted) if (type.endsWith('/*') ? asked.startsWith(type.slice(0, -1)) : asked === type) return true
    return false
  }
}

function firstQuery (url: string, name: string): string | undefined {
  const at = url.indexOf('?')
  return at === -1 ? undefined : new URLSearchParams(url.slice(at + 1)).get(name) ?? undefined
}

/** Compiles a rule's conditions, the cheap ones first. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export function compileMatch (match: RuleMatch | ((request: FastifyRequest) => boolean) | undefined, path: string): CompiledMatch {
  if (match === undefined) return { matches: undefined, paths: undefined }
  if (typeof match === 'function') return { matches: match, paths: undefined }
  const tests: Matcher[] = []
  const { method, path: asked, host, header, cookie, query, contentType, client, when } = match
  if (method !== undefined) {
    const methods = new Set(listOf(method))
    tests.push((request) => methods.has(request.method))
  }
  const paths = asked === undefined ? undefined : compilePaths(listOf(asked), `${path}.path`)
  if (paths !== undefined) tests.push((request) => paths.match(request) !== undefined)
  if (host !== undefined) tests.push(compileHosts(listOf(host), `${path}.host`))
  for (const [name, test] of compileFields(header ?? {}, `${path}.header`)) {
    const lower = name.toLowerCase()
    tests.push((request) => test(request.headers[lower] === undefined ? undefined : String(request.headers[lower])))
  }
  for (const [name, test] of compileFields(cookie ?? {}, `${path}.cookie`)) tests.push((request) => test(cookieValue(request.headers.cookie, name) || undefined))
  for (const [name, test] of compileFields(query ?? {}, `${path}.query`)) tests.push((request) => test(firstQuery(request.url, name)))
  if (contentType !== undefined) tests.push(compileTypes(listOf(contentType)))
  if (client !== undefined) {
    const networks = networksOf(listOf(client), `${path}.client`)
    tests.push((request) => networks.has(request.ip ?? ''))
  }
  if (when !== undefined) tests.push(when)
  if (tests.length === 1) return { matches: tests[0], paths }
  return {
    matches: (request) => {
      for (const test of tests) if (!test(request)) return false
      return true
    },
    paths
  }
}
