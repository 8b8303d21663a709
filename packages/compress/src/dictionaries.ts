import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { CodingDone } from './encodings/contract.ts'
import { type DictionaryEncoding, dictionaryEncodings } from './encodings/dictionary.ts'
import { type Fields, fieldOf } from './fields.ts'
import { keyOf } from './memo.ts'
import type { Accepted } from './negotiate.ts'

export interface DictionaryOptions {
  /** Paths of assets that come in versions, with `*` for any characters: `/assets/app-*.js`. A former version is the dictionary for the next. */
  readonly match: readonly string[]
  /** Bytes of all versions kept, and of what was made with them. @default 67108864 */
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

/** A version of an asset. */
export interface Version {
  readonly body: Buffer
  readonly hash: Buffer
  /** Made with a dictionary, by coding and the dictionary's hash; a list: those who wait for it. */
  readonly encoded: Map<string, Buffer | CodingDone[]>
  readonly contentKey: string
}

// RFC 9651: a byte sequence; SHA-256 has 32 bytes.
const HASH = /^:([A-Za-z0-9+/]{43}=):$/
const PUBLIC_VARY = new Set(['', 'accept-encoding', 'available-dictionary', 'origin'])
const OVERHEAD = 1024

const weigh = ({ body, encoded }: Version): number => {
  let bytes = body.length + OVERHEAD
  for (const value of encoded.values()) if (Buffer.isBuffer(value)) bytes += value.length + OVERHEAD
  return bytes
}

/** Versions of assets by origin, and responses made with them (RFC 9842). */
export class Dictionaries {
  readonly maxSize: number
  readonly encodings: readonly DictionaryEncoding[]
  readonly #patterns: readonly Pattern[]
  readonly #versions: number
  readonly #byHash: LRUCache<string, Version>
  readonly #byContent = new Map<string, Version>()
  readonly #recent = new LRUCache<string, string[]>({ max: 1024 })

  constructor (options: DictionaryOptions, encodings: readonly DictionaryEncoding[] = dictionaryEncodings()) {
    this.encodings = encodings
    this.maxSize = options.maxSize ?? 2_097_152
    this.#versions = options.versions ?? 4
    this.#patterns = options.match.map((text) => ({
      text, regexp: new RegExp(`^${text.replace(/[.$]/g, '\\$&').replaceAll('*', '.*')}$`)
    }))
    this.#byHash = new LRUCache<string, Version>({
      maxSize: options.maxBytes ?? 67_108_864,
      sizeCalculation: weigh,
      dispose: ({ contentKey }, _key, reason) => { if (reason === 'evict') this.#byContent.delete(contentKey) }
    })
  }

  /** The pattern that the request's path matches. */
  patternOf (request: FastifyRequest): string | undefined {
    const path = request.raw.url!.split('?', 1)[0]!
    for (const { text, regexp } of this.#patterns) if (regexp.test(path)) return text
    return undefined
  }

  /** The version that the client has and names, if it is from the same origin and still here. */
  available (request: FastifyRequest): Version | undefined {
    const match = HASH.exec(String(request.headers['available-dictionary'] ?? '').trim())
    return match === null ? undefined : this.#byHash.get(`${originOf(request)} ${match[1]!}`)
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
  remember (request: FastifyRequest, fields: Fields, pattern: string, body: Buffer): Version | undefined {
    if (body.length > this.maxSize || !isPublic(request, fields)) return undefined
    if (fields.getHeader('use-as-dictionary') === undefined) fields.header('use-as-dictionary', `match="${pattern}"`)
    const origin = originOf(request)
    const contentKey = `${origin} ${body.length} ${keyOf(body)}`
    const known = this.#byContent.get(contentKey)
    if (known?.body.equals(body) === true) return known
    const hash = createHash('sha256').update(body).digest()
    const version: Version = { body: Buffer.from(body), hash, encoded: new Map(), contentKey }
    const key = `${origin} ${hash.toString('base64')}`
    this.#byContent.set(contentKey, version)
    this.#byHash.set(key, version)
    const list = this.#recent.get(`${origin} ${pattern}`) ?? []
    list.push(key)
    while (list.length > this.#versions) this.#forget(list.shift()!)
    this.#recent.set(`${origin} ${pattern}`, list)
    return version
  }

  /** `version` encoded with `dictionary`, once. */
  encode (version: Version, dictionary: Version, encoding: DictionaryEncoding, done: CodingDone): void {
    const key = `${encoding.name} ${dictionary.hash.toString('base64')}`
    const known = version.encoded.get(key)
    if (Buffer.isBuffer(known)) return done(null, known)
    if (known !== undefined) {
      known.push(done)
      return
    }
    const waiting = [done]
    version.encoded.set(key, waiting)
    encoding.encode(version.body, dictionary.body, (error, coded) => {
      if (error !== null) {
        version.encoded.delete(key)
        for (const each of waiting) each(error, coded)
        return
      }
      const result = Buffer.concat([encoding.magic, dictionary.hash, coded])
      version.encoded.set(key, result)
      this.#weighAnew(version)
      for (const each of waiting) each(null, result)
    })
  }

  #weighAnew (version: Version): void {
    const key = `${version.contentKey.split(' ', 1)[0]!} ${version.hash.toString('base64')}`
    if (this.#byHash.peek(key) !== version) return
    this.#byHash.delete(key)
    this.#byHash.set(key, version)
  }

  #forget (key: string): void {
    const version = this.#byHash.peek(key)
    if (version === undefined) return
    this.#byHash.delete(key)
    this.#byContent.delete(version.contentKey)
  }
}

function originOf (request: FastifyRequest): string {
  return `${request.protocol}://${request.host}`
}

/** Same for everybody, and kept by clients for a while: anything else must not be compressed together with another's bytes. */
function isPublic (request: FastifyRequest, fields: Fields): boolean {
  const control = fieldOf(fields, 'cache-control') ?? ''
  return /(?:^|[\s,])max-age=[1-9]/i.test(control) && !/private|no-store|no-cache/i.test(control) &&
    fields.getHeader('set-cookie') === undefined && request.headers.authorization === undefined &&
    (fieldOf(fields, 'vary') ?? '').split(',').every((name) => PUBLIC_VARY.has(name.trim().toLowerCase()))
}
