import type { FailureCode } from './contract.ts'

export class ParseError extends Error {
  readonly code: FailureCode
  constructor (message: string, code: FailureCode = 'malformed') {
    super(message)
    this.code = code
  }
}

const MAX_FIELDS = 512
const SP = 32
const TAB = 9

/** All field lines (RFC 9112 5) at once: no space before the colon, no folding, no bare CR or LF, no control characters. */
const FIELD_LINES = /(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*/y

/** Field lines from `at` to the end of `text`, each ended by CRLF, as a flat list of names and trimmed values. */
export function parseFields (text: string, at: number): string[] {
  FIELD_LINES.lastIndex = at
  FIELD_LINES.test(text)
  if (FIELD_LINES.lastIndex !== text.length) throw new ParseError('malformed field line')
  const list: string[] = []
  while (at < text.length) {
    const eol = text.indexOf('\r', at)
    const colon = text.indexOf(':', at)
    let from = colon + 1
    let to = eol
    let code
    while ((code = text.charCodeAt(from)) === SP || code === TAB) from++
    while (to > from && ((code = text.charCodeAt(to - 1)) === SP || code === TAB)) to--
    list.push(text.slice(at, colon), text.slice(from, to))
    at = eol + 2
  }
  if (list.length > MAX_FIELDS * 2) throw new ParseError(`more than ${MAX_FIELDS} fields`, 'head-too-large')
  return list
}

/** One coding, none of those that mean something (RFC 9112 7). */
const UNKNOWN_CODING = /^(?!(?:chunked|(?:x-)?(?:gzip|compress)|deflate)$)[!#$%&'*+\-.^_`|~\w]+$/i
const TABBED_FRAMING = /\r\n(?:content-length|transfer-encoding):[^\r]*\t/i
/** Up to the reason phrase and its CRLF. */
const STATUS_LINE = /HTTP\/1\.[01] [1-9][0-9][0-9] [\t\x20-\x7e\x80-\xff]*\r\n/y
const STATUS_AT = 9
const REASON_AT = 13

/** A response's head, and what it says about the connection. */
export class ResponseHead {
  readonly status: number
  readonly reason: string
  readonly headers: readonly string[]
  readonly chunked: boolean
  /** Of Content-Length; −1 without one. */
  readonly length: number
  /** The connection may be used again, as far as version and Connection say. */
  readonly keepAlive: boolean
  /** Seconds of `Keep-Alive: timeout=N`; −1 without one. */
  readonly keepAliveHint: number
  /** Of the Upgrade field; '' without one. */
  readonly upgrade: string

  /** `text`: status line and field lines, the last CRLF included and the empty line not. Throws {@link ParseError}. */
  constructor (text: string, unknownCodings: boolean = false) {
    STATUS_LINE.lastIndex = 0
    if (!STATUS_LINE.test(text)) throw new ParseError('malformed status line')
    const fieldsAt = STATUS_LINE.lastIndex
    const http10 = text.charCodeAt(7) === 48
    const headers = parseFields(text, fieldsAt)
    let length = -1
    let chunked = false
    let coded = false
    let close = false
    let persist = !http10
    let hint = -1
    let upgrade = ''
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i]!
      // Length first: most fields are none of ours.
      switch (name.length) {
        case 7:
          if (name.toLowerCase() === 'upgrade') upgrade = upgrade === '' ? headers[i + 1]! : `${upgrade}, ${headers[i + 1]!}`
          break
        case 10: {
          const lower = name.toLowerCase()
          if (lower === 'connection') {
            const value = headers[i + 1]!.toLowerCase()
            if (hasOption(value, 'close')) close = true
            else if (hasOption(value, 'keep-alive')) persist = true
          } else if (lower === 'keep-alive') {
            const timeout = /(?:^|[,;\s])timeout=(\d{1,9})(?![^,;\s])/i.exec(headers[i + 1]!)
            if (timeout !== null) hint = Number(timeout[1])
          }
          break
        }
        case 14:
          if (name.toLowerCase() !== 'content-length') break
          // RFC 9112 6.3: a list of equal values may be accepted; none of our business to guess.
          if (length !== -1) throw new ParseError('Content-Length is repeated')
          length = decimal(headers[i + 1]!)
          break
        case 17:
          if (name.toLowerCase() !== 'transfer-encoding') break
          // RFC 9112 6.1: none in HTTP/1.0, and no other coding was asked for.
          if (!chunked && !coded && !http10 && headers[i + 1]!.toLowerCase() === 'chunked') chunked = true
          else if (!chunked && !http10 && unknownCodings && UNKNOWN_CODING.test(headers[i + 1]!)) coded = true
          else throw new ParseError('Transfer-Encoding is not just chunked')
      }
    }
    // llhttp refuses both, and a parser that reads on where another stops is how responses are split.
    if (text.includes('\t') && TABBED_FRAMING.test(text)) throw new ParseError('tab in a framing field')
    if ((chunked || coded) && length !== -1) throw new ParseError('Content-Length and Transfer-Encoding together')
    this.status = Number(text.slice(STATUS_AT, STATUS_AT + 3))
    this.reason = text.slice(REASON_AT, fieldsAt - 2)
    this.headers = headers
    this.chunked = chunked
    this.length = length
    this.keepAlive = persist && !close
    this.keepAliveHint = hint
    this.upgrade = upgrade
    // RFC 9112 6.1, 6.3 and RFC 9110 8.6: interim responses and 204 have no framing; `Content-Length: 0` harms nobody.
    if ((this.status < 200 || this.status === 204) && (chunked || coded || length > 0)) throw new ParseError(`${this.status} with a body`)
    // RFC 9110 15.2: none in HTTP/1.0; and nothing may follow on a connection that is to be closed.
    if (this.status < 200 && (close || http10)) throw new ParseError('an interim response in HTTP/1.0, or one that closes the connection')
  }
}

/** `value` is in lower case. */
function hasOption (value: string, option: string): boolean {
  if (value === option) return true
  return value.includes(option) && value.split(',').some((part) => part.trim() === option)
}

/** RFC 9110 8.6: `1*DIGIT`. */
function decimal (text: string): number {
  const number = Number(text)
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(number)) throw new ParseError('Content-Length is not a number, or too large')
  return number
}
