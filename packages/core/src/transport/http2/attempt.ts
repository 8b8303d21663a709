import { createHash } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import { type ClientHttp2Stream, type OutgoingHttpHeaders, constants } from 'node:http2'
import type { Duplex } from 'node:stream'
import { type Attempt, type AttemptHandler, type FailureCode, type FailurePhase, TransportError, type TransportRequest } from '../contract.ts'
import type { Http2Connection } from './connection.ts'
import { plainFields, trailerFields } from './fields.ts'

/** A peer that goes on with interim responses for ever is up to no good. */
const MAX_INFORMATIONAL = 100
const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM
/** RFC 6455 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

const ATTEMPT = Symbol('attempt')
const WHOLE = Symbol('whole')

/** A stream that knows its attempt, so that its listeners are the same functions for all. */
interface Stream extends ClientHttp2Stream {
  [ATTEMPT]: Http2Attempt
  /** END_STREAM was received. */
  [WHOLE]: boolean
}

/** Who is told when an attempt without a stream is given up. */
export interface Http2Queue {
  left (attempt: Http2Attempt): void
}

/** One exchange: waits for a place on a connection, then is one stream of it. */
export class Http2Attempt implements Attempt {
  readonly request: TransportRequest
  readonly handler: AttemptHandler
  readonly fields: OutgoingHttpHeaders
  readonly #queue: Http2Queue
  #connection: Http2Connection | undefined
  #stream: Stream | undefined
  /** HTTP/1.1 after all. */
  #moved: Attempt | undefined
  #over = false
  #headSeen = false
  #started = false
  #interim = 0
  #sendDone: boolean
  /** Bytes of the request's body still to come; NaN when it has no declared length. */
  #left: number
  #outTrailers: OutgoingHttpHeaders | undefined
  #inTrailers: string[] | undefined
  /** Why we ended it ourselves: told with the stream's close. */
  #fault: TransportError | undefined
  /** Bytes that the connection had received when this began. */
  #heard = 0

  constructor (queue: Http2Queue, request: TransportRequest, handler: AttemptHandler, fields: OutgoingHttpHeaders) {
    this.#queue = queue
    this.request = request
    this.handler = handler
    this.fields = fields
    const { body } = request
    const streamed = body !== null && !Buffer.isBuffer(body)
    this.#sendDone = !streamed
    this.#left = streamed ? body.length ?? NaN : 0
  }

