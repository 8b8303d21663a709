import { validateHeaderName, validateHeaderValue } from 'node:http'
import { connectionNames, isHop } from '../headers.ts'

/** A request's own fields, as they are sent. */
export interface OutgoingFields {
  /** Flat list of names and values, without Host, framing, and what belongs to one connection (RFC 9110 7.6.1). */
  readonly list: readonly string[]
  readonly host: string | undefined
  /** What Content-Length says. */
  readonly length: number | undefined
}

/** Names and values of all the forms in which undici takes headers. */
function * pairs (headers: unknown): Generator<[name: string, value: unknown]> {
  if (headers === undefined || headers === null) return
  if (typeof headers !== 'object') throw new TypeError('headers must be an object or an array')
  if (Array.isArray(headers) && !Array.isArray(headers[0])) {
    if (headers.length % 2 !== 0) throw new TypeError('an array of headers must have a value for each name')
    for (let i = 0; i < headers.length; i += 2) yield [String(headers[i]), headers[i + 1]]
  } else if (Symbol.iterator in headers) {
    for (const [name, value] of headers as Iterable<[unknown, unknown]>) yield [String(name), value]
  } else yield * Object.entries(headers)
}

/** Throws a `TypeError` for what no head may hold. */
export function outgoingFields (headers: unknown): OutgoingFields {
  const all: string[] = []
  for (const [name, value] of pairs(headers)) {
    validateHeaderName(name)
    for (const one of Array.isArray(value) ? value as unknown[] : [value]) {
      if (one === undefined) continue
      if (typeof one === 'object' && one !== null) throw new TypeError(`the value of ${name} is an object`)
      const text = one === null ? '' : String(one as string | number)
      validateHeaderValue(name, text)
      all.push(name, text)
    }
  }
  const list: string[] = []
  let host: string | undefined
  let length: number | undefined
  let named: readonly string[] = []
  for (let i = 0; i < all.length; i += 2) if (all[i]!.toLowerCase() === 'connection') named = [...named, ...connectionNames(all[i + 1]!)]
  for (let i = 0; i < all.length; i += 2) {
    const lower = all[i]!.toLowerCase()
    const value = all[i + 1]!
    if (lower === 'host') host = value
    else if (lower === 'content-length') {
      if (!/^\d{1,15}$/.test(value) || (length !== undefined && length !== Number(value))) throw new TypeError(`Content-Length is not one number: '${value}'`)
      length = Number(value)
    } else if (lower === 'te') {
      if (value.includes('trailers')) list.push(all[i]!, 'trailers')
    } else if (!isHop(lower) && !named.includes(lower)) list.push(all[i]!, value)
  }
  return { list, host, length }
}
