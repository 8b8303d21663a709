import { ParseError, parseFields } from './response-head.ts'

const SIZE = 0
const EXTENSION = 1
const SIZE_LF = 2
const DATA = 3
const DATA_CR = 4
const DATA_LF = 5
const TRAILERS = 6
const DONE = 7

const CR = 13
const LF = 10
/** 52 bits: exact in a number. */
const MAX_SIZE_DIGITS = 13
const MAX_EXTENSION = 1024
/** Extensions in excess of this may not outweigh the data. */
const EXTENSIONS_FREE = 16_384

const HEX = new Int8Array(256).fill(-1)
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = digit
  HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit
}

/** A CR without LF, or an LF without CR. */
const BROKEN = /\r(?=[^\n])|(?<!\r)\n/g
// RFC 9112 7.1.1, without the "bad" white space.
const EXTENSIONS = /^(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)+$/

/** The chunked coding (RFC 9112 7.1). */
export class ChunkedDecoder {
  readonly #maxTrailers: number
  #state = DONE
  #left = 0
  #digits = 0
  #text = ''
  #extensionBytes = 0
  #dataBytes = 0
  trailers: readonly string[] | undefined
  /** Where the data lies in the buffer after `execute`: all the chunks of one read, moved together. */
  from = 0
  to = 0

  constructor (maxTrailers: number) {
    this.#maxTrailers = maxTrailers
  }

  get done (): boolean { return this.#state === DONE }

  reset (): void {
    this.#state = SIZE
    this.#left = this.#digits = this.#extensionBytes = this.#dataBytes = 0
    this.#text = ''
    this.trailers = undefined
  }

  /** The offset after what was used. One contiguous piece costs one write to the client, whatever the chunks' sizes. */
  execute (buffer: Buffer, at: number, end: number): number {
    this.from = this.to = 0
    while (at < end) {
      switch (this.#state) {
        case DATA: {
          const take = Math.min(this.#left, end - at)
          if (this.to === 0) {
            this.from = at
            this.to = at + take
          } else {
            buffer.copyWithin(this.to, at, at + take)
            this.to += take
          }
          at += take
          this.#dataBytes += take
          this.#left -= take
          if (this.#left === 0) this.#state = DATA_CR
          break
        }
        case TRAILERS:
          at = this.#readTrailers(buffer, at, end)
          break
        case DONE:
          return at
        default:
          this.#byte(buffer[at++]!)
      }
    }
    return at
  }

  #byte (code: number): void {
    switch (this.#state) {
      case SIZE: {
        const digit = HEX[code]!
        if (digit !== -1) {
          if (++this.#digits > MAX_SIZE_DIGITS) throw new ParseError('chunk size is too large')
          this.#left = this.#left * 16 + digit
        } else if (this.#digits === 0) throw new ParseError('malformed chunk size')
        else if (code === CR) this.#state = SIZE_LF
        else if (code === 59) {
          this.#text = ';'
          this.#state = EXTENSION
        } else throw new ParseError('malformed chunk size')
        return
      }
      case EXTENSION:
        if (code === CR) {
          if (!EXTENSIONS.test(this.#text)) throw new ParseError('malformed chunk extension')
          this.#text = ''
          this.#state = SIZE_LF
          return
        }
        this.#text += String.fromCharCode(code)
        if (this.#text.length > MAX_EXTENSION || (++this.#extensionBytes > EXTENSIONS_FREE && this.#extensionBytes > this.#dataBytes)) {
          throw new ParseError('too many chunk extensions')
        }
        return
      case DATA_CR:
        if (code !== CR) throw new ParseError('chunk is longer than its size')
        this.#state = DATA_LF
        return
      default:
        if (code !== LF) throw new ParseError('CR without LF in the chunked coding')
        if (this.#state === DATA_LF) this.#state = SIZE
        else this.#state = this.#left === 0 ? TRAILERS : DATA
        this.#digits = 0
    }
  }

  #readTrailers (buffer: Buffer, at: number, end: number): number {
    const before = this.#text.length
    const text = this.#text + buffer.toString('latin1', at, Math.min(end, at + this.#maxTrailers + 1 - before))
    if (text.startsWith('\r\n')) {
      this.#state = DONE
      return at + 2 - before
    }
    const hit = text.indexOf('\r\n\r\n', Math.max(0, before - 3))
    if (hit === -1 ? text.length > this.#maxTrailers : hit + 4 > this.#maxTrailers) throw new ParseError(`more than ${this.#maxTrailers} bytes of trailers`, 'head-too-large')
    if (hit === -1) {
      // As in the head: a bare LF or CR is refused when it is seen.
      BROKEN.lastIndex = Math.max(0, before - 1)
      if (BROKEN.test(text)) throw new ParseError('malformed trailers')
      this.#text = text
      return end
    }
    this.trailers = parseFields(text.slice(0, hit + 2), 0)
    for (let i = 0; i < this.trailers.length; i += 2) {
      // RFC 9110 6.5.1: framing cannot come after the fact.
      if (/^(?:content-length|transfer-encoding)$/i.test(this.trailers[i]!)) throw new ParseError('framing field in the trailers')
    }
    this.#text = ''
    this.#state = DONE
    return at + hit + 4 - before
  }
}
