import { fieldOf } from './fields.ts'

/** Attempts that may go on with one broken body. */
const MAX_RESUMPTIONS = 3
/** Not wanted in a request for the rest: only `If-Range` may decide there. */
const CONDITIONS = new Set(['range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'accept-ranges'])

/** A `Content-Range` of one range of known size: first and last byte, and the size of the whole; RFC 9110 14.4. */
function parseContentRange (value: string | undefined): [first: number, last: number, size: number] | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i.exec(value ?? '')
  if (match === null) return undefined
  const [first, last, size] = [Number(match[1]), Number(match[2]), Number(match[3])]
  return first <= last && last < size ? [first, last, size] : undefined
}

/**
 * A response body that can be gone on with from another upstream when it breaks off: the representation is named by a strong
 * validator, and which of its bytes the client has is known (RFC 9110 13.1.5, 14.2). What comes must match exactly, or the
 * transfer is broken for good.
 */
export class Resumption {
  readonly #etag: string
  readonly #encoding: string | undefined
  /** The byte after the last one that the client has, and the last one that it needs. */
  #next: number
  readonly #last: number
  readonly #size: number
  #tries = 0

  private constructor (etag: string, encoding: string | undefined, first: number, last: number, size: number) {
    this.#etag = etag
    this.#encoding = encoding
    this.#next = first
    this.#last = last
    this.#size = size
  }

  /** `undefined` when the response gives no ground for it. `length` is the body's, −1 when unknown. */
  static of (status: number, headers: readonly string[], length: number): Resumption | undefined {
    if (length <= 0 || (status !== 200 && status !== 206)) return undefined
    const etag = fieldOf(headers, 'etag')
    if (etag === undefined || !/^"[\x21\x23-\x7e\x80-\xff]*"$/.test(etag)) return undefined
    if (fieldOf(headers, 'accept-ranges')?.toLowerCase() !== 'bytes') return undefined
    const encoding = fieldOf(headers, 'content-encoding')
    if (status === 200) return new Resumption(etag, encoding, 0, length - 1, length)
    const range = parseContentRange(fieldOf(headers, 'content-range'))
    if (range === undefined || range[1] - range[0] + 1 !== length) return undefined
    return new Resumption(etag, encoding, ...range)
  }

  /** The client has got so many bytes more. */
  received (bytes: number): void {
    this.#next += bytes
  }

  /** Takes one try; false when there is none left. */
  take (): boolean {
    return this.#next <= this.#last && this.#tries++ < MAX_RESUMPTIONS
  }

  /** Fields of the request for the rest, made of those of the first request. */
  request (headers: readonly string[]): string[] {
    const list: string[] = []
    for (let i = 0; i < headers.length; i += 2) if (!CONDITIONS.has(headers[i]!.toLowerCase())) list.push(headers[i]!, headers[i + 1]!)
    list.push('Range', `bytes=${this.#next}-${this.#last}`, 'If-Range', this.#etag)
    return list
  }

  /** Is this response the rest, to the byte? */
  accepts (status: number, headers: readonly string[], length: number): boolean {
    if (status !== 206 || fieldOf(headers, 'etag') !== this.#etag || fieldOf(headers, 'content-encoding') !== this.#encoding) return false
    const range = parseContentRange(fieldOf(headers, 'content-range'))
    return range !== undefined && range[0] === this.#next && range[1] === this.#last && range[2] === this.#size &&
      (length === -1 || length === this.#last - this.#next + 1)
  }
}
