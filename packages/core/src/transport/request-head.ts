import type { TransportRequest } from './contract.ts'
import { isFieldValue, isTarget, isToken } from './syntax.ts'

/** Methods whose requests need not say that they have no content. */
const OPTIONAL_BODY = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE'])
/** What this transport writes by itself: two framings in one head are how requests are smuggled (RFC 9112 11.2). */
const OWN = new Set(['connection', 'content-length', 'transfer-encoding', 'upgrade', 'expect', 'keep-alive', 'trailer'])

/** Field lines of a flat list, or `undefined` when one of them would break the framing. */
export function fieldText (fields: readonly string[], own: ReadonlySet<string> = OWN): string | undefined {
  let text = ''
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    const value = fields[i + 1]!
    if (!isToken(name) || !isFieldValue(value)) return undefined
    if (mayBeOwn(name) && own.has(name.toLowerCase())) return undefined
    text += name + ': ' + value + '\r\n'
  }
  return text
}

/** By length, so that few names are put in lower case. */
function mayBeOwn (name: string): boolean {
  switch (name.length) {
    case 6: case 7: case 10: case 14: case 17: return true
    default: return false
  }
}

/** The request's head as latin1 text, or `undefined` when a part of it would break the framing. */
export function headText (request: TransportRequest): string | undefined {
  const { method, path, body, upgrade } = request
  if (!isToken(method) || !isTarget(path)) return undefined
  const fields = fieldText(request.headers)
  if (fields === undefined) return undefined
  let text = method + ' ' + path + ' HTTP/1.1\r\n' + fields
  if (body === null) {
    // RFC 9110 8.6: methods that expect content say that there is none.
    if (request.emptyBody || !OPTIONAL_BODY.has(method)) text += 'Content-Length: 0\r\n'
  } else if (body.length === undefined) {
    text += 'Transfer-Encoding: chunked\r\n'
    if (request.trailerNames !== undefined) {
      if (!isFieldValue(request.trailerNames)) return undefined
      text += `Trailer: ${request.trailerNames}\r\n`
    }
  } else {
    if (!Number.isSafeInteger(body.length) || body.length < 0) return undefined
    text += `Content-Length: ${body.length}\r\n`
  }
  if (request.expectContinue) text += 'Expect: 100-continue\r\n'
  if (upgrade === undefined) return text + 'Connection: keep-alive\r\n\r\n'
  return isFieldValue(upgrade) ? `${text}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n` : undefined
}
