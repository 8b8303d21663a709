import type { OutgoingHttpHeaders } from 'node:http2'
import type { TransportRequest } from '../contract.ts'
import { isFieldValue, isTarget, isToken } from '../syntax.ts'

/** Fields of one connection (RFC 9113 8.2.2), and what the transport writes by itself. */
const OWN = new Set(['connection', 'content-length', 'transfer-encoding', 'upgrade', 'expect', 'keep-alive', 'proxy-connection', 'http2-settings', 'trailer'])
/** Methods whose requests need not say that they have no content. */
const OPTIONAL_BODY = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE'])
/** Parts of the opening handshake that HTTP/2 does without (RFC 8441 5). */
const HANDSHAKE = new Set(['sec-websocket-key', 'sec-websocket-accept'])

function collect (into: OutgoingHttpHeaders, fields: readonly string[], without: ReadonlySet<string>): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    const value = fields[i + 1]!
    if (!isToken(name) || !isFieldValue(value) || without.has(name)) return false
    const before = into[name]
    // RFC 9110 5.3: one list is the same as several lines. Node refuses several lines of what is no list.
    into[name] = before === undefined ? value : `${before as string}${name === 'cookie' ? '; ' : ', '}${value}`
  }
  return true
}

/** A request's fields as Node takes them, `:authority` out of `Host` (RFC 9113 8.3.1); `undefined` when they cannot be sent. */
export function requestFields (request: TransportRequest, scheme: string): OutgoingHttpHeaders | undefined {
  const { method, path, body, upgrade } = request
  if (!isToken(method) || !isTarget(path)) return undefined
  const fields = Object.create(null) as OutgoingHttpHeaders
  fields[':method'] = upgrade === undefined ? method : 'CONNECT'
  fields[':scheme'] = scheme
  fields[':path'] = path
  if (upgrade !== undefined) fields[':protocol'] = upgrade
  if (!collect(fields, request.headers, OWN)) return undefined
  if (fields['host'] !== undefined) {
    fields[':authority'] = fields['host']
    delete fields['host']
  }
  if (upgrade !== undefined) {
    for (const name of HANDSHAKE) delete fields[name]
    return fields
  }
  if (body === null) {
    if (request.emptyBody || !OPTIONAL_BODY.has(method)) fields['content-length'] = '0'
  } else if (body.length !== undefined) {
    if (!Number.isSafeInteger(body.length) || body.length < 0) return undefined
    fields['content-length'] = String(body.length)
  } else if (request.trailerNames !== undefined) {
    if (!isFieldValue(request.trailerNames)) return undefined
    fields['trailer'] = request.trailerNames
  }
  if (request.expectContinue) fields['expect'] = '100-continue'
  return fields
}

/** Trailer fields as Node takes them; `undefined` when one of them cannot be sent. */
export function trailerFields (list: readonly string[]): OutgoingHttpHeaders | undefined {
  const fields = Object.create(null) as OutgoingHttpHeaders
  return collect(fields, list, OWN) ? fields : undefined
}

/** The fields of a flat list without the pseudo-fields, which come first (RFC 9113 8.3). */
export function plainFields (raw: readonly string[]): string[] {
  let from = 0
  while (from < raw.length && raw[from]!.startsWith(':')) from += 2
  return raw.slice(from)
}
