import type { FastifyRequest } from 'fastify'
import type { Dictionaries } from './dictionaries.ts'
import type { Engine } from './engine.ts'
import { BackgroundBusyError, UnknownEncodingError } from './errors.ts'
import { type EtagMode } from './etag.ts'
import { RecordFields, addVary, describeEncoded } from './fields.ts'
import type { MediaTypes } from './media.ts'
import type { Negotiator } from './negotiate.ts'
import type { CompressSettings } from './options.ts'
import { type Guard, decodeBody } from './transcode.ts'

export interface EncodeOptions {
  /** At the static level, in the background: it may take a while. @default false */
  readonly static?: boolean
}

/** For those who keep bodies and serve them by themselves, such as a cache: `app.compress`. */
export class CompressService {
  /** The codings on offer, best first. */
  readonly encodings: readonly string[]
  readonly #settings: CompressSettings
  readonly #engine: Engine
  readonly #negotiator: Negotiator
  readonly #media: MediaTypes
  readonly #guard: Guard
  readonly #dictionaries: Dictionaries | undefined

  constructor (settings: CompressSettings, engine: Engine, negotiator: Negotiator, media: MediaTypes, guard: Guard, dictionaries?: Dictionaries) {
    this.encodings = [...settings.encodings.keys()]
    this.#settings = settings
    this.#engine = engine
    this.#negotiator = negotiator
    this.#media = media
    this.#guard = guard
    this.#dictionaries = dictionaries
  }

  get etag (): EtagMode { return this.#settings.etag }

  /** Would a body of this type and length (in bytes, where it is known) be encoded for anybody? Then its responses vary. */
  eligible (contentType: string | undefined, length?: number): boolean {
    return this.#media.kind(contentType) !== 'no' && (length === undefined || length >= this.#settings.threshold)
  }

  /**
   * The coding for a plain body: a name of `encodings`, or `identity`; `undefined` when the client refuses all of them (406).
   * `acceptEncoding` is the client's field, `undefined` without one.
   */
  negotiate (acceptEncoding: string | undefined, contentType: string | undefined, length?: number): string | undefined {
    const { encodings, identity, prefersIdentity } = this.#negotiator.accept(acceptEncoding)
    if (identity && (prefersIdentity || !this.eligible(contentType, length))) return 'identity'
    return encodings[0] ?? (identity ? 'identity' : undefined)
  }

  /**
   * `body` in a coding. Requests for the same content, coding and level share one run. Rejects with
   * `HG_COMPRESS_UNKNOWN_ENCODING`, for `static` with `HG_COMPRESS_BUSY`, or with the coding's own error. The body must not
   * change meanwhile.
   */
  encode (body: Buffer, encoding: string, options: EncodeOptions = {}): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const found = this.#settings.encodings.get(encoding)
      if (found === undefined) throw new UnknownEncodingError(encoding, this.encodings.join(', '))
      const done = (error: Error | null, encoded: Buffer): void => { if (error === null) resolve(encoded); else reject(error) }
      if (options.static !== true) this.#engine.encodeAsync(body, found, done)
      else if (!this.#engine.encodeStatic(body, found, done)) throw new BackgroundBusyError()
    })
  }

  /** The plain body of a coded one, within the bounds of `transcode`. Rejects with `HG_COMPRESS_BOMB` or `HG_COMPRESS_BROKEN_ENCODING`. */
  decode (body: Buffer, encoding: string): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const found = this.#settings.decoders.get(encoding)
      if (found === undefined) throw new UnknownEncodingError(encoding, [...this.#settings.decoders.keys()].join(', '))
      decodeBody(body, found, this.#guard, (error, decoded) => { if (error === null) resolve(decoded); else reject(error) })
    })
  }

  /** Is the body of this response wanted as it is, because a dictionary may come of it? Then it is not to be sent encoded by somebody else. */
  wantsPlain (request: FastifyRequest): boolean {
    return this.#dictionaries?.concerns(request) === true
  }

  /**
   * Writes into a response's fields (names in lower case) what being encoded means for them: Content-Encoding, Content-Length,
   * ETag, Accept-Ranges, digests and Vary. For `identity` only Vary.
   */
  describe (headers: Record<string, number | string | string[] | undefined>, encoding: string, body: Buffer): void {
    const fields = new RecordFields(headers)
    addVary(fields, 'Accept-Encoding')
    if (encoding !== 'identity') describeEncoded(fields, encoding, this.#settings.etag, body)
  }
}
