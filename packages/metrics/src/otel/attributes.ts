import type { Attributes } from '@opentelemetry/api'
import type { AttemptMessage, DispatchMessage, Upstream } from '@headgate/core'

// Names of OpenTelemetry's semantic conventions for HTTP (stable since 1.23). They are protocol, so they are spelt here rather than
// taken from a package.

/** Those of RFC 9110 and PATCH; others would make names of spans and series of metrics without bound. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'])

/** Parameters whose values are credentials by themselves, as the conventions name them (`url.full`). */
const SECRET = /([?&](?:AWSAccessKeyId|Signature|sig|X-Goog-Signature)=)[^&]*/g

export function methodOf (method: string): string {
  return METHODS.has(method) ? method : '_OTHER'
}

/** Name of a client span: the path is no name, as there is no end of paths. */
export function spanName (method: string): string {
  return METHODS.has(method) ? method : 'HTTP'
}

/** Where an upstream is. A Unix socket is its path, an in-process upstream its name; these have no port. */
export function serverOf ({ target }: Upstream): Attributes {
  const { protocol, hostname, port, socketPath, href } = target
  if (protocol === 'unix:') return { 'server.address': socketPath! }
  if (protocol === 'app:') return { 'server.address': href }
  return { 'server.address': hostname, 'server.port': port }
}

/** Scheme of an upstream's URLs: what goes through a Unix socket or stays in the process is plain HTTP. */
export function schemeOf ({ target }: Upstream): string {
  return target.protocol === 'https:' ? 'https' : 'http'
}

/** Version of HTTP that is spoken to it; `undefined` in the process, and where each connection settles it. */
export function protocolOf ({ protocol, target }: Upstream): string | undefined {
  if (target.protocol === 'app:' || protocol === 'auto') return undefined
  return protocol === 'h1' ? '1.1' : '2'
}

function fullUrl ({ target }: Upstream, path: string): string {
  const origin = target.protocol === 'http:' || target.protocol === 'https:' ? target.href : `http://${target.host}`
  return `${origin}${path.replace(SECRET, '$1REDACTED')}`
}

/** What is known of an attempt when it starts, samplers included. */
export function startAttributes ({ lease, method, path }: DispatchMessage): Attributes {
  const { upstream, pool, attempt, choice } = lease
  const known = methodOf(method)
  const version = protocolOf(upstream)
  return {
    'http.request.method': known,
    ...known === '_OTHER' && { 'http.request.method_original': method },
    ...serverOf(upstream),
    'url.full': fullUrl(upstream, path),
    'url.scheme': schemeOf(upstream),
    ...version !== undefined && { 'network.protocol.version': version },
    ...attempt > 1 && { 'http.request.resend_count': attempt - 1 },
    'headgate.pool': pool.name,
    'headgate.upstream': upstream.id,
    'headgate.attempt': attempt,
    'headgate.choice': choice
  }
}

/** `error.type`: the status where there is one, else why it ended; `undefined` for what is no error. */
export function errorType ({ outcome, status, reason }: AttemptMessage): string | undefined {
  // Given up by us or the client before there was an answer: nobody failed.
  if (outcome === 'aborted' || outcome === 'shed') return undefined
  if (outcome !== 'ok') return reason || outcome
  return status >= 400 ? String(status) : undefined
}
