import { createHash } from 'node:crypto'
import { type EtagMode, encodedEtag } from './etag.ts'

/** Response fields; a Fastify reply is one. Names in lower case. */
export interface Fields {
  getHeader (name: string): number | string | string[] | undefined
  header (name: string, value: string | number): unknown
  removeHeader (name: string): unknown
}

/** A field's value as one string. */
export function fieldOf (fields: Fields, name: string): string | undefined {
  const value = fields.getHeader(name)
  return value === undefined ? undefined : typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ') : String(value)
}

/** Adds a field name to Vary, unless it is there or Vary is `*` (RFC 9110 12.5.5). */
export function addVary (fields: Fields, name: string): void {
  const before = fieldOf(fields, 'vary')
  if (before === undefined || before.trim() === '') {
    fields.header('vary', name)
    return
  }
  for (const part of before.split(',')) {
    const member = part.trim()
    if (member === '*' || (member.length === name.length && member.toLowerCase() === name.toLowerCase())) return
  }
  fields.header('vary', `${before}, ${name}`)
}

/** A field of a flat list as one string; `name` in lower case. */
export function flatField (fields: readonly string[], name: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i < fields.length; i += 2) {
    const candidate = fields[i]!
    if (candidate.length === name.length && candidate.toLowerCase() === name) value = value === undefined ? fields[i + 1]! : `${value}, ${fields[i + 1]!}`
  }
  return value
}

/** A flat list as {@link Fields}, for {@link addVary} and the like. */
export class FlatFields implements Fields {
  readonly #fields: string[]

  constructor (fields: string[]) {
    this.#fields = fields
  }

  getHeader (name: string): string | undefined {
    return flatField(this.#fields, name)
  }

  header (name: string, value: string | number): void {
    this.removeHeader(name)
    this.#fields.push(name, String(value))
  }

  removeHeader (name: string): void {
    for (let i = this.#fields.length - 2; i >= 0; i -= 2) if (this.#fields[i]!.toLowerCase() === name) this.#fields.splice(i, 2)
  }
}

const DIGESTS: Readonly<Record<string, string>> = { 'sha-256': 'sha256', 'sha-512': 'sha512' }

/** RFC 9530: both are over the bytes with their coding. Those that we can make are made anew, the others are dropped. */
function redigest (fields: Fields, name: string, body: Buffer | undefined): void {
  const before = fieldOf(fields, name)
  if (before === undefined) return
  const made = body === undefined
    ? []
    : Object.keys(DIGESTS).filter((algorithm) => before.includes(`${algorithm}=`))
      .map((algorithm) => `${algorithm}=:${createHash(DIGESTS[algorithm]!).update(body).digest('base64')}:`)
  if (made.length === 0) fields.removeHeader(name)
  else fields.header(name, made.join(', '))
}

/**
 * Makes the fields say that the body is coded now (`encoding`), or decoded (`identity`). `body`: all of it, where it is known;
 * `undefined`: its length is not known.
 */
export function describeEncoded (fields: Fields, encoding: string, mode: EtagMode, body: Buffer | undefined): void {
  if (encoding === 'identity') fields.removeHeader('content-encoding')
  else fields.header('content-encoding', encoding)
  if (body === undefined) fields.removeHeader('content-length')
  else fields.header('content-length', body.length)
  const etag = fieldOf(fields, 'etag')
  if (etag !== undefined) fields.header('etag', encodedEtag(etag, encoding, mode))
  // The origin's ranges are those of other bytes; a client that resumed by date would join two different bodies.
  if (fields.getHeader('accept-ranges') !== undefined) fields.header('accept-ranges', 'none')
  redigest(fields, 'content-digest', body)
  redigest(fields, 'repr-digest', body)
  fields.removeHeader('digest')
  fields.removeHeader('content-md5')
}

/** What describes a body that will not be sent: an error takes its place. */
export const BODY_FIELDS: readonly string[] = [
  'content-encoding', 'content-length', 'content-type', 'content-language', 'content-location', 'content-disposition', 'content-digest', 'repr-digest',
  'digest', 'content-md5', 'etag', 'last-modified', 'cache-control', 'expires', 'accept-ranges', 'use-as-dictionary'
]

/** Fields of a plain object with names in lower case, for those who have no reply at hand. */
export class RecordFields implements Fields {
  readonly #record: Record<string, number | string | string[] | undefined>

  constructor (record: Record<string, number | string | string[] | undefined>) {
    this.#record = record
  }

  getHeader (name: string): number | string | string[] | undefined {
    return this.#record[name]
  }

  header (name: string, value: string | number): void {
    this.#record[name] = String(value)
  }

  removeHeader (name: string): void {
    delete this.#record[name]
  }
}
