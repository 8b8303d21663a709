import { ChunkedDecoder } from './chunked.ts'
import { ParseError, ResponseHead } from './response-head.ts'

export { ParseError } from './response-head.ts'

/** What the parser tells; `chunk` is valid only during the call. */
export interface ParserEvents {
  informational (status: number, headers: readonly string[]): void
  /** `length` −1: unknown; `complete`: no body follows. */
  head (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void
  /** At most once for each `execute`, and last in it. */
  data (chunk: Buffer, last: boolean): void
}

// States. Numbers, not an enum: sources are stripped, not compiled. From DONE on nothing is expected.
const HEAD = 0
const LENGTH = 1
const CLOSE = 2
const CHUNKED = 3
const DONE = 4
const SWITCHED = 5

const MAX_INFORMATIONAL = 32
const END_OF_HEAD = Buffer.from('\r\n\r\n')
/** Most heads end within so many bytes. */
const SHORT = 1024
/** Control characters, a CR without LF or an LF without CR: what no head may hold, wherever it ends. */
// eslint-disable-next-line no-control-regex
const BROKEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?=[^\n])|(?<!\r)\n/g

/** HTTP/1.1 responses by RFC 9112, with every leniency refused. One response at a time: `reset` before each. */
export class ResponseParser {
  readonly #events: ParserEvents
  readonly #maxHead: number
  readonly #unknownCodings: boolean
  readonly #chunked: ChunkedDecoder
  #state = DONE
  #method = 'GET'
  #upgrade: string | undefined
  #pending = ''
  #left = 0
  #informational = 0
  /** A byte of the response was seen. */
  started = false
  /** The final head was seen. */
  headSeen = false
  /** As far as this response's head says. */
  keepAlive = false
  /** Seconds of the `Keep-Alive: timeout` hint; −1 without one. */
  keepAliveHint = -1
  trailers: readonly string[] | undefined
  /** Of the 101, once `switched`. */
  switchedHeaders: readonly string[] = []

  /** `unknownCodings`: see `transferCodings` of the transport's options. */
  constructor (events: ParserEvents, maxHead: number, unknownCodings: boolean = false) {
    this.#events = events
    this.#unknownCodings = unknownCodings
    this.#maxHead = maxHead
    this.#chunked = new ChunkedDecoder(maxHead)
  }

