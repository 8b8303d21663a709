import type { Answer } from './contract.ts'

/** Statuses that a cache may store although nothing is said of their freshness (RFC 9110 15.1). */
const HEURISTIC = new Set([200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501])

type Directives = ReadonlyMap<string, string>

/** Directives of a `Cache-Control` list. Qualified ones (`private="x"`) concern single fields and are left out. */
function parse (value: string): Directives {
  const directives = new Map<string, string>()
  for (const [, name, argument = ''] of value.matchAll(/([\w-]+)(?:\s*=\s*("[^"]*"|[^\s,]*))?/g)) {
    const lower = name!.toLowerCase()
    if ((lower === 'private' || lower === 'no-cache') && argument !== '') continue
    directives.set(lower, argument.replaceAll('"', ''))
  }
  return directives
}

/** A field's value for the client: what the app set replaces what the upstream said. */
function field ({ reply, headers }: Answer, name: string): string | undefined {
  const own = reply.getHeader(name)
  if (own !== undefined) return String(own)
  const values: string[] = []
  for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === name) values.push(headers[i + 1]!)
  return values.length === 0 ? undefined : values.join(', ')
}

const positive = (seconds: string | undefined): boolean => seconds !== undefined && Number(seconds) > 0

/** Is it said that the answer may be used again for some time, by a shared cache (RFC 9111 4.2.1)? */
function fresh (answer: Answer, directives: Directives): boolean {
  if (directives.has('public')) return true
  if (directives.has('s-maxage')) return positive(directives.get('s-maxage'))
  if (directives.has('max-age')) return positive(directives.get('max-age'))
  const expires = field(answer, 'expires')
  return expires !== undefined && Date.parse(expires) > Date.parse(field(answer, 'date') ?? new Date().toUTCString())
}

/**
 * False: a shared cache is meant to store this answer, so it must carry nobody's affinity (RFC 9111 3). True: none may; where
 * one might have of its own accord, the answer is marked `private`.
 */
export function keptFromCaches (answer: Answer): boolean {
  const { request, reply, status, headers } = answer
  const { method } = request
  if (status === 101 || (method !== 'GET' && method !== 'HEAD' && method !== 'POST' && method !== 'QUERY')) return true
  // Its fields would be written over those of a stored answer (RFC 9111 3.2).
  if (status === 304) return false
  for (const targeted of ['cdn-cache-control', 'surrogate-control']) {
    const value = field(answer, targeted)
    if (value !== undefined && !/no-store|private/i.test(value)) return false
  }
  const control = field(answer, 'cache-control')
  const directives = parse(control ?? '')
  if (directives.has('no-store') || directives.has('private')) return true
  // RFC 9111 3.5.
  if (request.headers.authorization !== undefined && !['public', 's-maxage', 'must-revalidate'].some((name) => directives.has(name))) return true
  if (fresh(answer, directives)) return false
  if (method === 'POST' || (control === undefined && !HEURISTIC.has(status))) return true
  if (reply.hasHeader('cache-control')) reply.header('cache-control', `${control!}, private`)
  else {
    for (let i = headers.length - 2; i >= 0; i -= 2) if (headers[i]!.toLowerCase() === 'cache-control') headers.splice(i, 2)
    headers.push('cache-control', control === undefined ? 'private' : `${control}, private`)
  }
  return true
}
