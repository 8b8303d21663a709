/** Error types of RFC 9209 2.3 by our own words for what went wrong: failure codes of transports, and reasons of the balancer. */
const TYPES: Readonly<Record<string, string>> = {
  'connect-refused': 'connection_refused',
  'connect-timeout': 'connection_timeout',
  'connect-failed': 'destination_unavailable',
  dns: 'dns_error',
  tls: 'tls_protocol_error',
  reset: 'connection_terminated',
  closed: 'connection_terminated',
  refused: 'connection_terminated',
  destroyed: 'connection_terminated',
  malformed: 'http_protocol_error',
  'head-too-large': 'http_response_header_section_size',
  truncated: 'http_response_incomplete',
  'headers-timeout': 'http_response_timeout',
  'try-timeout': 'http_response_timeout',
  timeout: 'http_response_timeout',
  'request-too-long': 'http_request_error',
  'none-ready': 'destination_unavailable',
  'no-sockets': 'proxy_internal_error',
  'queue-full': 'connection_limit_reached',
  'queue-timeout': 'connection_limit_reached',
  loop: 'proxy_loop_detected'
}

/** A string of RFC 8941 3.3.3; what it cannot hold is left out. */
function quoted (text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, '').replace(/["\\]/g, '\\$&')}"`
}

/** What a reason begins with where an upstream has answered, and the client does not get it: its status follows. */
export const ANSWERED = 'status-'

/** Value of `Proxy-Status` (RFC 9209) for an error of the proxy `name`; `details` and `nextHop` only where they may be shown. */
export function proxyStatus (name: string, reason: string, details?: string, nextHop?: string): string {
  const identifier = /^[A-Za-z*][!#$%&'*+\-.^_`|~\w:/]*$/.test(name) ? name : quoted(name)
  const what = reason.startsWith(ANSWERED) ? `received-status=${reason.slice(ANSWERED.length)}` : `error=${TYPES[reason] ?? 'http_request_error'}`
  return `${identifier}; ${what}` +
    (nextHop === undefined ? '' : `; next-hop=${quoted(nextHop)}`) + (details === undefined ? '' : `; details=${quoted(details)}`)
}
