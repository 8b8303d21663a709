import type { FastifyRequest } from 'fastify'
import type { StickyReport } from './report.ts'

const MAX_SIZE = 4096

/** More than one cookie of the name: which of them is meant cannot be told. */
export const DUPLICATED: unique symbol = Symbol('duplicated')

/** Calls `visit` with where each pair's name and value begin and end, in a `Cookie` field's value. */
function eachPair (header: string, visit: (start: number, equals: number, end: number) => void): void {
  let start = 0
  while (start < header.length) {
    const semicolon = header.indexOf(';', start)
    const end = semicolon === -1 ? header.length : semicolon
    while (header[start] === ' ') start++
    const equals = header.indexOf('=', start)
    visit(start, equals === -1 || equals > end ? end : equals, end)
    start = end + 1
  }
}

/** The value of one cookie as it stands in the field, without decoding. */
export function readCookie (header: string, name: string): string | undefined | typeof DUPLICATED {
  let value: string | undefined | typeof DUPLICATED
  eachPair(header, (start, equals, end) => {
    if (equals === end || equals - start !== name.length || !header.startsWith(name, start)) return
    value = value === undefined ? header.slice(equals + 1, end).trim() : DUPLICATED
  })
  return value
}

/**
 * The value of a cookie that is fit to say something: there is one of it only, of a size that browsers keep (RFC 6265 6.1). What
 * is not is told of, and counts as none.
 */
export function readSoundCookie (request: FastifyRequest, name: string, report: StickyReport): string | undefined {
  const header = request.headers.cookie
  const value = header === undefined ? undefined : readCookie(header, name)
  if (value === DUPLICATED) return report.tell('duplicated')
  if (value !== undefined && name.length + 1 + value.length > MAX_SIZE) return report.tell('oversized')
  return value
}

/** `edit` gives a pair's new value, `undefined` to remove it; the rest stays as it was written. '' when nothing is left. */
export function editPairs (field: string, edit: (name: string, value: string) => string | undefined): string {
  const pairs: string[] = []
  let changed = false
  eachPair(field, (start, equals, end) => {
    const name = field.slice(start, equals)
    const value = field.slice(equals + 1, end)
    const edited = equals === end ? value : edit(name, value)
    if (edited !== value) changed = true
    if (edited !== undefined) pairs.push(edited === value ? field.slice(start, end) : `${name}=${edited}`)
  })
  return changed ? pairs.join('; ') : field
}

/** `edit` gives the new value of each `Cookie` field; one of which nothing is left is removed. */
export function editFields (headers: string[], edit: (field: string) => string): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i]!.length !== 6 || headers[i]!.toLowerCase() !== 'cookie') continue
    const field = headers[i + 1]!
    const edited = edit(field)
    if (edited === field) continue
    if (edited === '') headers.splice(i, 2)
    else headers[i + 1] = edited
  }
}
