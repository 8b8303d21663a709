import { type FailureCode } from './contract.ts'

/** What the parser tells; `chunk` is valid only during the call. */
export interface ParserEvents {
  informational (status: number, headers: readonly string[]): void
  /** `length` −1: unknown; `complete`: no body follows. */
  head (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void
  data (chunk: Buffer, last: boolean): void
  complete (trailers: readonly string[] | undefined): void
  upgraded (headers: readonly string[], rest: Buffer): void
}

export class ParseError extends Error {
  readonly code: FailureCode
  constructor (message: string, code: FailureCode = 'malformed') {
    super(message)
    this.code = code
  }
}

// Byte states. Numbers, not an enum: sources are stripped, not compiled.
const HEAD = 0
const LENGTH = 1
const CLOSE = 2
const CHUNK_SIZE = 3
const CHUNK_DATA = 4
const CHUNK_END = 5
const TRAILERS = 6
const DONE = 7

const MAX_HEADERS = 512
const MAX_INFORMATIONAL = 32
const MAX_SIZE_LINE = 1024
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// Anything but visible characters, space, tab and obs-text (RFC 9110 5.5).
// eslint-disable-next-line no-control-regex
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?$/

/**
 * HTTP/1.1 responses by RFC 9112, with every leniency refused: only CRLF ends a line, no folding, no space before the colon,
 * one Content-Length of digits, Content-Length and Transfer-Encoding never together, `chunked` the only coding.
 */
export class ResponseParser {
  readonly #events: ParserEvents
  readonly #maxHead: number
  #state = DONE
  #bodiless = false
  #upgrade = false
  #pending = ''
  #left = 0
  #informational = 0
  #chunkBytes = 0
  /** Any byte of a response was seen. */
  started = false
  /** The connection may carry another request after this response (version and Connection field). */
  keepAlive = true
  /** Seconds of the `Keep-Alive: timeout` hint; −1 without one. */
  keepAliveHint = -1

  constructor (events: ParserEvents, maxHead: number) {
    this.#events = events
    this.#maxHead = maxHead
  }

