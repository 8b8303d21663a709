import { Readable } from 'node:stream'
import type { Coder, Encoding } from './encodings/index.ts'
import { BombError, BrokenEncodingError } from './errors.ts'

export interface TranscodeOptions {
  /** Decoded bytes per coded byte, 1–100,000; counts from the first MiB on. @default 100 */
  readonly maxRatio?: number
  /** Decoded bytes of one body, 1 or more. @default 1073741824 */
  readonly maxBytes?: number
}

/** Below this many bytes a ratio says nothing: a page of blanks is no attack. */
const HARMLESS = 1_048_576

/** Bounds on what a coded body may grow to. */
export class Guard {
  readonly #ratio: number
  readonly #bytes: number

  constructor (options: TranscodeOptions) {
    this.#ratio = options.maxRatio ?? 100
    this.#bytes = options.maxBytes ?? 1_073_741_824
  }

  /** Longest result for this many coded bytes. */
  limit (coded: number): number {
    return Math.min(this.#bytes, Math.max(HARMLESS, coded * this.#ratio))
  }
}

function broken (encoding: Encoding, error: Error): Error {
  const { code } = error as NodeJS.ErrnoException
  return new BrokenEncodingError(encoding.name, code === undefined ? error.message : `${error.message} (${code})`)
}

/** Decodes a whole body in the thread pool. Errors are {@link BombError} and {@link BrokenEncodingError}. */
export function decodeBody (body: Buffer, encoding: Encoding, guard: Guard, done: (error: Error | null, decoded: Buffer) => void): void {
  if (body.length === 0) return done(null, body)
  const limit = guard.limit(body.length)
  encoding.decode(body, limit, (error, decoded) => {
    if (error === null) return done(null, decoded)
    const tooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    done(tooLarge ? new BombError(`more than ${limit} bytes from ${body.length}`) : broken(encoding, error), body)
  })
}

/** The decoded body of `source`, as it comes; fails like {@link decodeBody}. Destroying it destroys the source. */
export class DecodedBody extends Readable {
  readonly #source: Readable
  readonly #encoding: Encoding
  readonly #guard: Guard
  #decoder: Coder | undefined
  #coded = 0
  #decoded = 0

  constructor (source: Readable, encoding: Encoding, guard: Guard) {
    super()
    this.#source = source
    this.#encoding = encoding
    this.#guard = guard
    source.on('data', (chunk: Buffer) => { this.#take(chunk) })
    source.on('end', () => {
      if (this.#decoder === undefined) this.push(null)
      else this.#decoder.end()
    })
    source.on('error', (error: Error) => { this.destroy(error) })
    source.on('close', () => { if (!source.readableEnded) this.destroy(new Error('the source of the body was closed before its end')) })
  }

  override _read (): void {
    this.#decoder?.resume()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    this.#source.destroy()
    this.#decoder?.destroy()
    done(error)
  }

  #take (chunk: Buffer): void {
    this.#coded += chunk.length
    const decoder = this.#decoder ??= this.#start(chunk)
    if (!decoder.write(chunk)) this.#source.pause()
  }

  #start (first: Buffer): Coder {
    const decoder = this.#encoding.decoder(first)
    decoder.on('drain', () => { this.#source.resume() })
    decoder.on('end', () => { this.push(null) })
    decoder.on('error', (error: Error) => { this.destroy(broken(this.#encoding, error)) })
    decoder.on('data', (piece: Buffer) => {
      this.#decoded += piece.length
      if (this.#decoded > this.#guard.limit(this.#coded)) {
        this.destroy(new BombError(`${this.#decoded} bytes from ${this.#coded}`))
      } else if (!this.push(piece)) decoder.pause()
    })
    return decoder
  }
}
