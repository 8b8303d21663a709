import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Encoded, Entry } from './entry.ts'
import { renewed } from './hit-head.ts'
import type { Prepared } from './prepared.ts'
import { type Fields, first, joined } from './semantics/fields.ts'
import type { CacheStore } from './store/contract.ts'

/** What a plugin that encodes bodies offers those who keep them: `@headgate/compress` does, as `app.compress`. */
export interface Compressor {
  /** A coding's name; `identity`, or `undefined`, when the body is to be sent as it is. */
  negotiate (acceptEncoding: string | undefined, contentType: string | undefined, length: number): string | undefined
  encode (body: Buffer, encoding: string, options: { readonly static: boolean }): Promise<Buffer>
  /** Does its own hook want the body of this response as it is? */
  wantsPlain? (request: FastifyRequest): boolean
  /** Writes into fields (names in lower case) what being encoded means for them. */
  describe (headers: Record<string, number | string | string[] | undefined>, encoding: string, body: Buffer): void
}

/** The compressor of a route's scope; `undefined` without one. */
export function compressorOf (app: FastifyInstance): Compressor | undefined {
  if (!app.hasDecorator('compress')) return undefined
  const found = (app as unknown as { compress?: Partial<Compressor> }).compress
  return typeof found?.negotiate === 'function' && typeof found.encode === 'function' && typeof found.describe === 'function' ? found as Compressor : undefined
}

const NO_TRANSFORM = /(?:^|[\s,])no-transform(?:[\s,]|$)/i

function untouchable (request: FastifyRequest, entry: Entry): boolean {
  if (entry.status !== 200 || entry.body === undefined || entry.size === 0 || first(entry.fields, 'content-encoding') !== undefined) return true
  if ((request.routeOptions.config as { compress?: false }).compress === false) return true
  return NO_TRANSFORM.test(joined(entry.fields, 'cache-control') ?? '') || NO_TRANSFORM.test(request.headers['cache-control'] ?? '')
}

function described (fields: Fields, compressor: Compressor, coding: string, body: Buffer): string[] {
  // A field may be called `constructor`.
  const record = Object.create(null) as Record<string, number | string | string[] | undefined>
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    const before = record[name]
    record[name] = before === undefined ? fields[i + 1]! : [before as string | string[], fields[i + 1]!].flat()
  }
  compressor.describe(record, coding, body)
  const flat: string[] = []
  for (const name of Object.keys(record)) {
    const value = record[name]
    if (value === undefined) continue
    if (typeof value === 'object') for (const one of value) flat.push(name, one)
    else flat.push(name, String(value))
  }
  return flat
}

const making: WeakMap<Entry, Set<string>> = new WeakMap()

/** Is the entry's body being encoded, to be kept beside it? */
export function isBeingEncoded (entry: Entry): boolean {
  return (making.get(entry)?.size ?? 0) > 0
}

/** Has a body encoded once, in the background, at the best level that the compressor has for what is kept. */
function make (entry: Entry, compressor: Compressor, coding: string, store: CacheStore): void {
  const under = making.get(entry) ?? new Set()
  making.set(entry, under)
  if (under.has(coding)) return
  under.add(coding)
  const body = entry.body!
  compressor.encode(body, coding, { static: true }).then((encoded) => {
    under.delete(coding)
    // Gone from memory, or not worth it.
    if (entry.body !== body || encoded.length >= body.length) return
    entry.encoded ??= new Map()
    entry.encoded.set(coding, { body: encoded, head: undefined })
    store.grown?.(entry)
  }, () => { under.delete(coding) })
}

/**
 * The stored body in the coding that this client likes best, with its fields; `undefined` when it is to be sent as it is, or is not encoded
 * yet: then the compressor's own hook does it for this answer.
 */
export function encodedFor (
  request: FastifyRequest, entry: Entry, fields: Fields, second: number, compressor: Compressor, store: CacheStore
): { readonly fields: readonly string[]; readonly body: Buffer; readonly ready?: Prepared } | undefined {
  if (untouchable(request, entry) || compressor.wantsPlain?.(request) === true) return undefined
  const coding = compressor.negotiate(request.raw.headers['accept-encoding'] as string | undefined, first(entry.fields, 'content-type'), entry.size)
  if (coding === undefined || coding === 'identity') return undefined
  const encoded: Encoded | undefined = entry.encoded?.get(coding)
  if (encoded === undefined) {
    make(entry, compressor, coding, store)
    return undefined
  }
  if (second === -1) return { fields: described(fields, compressor, coding, encoded.body), body: encoded.body }
  if (encoded.head?.second !== second) encoded.head = renewed(encoded.head, second, described(fields, compressor, coding, encoded.body))
  const { whole } = encoded.head
  return { fields: whole.fields, body: encoded.body, ready: whole }
}