  get done (): boolean { return this.#state === DONE }
  get headSeen (): boolean { return this.#state !== HEAD }

  /** Expects a new response. */
  reset (method: string, upgrade: boolean): void {
    this.#state = HEAD
    this.#bodiless = method === 'HEAD'
    this.#upgrade = upgrade
    this.#pending = ''
    this.#informational = 0
    this.started = false
    this.keepAlive = true
    this.keepAliveHint = -1
  }

  /** The peer closed its side cleanly. True when that completed the response. */
  end (): boolean {
    if (this.#state !== CLOSE) return false
    this.#state = DONE
    this.#events.complete(undefined)
    return true
  }

  /** Throws {@link ParseError}. Returns the offset after what was used: less than the length when the response ended before. */
  execute (buffer: Buffer): number {
    let at = 0
    const end = buffer.length
    if (end > 0) this.started = true
    while (at < end && this.#state !== DONE) {
      switch (this.#state) {
        case HEAD: {
          at = this.#lines(buffer, at, '\r\n\r\n', this.#maxHead)
          if (at === -1) return end
          const head = this.#pending
          this.#pending = ''
          if (this.#head(head, buffer, at)) return end
          break
        }
        case LENGTH:
        case CHUNK_DATA: {
          const take = Math.min(this.#left, end - at)
          this.#left -= take
          const last = this.#left === 0 && this.#state === LENGTH
          const chunk = at === 0 && take === end ? buffer : buffer.subarray(at, at + take)
          at += take
          if (this.#left === 0) this.#state = last ? DONE : CHUNK_END
          this.#events.data(chunk, last)
          if (last) this.#events.complete(undefined)
          break
        }
        case CLOSE:
          this.#events.data(at === 0 ? buffer : buffer.subarray(at), false)
          at = end
          break
        case CHUNK_SIZE: {
          at = this.#lines(buffer, at, '\r\n', MAX_SIZE_LINE)
          if (at === -1) return end
          this.#size(this.#pending)
          this.#pending = ''
          break
        }
        case CHUNK_END: {
          at = this.#lines(buffer, at, '\r\n', 2)
          if (at === -1) return end
          if (this.#pending !== '\r\n') throw new ParseError('chunk data is not followed by CRLF')
          this.#pending = ''
          this.#state = CHUNK_SIZE
          break
        }
        default: {
          // TRAILERS: lines until an empty one, kept together so that the block is parsed once.
          at = this.#lines(buffer, at, '\r\n', this.#maxHead)
          if (at === -1) return end
          if (this.#pending !== '\r\n' && !this.#pending.endsWith('\r\n\r\n')) break
          const block = this.#pending.slice(0, -2)
          this.#pending = ''
          const trailers = block === '' ? undefined : fields(block.slice(0, -2).split('\r\n'), 0)
          this.#state = DONE
          this.#events.complete(trailers)
        }
      }
    }
    return at
  }

  /** Collects latin1 text up to and with `terminator`; −1 when more is needed. */
  #lines (buffer: Buffer, at: number, terminator: string, limit: number): number {
    const before = this.#pending.length
    // The terminator may straddle two reads: look again at the last bytes of what is pending.
    const overlap = Math.min(before, terminator.length - 1)
    if (overlap > 0) {
      const seam = this.#pending.slice(before - overlap) + buffer.toString('latin1', at, at + terminator.length - 1)
      const hit = seam.indexOf(terminator)
      if (hit !== -1) {
        const used = hit + terminator.length - overlap
        this.#pending += buffer.toString('latin1', at, at + used)
        return at + used
      }
    }
    const hit = buffer.indexOf(terminator, at, 'latin1')
    const stop = hit === -1 ? buffer.length : hit + terminator.length
    if (before + stop - at > limit) throw new ParseError(`more than ${limit} bytes of response head, chunk line or trailers`, 'head-too-large')
    this.#pending += buffer.toString('latin1', at, stop)
    // A bare LF never ends a line: a head made of them would otherwise be waited for until the timeout.
    if (hit === -1 && /(^|[^\r])\n/.test(this.#pending)) throw new ParseError('a line ends with a bare LF')
    return hit === -1 ? -1 : stop
  }

  /** True when the connection was handed over. */
  #head (text: string, buffer: Buffer, at: number): boolean {
    const lines = text.slice(0, -4).split('\r\n')
    const match = STATUS_LINE.exec(lines[0]!)
    if (match === null) throw new ParseError('malformed status line')
    const status = Number(match[2])
    const http10 = match[1] === '0'
    const headers = fields(lines, 1)
    let length = -1
    let chunked = false
    let close = http10
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i]!
      // Length first: most names are none of ours.
      switch (name.length) {
        case 14:
          if (name.toLowerCase() !== 'content-length') break
          if (length !== -1 || !/^[0-9]{1,15}$/.test(headers[i + 1]!)) throw new ParseError('Content-Length is repeated or no number')
          length = Number(headers[i + 1])
          break
        case 17:
          if (name.toLowerCase() !== 'transfer-encoding') break
          if (chunked || http10 || headers[i + 1]!.toLowerCase() !== 'chunked') throw new ParseError('Transfer-Encoding is not just chunked')
          chunked = true
          break
        case 10: {
          const lower = name.toLowerCase()
          if (lower === 'connection') {
            if (/(^|[,\s])close([,\s]|$)/i.test(headers[i + 1]!)) close = true
            else if (http10 && /(^|[,\s])keep-alive([,\s]|$)/i.test(headers[i + 1]!)) close = false
          } else if (lower === 'keep-alive') {
            const hint = /(?:^|[,\s])timeout=(\d{1,9})/i.exec(headers[i + 1]!)
            if (hint !== null) this.keepAliveHint = Number(hint[1])
          }
        }
      }
    }
    if (chunked && length !== -1) throw new ParseError('Content-Length and Transfer-Encoding together')
    if (status < 200) {
      if (status === 101) {
        if (!this.#upgrade) throw new ParseError('101 to a request that asked for no upgrade')
        this.#state = DONE
        this.keepAlive = false
        this.#events.upgraded(headers, buffer.subarray(at))
        return true
      }
      if (++this.#informational > MAX_INFORMATIONAL) throw new ParseError('too many interim responses')
      this.#events.informational(status, headers)
      return false
    }
    this.keepAlive = !close
    const bodiless = this.#bodiless || status === 204 || status === 304
    if (bodiless || length === 0) {
      this.#state = DONE
      this.#events.head(status, match[3] ?? '', headers, bodiless ? 0 : length, true)
      this.#events.complete(undefined)
      return false
    }
    if (chunked) {
      this.#state = CHUNK_SIZE
      this.#chunkBytes = 0
    } else if (length > 0) {
      this.#state = LENGTH
      this.#left = length
    } else {
      this.#state = CLOSE
      this.keepAlive = false
    }
    this.#events.head(status, match[3] ?? '', headers, length, false)
    return false
  }

  #size (line: string): void {
    const match = /^([0-9a-fA-F]{1,13})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)\r\n$/.exec(line)
    if (match === null) throw new ParseError('malformed chunk size')
    this.#left = Number.parseInt(match[1]!, 16)
    // Extensions carry nothing for us; a bound keeps them from being a body of their own.
    this.#chunkBytes += match[2]!.length
    if (this.#chunkBytes > 16_384) throw new ParseError('too many chunk extensions')
    this.#state = this.#left === 0 ? TRAILERS : CHUNK_DATA
  }
}

/** Field lines as a flat list, from `from` on. */
function fields (lines: string[], from: number): string[] {
  if (lines.length - from > MAX_HEADERS) throw new ParseError(`more than ${MAX_HEADERS} fields`, 'head-too-large')
  const list: string[] = []
  for (let i = from; i < lines.length; i++) {
    const line = lines[i]!
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, '')
    if (colon < 1 || !TOKEN.test(name) || BAD_VALUE.test(value)) throw new ParseError('malformed field line')
    list.push(name, value)
  }
  return list
}
