import type { IncomingHttpHeaders } from 'node:http'

/**
 * Do conditions and ranges of requests with this method mean what they mean for GET? Those of QUERY do (RFC 10008 2.6, 2.8). Range is to be
 * ignored with all others (RFC 9110 14.2), and an If-None-Match that a POST does not meet is a failure (412) rather than a 304 (13.1.2).
 */
export function asGet (method: string): boolean {
  return method === 'GET' || method === 'QUERY'
}

/** The range that a request asks for. */
export function rangeOf ({ method, headers }: { readonly method: string; readonly headers: IncomingHttpHeaders }): string | undefined {
  return asGet(method) ? headers.range : undefined
}
