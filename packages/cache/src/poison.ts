import type { FastifyRequest } from 'fastify'

/**
 * Request fields that change what many frameworks, servers and proxies answer, while no client has a reason to send them: the published
 * ways to poison a cache (Kettle 2018 and 2020, Nguyen et al. 2019). They do not reach the handler of a response that may be stored,
 * unless they are part of the key. Forwarding fields that a trusted proxy in front sets reach it through `request.host`,
 * `request.protocol` and `request.ip`, and a balancer writes them anew for its upstreams.
 */
export const unkeyedFields: readonly string[] = [
  'x-forwarded-host', 'x-forwarded-server', 'x-forwarded-scheme', 'x-forwarded-proto', 'x-forwarded-port', 'x-forwarded-ssl', 'x-forwarded-prefix', 'x-forwarded-path', 'x-forwarded-uri',
  'x-forwarded-url', 'x-forwarded-by', 'forwarded', 'x-host', 'x-http-host-override', 'x-original-host', 'x-backend-host', 'x-proxy-host', 'x-scheme', 'x-url-scheme', 'x-proto', 'front-end-https',
  'x-original-url', 'x-rewrite-url', 'x-override-url', 'x-original-uri', 'request-uri', 'x-http-destinationurl', 'x-proxy-url', 'x-wap-profile', 'destination', 'proxy',
  'x-http-method', 'x-http-method-override', 'x-method-override', 'x-amz-website-redirect-location', 'x-oss-website-redirect-location'
]

const CONDITIONS = ['if-none-match', 'if-modified-since']
const RANGES = ['range', 'if-range']

/** Names that a fetch leaves out; computed once for a route's key fields. */
export interface Dropped {
  readonly whole: ReadonlySet<string>
  readonly ranged: ReadonlySet<string>
}

export function droppedFields (keyed: readonly string[]): Dropped {
  const unkeyed = unkeyedFields.filter((name) => !keyed.includes(name))
  return { whole: new Set([...unkeyed, ...CONDITIONS, ...RANGES]), ranged: new Set([...unkeyed, ...CONDITIONS]) }
}

/** Does a request that was not fetched apart carry something that the key does not know? Then nothing may be learned from its response. */
export function carriesUnkeyed (request: FastifyRequest, keyed: readonly string[]): boolean {
  for (const name of unkeyedFields) if (request.headers[name] !== undefined && !keyed.includes(name)) return true
  return false
}
