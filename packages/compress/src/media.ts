import { LRUCache } from 'lru-cache'
import mimeDb from 'mime-db'

/** Is a body of this type worth coding, and does it come as messages that the client waits for one by one? */
export type MediaKind = 'no' | 'yes' | 'progressive'

/** Not in mime-db, or with no word on compression there: types that are read while they arrive. */
const PROGRESSIVE = /^(?:text\/event-stream|application\/(?:(?:x-)?ndjson|(?:x-)?jsonl|(?:x-)?json-?lines|json-seq|stream\+json|grpc-web(?:-text)?(?:\+[\w.-]+)?))$/
const TEXTUAL = /^text\/|\+(?:json|xml|text|yaml)$/
/** mime-db calls some of these compressible: their files are compressed as a rule, or nobody knows what is in them. */
const NEVER = /^(?:image\/(?!.*\+xml$)|video\/|audio\/|application\/(?:x-)?(?:tar|gtar|ustar|zip|gzip|bzip2?|xz|7z-compressed|rar-compressed|zstd|brotli|octet-stream)$)/

function compile (patterns: readonly string[]): (type: string) => boolean {
  const exact = new Set(patterns.filter((pattern) => !pattern.endsWith('/*')))
  const prefixes = patterns.filter((pattern) => pattern.endsWith('/*')).map((pattern) => pattern.slice(0, -1))
  return (type) => exact.has(type) || prefixes.some((prefix) => type.startsWith(prefix))
}

export class MediaTypes {
  readonly #included: (type: string) => boolean
  readonly #excluded: (type: string) => boolean
  readonly #known = new LRUCache<string, MediaKind>({ max: 512 })

  /** Lists of `type/subtype` or `type/*`, in lower case. */
  constructor (included: readonly string[], excluded: readonly string[]) {
    this.#included = compile(included)
    this.#excluded = compile(excluded)
  }

  /** `value`: the whole Content-Type field. Without one nothing is known, and the body is left alone. */
  kind (value: string | undefined): MediaKind {
    if (value === undefined) return 'no'
    let kind = this.#known.get(value)
    if (kind === undefined) this.#known.set(value, kind = this.#decide(value))
    return kind
  }

  #decide (value: string): MediaKind {
    const type = value.split(';', 1)[0]!.trim().toLowerCase()
    if (this.#excluded(type)) return 'no'
    if (PROGRESSIVE.test(type)) return 'progressive'
    if (this.#included(type)) return 'yes'
    if (NEVER.test(type)) return 'no'
    return mimeDb[type]?.compressible ?? TEXTUAL.test(type) ? 'yes' : 'no'
  }
}