  get over (): boolean { return this.#over }

  /** Takes a place on `connection`. False: it takes no more, and nothing was sent. */
  start (connection: Http2Connection): boolean {
    const { request } = this
    const { body, upgrade } = request
    const streamed = !this.#sendDone
    let stream: Stream
    try {
      const endStream = body === null && upgrade === undefined
      stream = connection.request(this.fields, { endStream, waitForTrailers: streamed && Number.isNaN(this.#left) }) as Stream
    } catch {
      return false
    }
    this.#connection = connection
    this.#stream = stream
    this.#heard = connection.bytesRead
    stream[ATTEMPT] = this
    stream[WHOLE] = false
    stream.push = watchedPush
    stream.on('response', onResponse).on('headers', onHeaders).on('trailers', onTrailers).on('error', ignore).on('close', onClose)
    if (streamed) {
      stream.on('wantTrailers', onWantTrailers).on('drain', onDrain)
      process.nextTick(tellSent, this)
    } else if (Buffer.isBuffer(body)) stream.end(body)
    return true
  }

  /** Another transport goes on with it. */
  move (attempt: Attempt): void {
    this.#moved = attempt
  }

  write (chunk: Buffer): boolean {
    if (this.#moved !== undefined) return this.#moved.write(chunk)
    const stream = this.#stream
    if (stream === undefined || this.#sendDone || chunk.length === 0) return true
    if (!Number.isNaN(this.#left)) {
      this.#left -= chunk.length
      if (this.#left < 0) {
        this.#misframed('request-too-long', 'the request body is longer than its Content-Length')
        return false
      }
    }
    return stream.write(chunk)
  }

  end (trailers?: readonly string[]): void {
    if (this.#moved !== undefined) return this.#moved.end(trailers)
    const stream = this.#stream
    if (stream === undefined || this.#sendDone) return
    if (this.#left > 0) return this.#misframed('truncated', 'the request body is shorter than its Content-Length')
    if (trailers !== undefined && Number.isNaN(this.#left)) {
      this.#outTrailers = trailerFields(trailers)
      if (this.#outTrailers === undefined) return this.#misframed('malformed', 'a trailer of the request cannot be sent')
    }
    this.#sendDone = true
    stream.end()
  }

  resume (): void {
    if (this.#moved !== undefined) return this.#moved.resume()
    this.#stream?.resume()
  }

  abort (): void {
    if (this.#moved !== undefined) return this.#moved.abort()
    if (this.#over) return
    this.#over = true
    if (this.#stream === undefined) return this.#queue.left(this)
    if (!this.#headSeen) this.#connection!.suspect()
    this.#cancel()
  }

  /** Ends it before it had a stream. */
  fail (error: TransportError): void {
    if (this.#over) return
    this.#over = true
    this.handler.onError(error)
  }

  sent (): void {
    if (!this.#over) this.handler.onSent()
  }

  drained (): void {
    if (!this.#over && !this.#sendDone) this.handler.onDrain()
  }

  informational (status: number, headers: readonly string[]): void {
    if (this.#over) return
    this.#started = true
    if (++this.#interim > MAX_INFORMATIONAL) {
      this.#over = true
      this.#cancel()
      return this.handler.onError(new TransportError('malformed', 'head', 'too many interim responses'))
    }
    this.handler.onInformational(status, headers)
  }

  response (status: number, raw: readonly string[], flags: number): void {
    if (this.#over || this.#fault !== undefined) return
    this.#headSeen = true
    const headers = plainFields(raw)
    if (this.request.upgrade !== undefined && status === 200) return this.#upgraded(headers)
    const complete = (flags & END_STREAM) !== 0
    const bodiless = complete || status === 204 || status === 304 || this.request.method === 'HEAD'
    let length = bodiless ? 0 : -1
    if (!bodiless) for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'content-length') length = Number(headers[i + 1])
    const stream = this.#stream!
    this.handler.onHead(status, STATUS_CODES[status] ?? '', headers, length, complete)
    // Also for a complete one: its end is told when it is read.
    stream.on('data', onData).on('end', onEnd)
  }

  data (chunk: Buffer): void {
    if (!this.#over && this.#fault === undefined && chunk.length > 0 && !this.handler.onData(chunk, false) && !this.#over) this.#stream!.pause()
  }

  trailers (list: string[]): void {
    this.#inTrailers = list
  }

  sendTrailers (): void {
    // Without any, END_STREAM goes out on an empty DATA frame.
    const stream = this.#stream!
    if (!stream.closed) stream.sendTrailers(this.#outTrailers ?? {})
  }

  ended (): void {
    const stream = this.#stream!
    // A reset looks like the end as well; its failure follows with the stream's close.
    if (this.#over || !stream[WHOLE] || this.#fault !== undefined) return
    this.#over = true
    this.#connection!.served++
    // RFC 9113 8.1: whoever has answered already does not want the rest.
    if (!this.#sendDone) this.#cancel()
    this.handler.onComplete(this.#inTrailers)
  }

  closed (): void {
    const stream = this.#stream!
    const connection = this.#connection!
    connection.released()
    if (this.#over) return
    this.#over = true
    if (this.#fault !== undefined) return this.handler.onError(this.#fault)
    const { failure } = connection
    const { rstCode } = stream
    // RFC 9113 6.8, 8.7: it was not, and will not be, processed.
    const beyond = (stream.id ?? Infinity) > connection.lastStream
    if (!this.#headSeen && (beyond || rstCode === constants.NGHTTP2_REFUSED_STREAM)) {
      const stale = beyond && connection.served > 0
      return this.handler.onError(new TransportError('refused', 'connect', beyond ? 'the upstream went away without looking at the request (GOAWAY)' : 'the upstream refused the request (REFUSED_STREAM)', { stale }))
    }
    const phase: FailurePhase = this.#headSeen ? 'body' : this.#started ? 'head' : 'request'
    const code: FailureCode = failure?.code === 'destroyed' ? 'destroyed'
      : rstCode === constants.NGHTTP2_PROTOCOL_ERROR ? 'malformed'
        : this.#headSeen ? 'truncated' : failure?.code ?? 'reset'
    const stale = failure !== undefined && phase === 'request' && connection.served > 0 && connection.bytesRead === this.#heard && code !== 'destroyed'
    const message = failure?.message ?? `the upstream reset the stream with code ${rstCode}`
    this.handler.onError(new TransportError(code, phase, message, { cause: failure?.cause, stale }))
  }

  #upgraded (headers: string[]): void {
    const stream = this.#stream!
    this.#over = true
    this.#connection!.served++
    stream.off('response', onResponse).off('headers', onHeaders).off('trailers', onTrailers)
    const key = this.request.headers.find((_, i, all) => i % 2 === 1 && all[i - 1]!.toLowerCase() === 'sec-websocket-key')
    headers.push('Upgrade', this.request.upgrade!)
    // The client, which speaks HTTP/1.1, wants to see that its key was read (RFC 6455 4.2.2).
    if (key !== undefined) headers.push('Sec-WebSocket-Accept', createHash('sha1').update(key + GUID).digest('base64'))
    this.handler.onUpgrade(headers, stream as Duplex, Buffer.alloc(0))
  }

  #misframed (code: FailureCode, message: string): void {
    this.#sendDone = true
    this.#fault = new TransportError(code, this.#headSeen ? 'body' : 'request', message)
    this.#cancel()
  }

  #cancel (): void {
    // Not while Node reads from the connection: Node 22.23 aborts the process then over a stream whose trailers are due, and Node 24.21 forgets the reset.
    setImmediate(reset, this.#stream!)
  }
}

function reset (stream: Stream): void {
  stream.close(constants.NGHTTP2_CANCEL)
  stream.destroy()
}

function watchedPush (this: Stream, chunk: unknown, encoding?: BufferEncoding): boolean {
  // Node ends a stream in the same way when it is reset, but only after it has marked it as closed.
  if (chunk === null && !this.closed) this[WHOLE] = true
  return (Object.getPrototypeOf(this) as ClientHttp2Stream).push.call(this, chunk, encoding)
}

function onResponse (this: Stream, headers: { readonly ':status'?: number }, flags: number, raw: readonly string[]): void {
  this[ATTEMPT].response(headers[':status']!, raw, flags)
}
function onHeaders (this: Stream, headers: { readonly ':status'?: number }, _flags: number, raw: readonly string[]): void {
  this[ATTEMPT].informational(headers[':status']!, plainFields(raw))
}
function onTrailers (this: Stream, _headers: unknown, _flags: number, raw: string[]): void { this[ATTEMPT].trailers(raw) }
function onData (this: Stream, chunk: Buffer): void { this[ATTEMPT].data(chunk) }
function onEnd (this: Stream): void { this[ATTEMPT].ended() }
function onClose (this: Stream): void { this[ATTEMPT].closed() }
function onDrain (this: Stream): void { this[ATTEMPT].drained() }
function onWantTrailers (this: Stream): void { this[ATTEMPT].sendTrailers() }
/** What an error says is in the stream's code and in the connection's failure. */
function ignore (): void {}
function tellSent (attempt: Http2Attempt): void { attempt.sent() }
