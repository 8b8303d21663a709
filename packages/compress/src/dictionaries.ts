import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { CodingDone } from './encodings/contract.ts'
import { type DictionaryEncoding, dictionaryEncodings } from './encodings/dictionary.ts'
import { type Fields, fieldOf } from './fields.ts'
import { keyOf } from './memo.ts'
import type { Accepted } from './negotiate.ts'
import { isReadable } from './readable.ts'
import { OwnVersions, type Versions, versionsOfCache } from './versions.ts'

export interface DictionaryOptions {
  /** Paths of assets that come in versions, with `*` for any characters: `/assets/app-*.js`. A former version is the dictionary for the next. */
  readonly match: readonly string[]
  /** Bytes of all versions kept in this plugin's memory (none where a cache keeps them), and a quarter as many of what was made with them. @default 67108864 */
  readonly maxBytes?: number
  /** Longest body, in bytes, that becomes a dictionary or is encoded with one. @default 2097152 */
  readonly maxSize?: number
  /** Versions kept per pattern and origin, 1–64. @default 4 */
  readonly versions?: number
}

interface Pattern {
  readonly text: string
  readonly regexp: RegExp
}

/** A request for an asset that comes in versions. */
interface Visit {
  /** The pattern of its path. */
  readonly pattern: string
  readonly versions: Versions
}

/** A body and its SHA-256 in base64. */
export interface Version {
  readonly body: Buffer
  readonly hash: string
}

// RFC 9651: a byte sequence; SHA-256 has 32 bytes.
const HASH = /^:([A-Za-z0-9+/]{43}=):$/
const PUBLIC_VARY = new Set(['', 'accept-encoding', 'available-dictionary', 'origin'])
const OVERHEAD = 1024
/** Bodies whose hashes are remembered. */
const HASHES = 1024

/** Versions of assets, and responses made with them (RFC 9842). */
export class Dictionaries {
  readonly maxSize: number
  readonly encodings: readonly DictionaryEncoding[]
  readonly #patterns: readonly Pattern[]
  readonly #most: number
  readonly #own: OwnVersions
  readonly #visits = new WeakMap<FastifyRequest, Visit>()
  /** Hashes by checksums of bodies: candidates, never proofs. */
  readonly #hashes = new LRUCache<number, string>({ max: HASHES })
  /** Made with a dictionary, by coding and both hashes. */
  readonly #made: LRUCache<string, Buffer>
  readonly #waiting = new Map<string, CodingDone[]>()

  constructor (options: DictionaryOptions, encodings: readonly DictionaryEncoding[] = dictionaryEncodings()) {
    const { maxBytes = 67_108_864 } = options
    this.encodings = encodings
    this.maxSize = options.maxSize ?? 2_097_152
    this.#most = options.versions ?? 4
    this.#patterns = options.match.map((text) => ({
      text, regexp: new RegExp(`^${text.replace(/[.$]/g, '\\$&').replaceAll('*', '.*')}$`)
    }))
    this.#own = new OwnVersions(maxBytes)
    this.#made = new LRUCache<string, Buffer>({ maxSize: Math.ceil(maxBytes / 4), sizeCalculation: ({ length }) => length + OVERHEAD })
  }

  /** To be called when a request comes. */
  begin (request: FastifyRequest): void {
    if (request.method !== 'GET' && request.method !== 'HEAD') return
    const pattern = this.patternOf(request)
    if (pattern === undefined) return
    const versions = (versionsOfCache(request) ?? this.#own).of(request)
    if (versions !== undefined) this.#visits.set(request, { pattern, versions })
  }

  /** The pattern that the request's path matches. */
  patternOf (request: FastifyRequest): string | undefined {
    const path = request.raw.url!.split('?', 1)[0]!
    for (const { text, regexp } of this.#patterns) if (regexp.test(path)) return text
    return undefined
  }

  /** Is the request one for an asset whose versions are kept? */
  concerns (request: FastifyRequest): boolean {
    return this.#visits.has(request)
  }

  /** The best dictionary coding that the client takes. */
  choose (accepted: Accepted): DictionaryEncoding | undefined {
    let best: DictionaryEncoding | undefined
    for (const encoding of this.encodings) if (accepted.weight(encoding.name) > (best === undefined ? 0 : accepted.weight(best.name))) best = encoding
    return best
  }

  /**
   * Keeps a body as a version and tells the client of it by Use-As-Dictionary. `undefined`: it is not the same for everybody,
   * or may not be kept.
   */
  remember (request: FastifyRequest, reply: Fields & Pick<FastifyReply, 'getHeaders'>, body: Buffer): Version | undefined {
    const visit = this.#visits.get(request)
    if (visit === undefined || body.length > this.maxSize || !isPublic(request, reply)) return undefined
    const { pattern, versions } = visit
    if (reply.getHeader('use-as-dictionary') === undefined) reply.header('use-as-dictionary', `match="${pattern}"`)
    const key = keyOf(body)
    const known = this.#hashes.get(key)
    if (known !== undefined && versions.peek(known)?.equals(body) === true) return { body, hash: known }
    const hash = createHash('sha256').update(body).digest('base64')
    this.#hashes.set(key, hash)
    versions.put({ hash, body, fields: flat(reply.getHeaders()), asset: pattern, most: this.#most })
    return { body, hash }
  }

  /** Gives the version that the client has and names, if it is from the same origin, still here, and may be used for this response. */
  available (request: FastifyRequest, fields: Fields, done: (version: Version | undefined) => void): void {
    const [, hash] = HASH.exec(String(request.headers['available-dictionary'] ?? '').trim()) ?? []
    const visit = this.#visits.get(request)
    if (hash === undefined || visit === undefined || !isReadable(request, fields)) return done(undefined)
    const give = (body: Buffer | undefined): void => { done(body === undefined ? undefined : { body, hash }) }
    const found = visit.versions.get(hash)
    if (found instanceof Promise) void found.then(give)
    else give(found)
  }

  /** `version` encoded with `dictionary`, once. */
  encode (version: Version, dictionary: Version, encoding: DictionaryEncoding, done: CodingDone): void {
    const key = `${encoding.name} ${dictionary.hash} ${version.hash}`
    const known = this.#made.get(key)
    if (known !== undefined) return done(null, known)
    const before = this.#waiting.get(key)
    if (before !== undefined) {
      before.push(done)
      return
    }
    const waiting = [done]
    this.#waiting.set(key, waiting)
    encoding.encode(version.body, dictionary.body, (error, coded) => {
      this.#waiting.delete(key)
      if (error !== null) {
        for (const each of waiting) each(error, coded)
        return
      }
      const result = Buffer.concat([encoding.magic, Buffer.from(dictionary.hash, 'base64'), coded])
      this.#made.set(key, result)
      for (const each of waiting) each(null, result)
    })
  }
}

function flat (headers: Readonly<Record<string, number | string | readonly string[] | undefined>>): string[] {
  const fields: string[] = []
  for (const name of Object.keys(headers)) for (const value of [headers[name] ?? []].flat()) fields.push(name, String(value))
  return fields
}

/** Same for everybody, and kept by clients for a while: anything else must not be compressed together with another's bytes. */
function isPublic (request: FastifyRequest, fields: Fields): boolean {
  const control = fieldOf(fields, 'cache-control') ?? ''
  return /(?:^|[\s,])max-age=[1-9]/i.test(control) && !/private|no-store|no-cache/i.test(control) &&
    fields.getHeader('set-cookie') === undefined && request.headers.authorization === undefined &&
    (fieldOf(fields, 'vary') ?? '').split(',').every((name) => PUBLIC_VARY.has(name.trim().toLowerCase()))
}
