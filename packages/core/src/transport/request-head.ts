import type { TransportRequest } from './contract.ts'

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// eslint-disable-next-line no-control-regex
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/
const BAD_TARGET = /[^\x21-\x7e]/

/** The request's head as latin1 text, or `undefined` when a part of it would break the framing. */
export function headText (request: TransportRequest, optionalBody: boolean): string | undefined {
  const { method, path, headers, body, upgrade } = request
  if (!NAME.test(method) || path === '' || BAD_TARGET.test(path)) return undefined
  let text = `${method} ${path} HTTP/1.1\r\n`
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const value = headers[i + 1]!
    if (!NAME.test(name) || BAD_VALUE.test(value)) return undefined
    text += `${name}: ${value}\r\n`
  }
  if (body === null) {
    // RFC 9110 8.6: methods that expect content say that there is none.
    if (request.emptyBody || !optionalBody) text += 'Content-Length: 0\r\n'
  } else if (Buffer.isBuffer(body)) text += `Content-Length: ${body.length}\r\n`
  else if (body.length !== undefined) text += `Content-Length: ${body.length}\r\n`
  else text += 'Transfer-Encoding: chunked\r\n'
  if (request.trailerNames !== undefined) text += `Trailer: ${request.trailerNames}\r\n`
  if (request.expectContinue) text += 'Expect: 100-continue\r\n'
  return text + (upgrade === undefined ? 'Connection: keep-alive\r\n\r\n' : `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`)
}
