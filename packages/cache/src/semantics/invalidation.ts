import { type Fields, first } from './fields.ts'

/** Methods that are safe by definition (RFC 9110 9.2.1, RFC 10008); every other one, unknown ones too, invalidates. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'])

export function isSafe (method: string): boolean {
  return SAFE.has(method)
}

/**
 * Absolute URIs that a successful answer to an unsafe request makes stale (RFC 9111 4.4): the target, and what Location and
 * Content-Location name, as long as that is on the same origin.
 */
export function invalidated (target: string, status: number, fields: Fields): string[] {
  if (status < 200 || status >= 400) return []
  const urls = [target]
  for (const name of ['location', 'content-location']) {
    const value = first(fields, name)
    if (value === undefined) continue
    const url = sameOrigin(target, value)
    if (url !== undefined && !urls.includes(url)) urls.push(url)
  }
  return urls
}

/** The reference resolved against the target, when both have the same origin. */
export function sameOrigin (target: string, reference: string): string | undefined {
  try {
    const base = new URL(target)
    const url = new URL(reference, base)
    if (url.origin !== base.origin) return undefined
    return `${url.protocol}//${url.host}${url.pathname}${url.search}`
  } catch {
    return undefined
  }
}