  /** The response is complete. */
  get done (): boolean { return this.#state === DONE }
  /** 101: what follows is no HTTP. */
  get switched (): boolean { return this.#state === SWITCHED }

  /** Expects a new response. `upgrade`: the protocols that the request asked for. */
  reset (method: string, upgrade?: string): void {
    this.#state = HEAD
    this.#method = method
    this.#upgrade = upgrade
    this.#pending = ''
    this.#informational = 0
    this.started = this.headSeen = this.keepAlive = false
    this.keepAliveHint = -1
    this.trailers = undefined
  }

  /** Nothing more is told, also if `execute` is running. */
  stop (): void {
    this.#state = DONE
  }

  /** The peer closed its side cleanly. True when the response is complete by that, or was before. */
  end (): boolean {
    if (this.#state === CLOSE) this.#state = DONE
    return this.#state === DONE
  }

  /**
   * Takes the first `end` bytes of `buffer`, which it may rearrange (chunks are moved together). Returns the offset after what
   * was used: less than `end` when the response ended before. Throws {@link ParseError}.
   */
  execute (buffer: Buffer, end: number = buffer.length): number {
    let at = 0
    if (end > 0) this.started = true
    while (at < end && this.#state === HEAD) {
      const next = this.#readHead(buffer, at, end)
      if (next === -1) return end
      at = next
    }
    if (at === end) return at
    switch (this.#state) {
      case LENGTH: {
        const take = Math.min(this.#left, end - at)
        this.#left -= take
        const last = this.#left === 0
        if (last) this.#state = DONE
        this.#events.data(buffer.subarray(at, at + take), last)
        return at + take
      }
      case CHUNKED: {
        const decoder = this.#chunked
        const next = decoder.execute(buffer, at, end)
        if (decoder.done) {
          this.trailers = decoder.trailers
          this.#state = DONE
        }
        if (decoder.to > decoder.from) this.#events.data(buffer.subarray(decoder.from, decoder.to), decoder.done)
        return next
      }
      case CLOSE:
        this.#events.data(buffer.subarray(at, end), false)
        return end
      default:
        return at
    }
  }

  /** The offset after the head, or −1 when more is needed. */
  #readHead (buffer: Buffer, at: number, end: number): number {
    let text = this.#pending
    let next = -1
    if (text === '') {
      // The usual case: all of it is in this read. A text is looked through faster than a buffer, as long as it is short.
      text = buffer.toString('latin1', at, Math.min(end, at + SHORT))
      const near = text.indexOf('\r\n\r\n')
      // The buffer may hold an older head's end beyond what was read.
      const hit = near !== -1 ? at + near : end - at <= SHORT ? -1 : buffer.indexOf(END_OF_HEAD, at + SHORT - 3)
      if (hit === -1 || hit + 4 > end) text = buffer.toString('latin1', at, Math.min(end, at + this.#maxHead + 1))
      else {
        next = hit + 4
        if (next - at > this.#maxHead) throw tooLarge(this.#maxHead)
        text = near !== -1 ? text.slice(0, near + 2) : buffer.toString('latin1', at, hit + 2)
      }
    } else {
      const before = text.length
      text += buffer.toString('latin1', at, Math.min(end, at + this.#maxHead + 1 - before))
      // The end may straddle two reads.
      const hit = text.indexOf('\r\n\r\n', Math.max(0, before - 3))
      if (hit + 4 > this.#maxHead) throw tooLarge(this.#maxHead)
      if (hit !== -1) {
        next = at + hit + 4 - before
        text = text.slice(0, hit + 2)
      }
    }
    if (next === -1) {
      // Refused as soon as it is seen: a head with bare LFs would otherwise be waited for until a deadline.
      BROKEN.lastIndex = Math.max(0, this.#pending.length - 1)
      if (BROKEN.test(text) || !'HTTP/1.'.startsWith(text.slice(0, 7))) throw new ParseError('malformed response head')
      if (text.length > this.#maxHead) throw tooLarge(this.#maxHead)
      this.#pending = text
      return -1
    }
    this.#pending = ''
    this.#takeHead(new ResponseHead(text, this.#unknownCodings))
    return next
  }

  #takeHead (head: ResponseHead): void {
    const { status, headers, length } = head
    if (status === 101) {
      if (!this.#maySwitch(head.upgrade)) throw new ParseError('101 to a protocol that was not asked for')
      this.#state = SWITCHED
      this.switchedHeaders = headers
      return
    }
    if (status < 200) {
      if (++this.#informational > MAX_INFORMATIONAL) throw new ParseError('too many interim responses')
      return this.#events.informational(status, headers)
    }
    this.headSeen = true
    this.keepAlive = head.keepAlive
    this.keepAliveHint = head.keepAliveHint
    // RFC 9112 6.3: these end with their head, whatever the fields say.
    const bodiless = this.#method === 'HEAD' || status === 204 || status === 304
    if (bodiless || length === 0) {
      this.#state = DONE
      return this.#events.head(status, head.reason, headers, 0, true)
    }
    if (head.chunked) {
      this.#state = CHUNKED
      this.#chunked.reset()
    } else if (length > 0) {
      this.#state = LENGTH
      this.#left = length
    } else {
      this.#state = CLOSE
      this.keepAlive = false
    }
    this.#events.head(status, head.reason, headers, length, false)
  }

  /** RFC 9110 7.8: a server switches only to protocols that the request named. */
  #maySwitch (answer: string): boolean {
    if (this.#upgrade === undefined || answer === '') return false
    const asked = this.#upgrade.toLowerCase().split(',').map((name) => name.trim())
    return answer.toLowerCase().split(',').every((name) => asked.includes(name.trim()))
  }
}

function tooLarge (limit: number): ParseError {
  return new ParseError(`more than ${limit} bytes of response head`, 'head-too-large')
}
