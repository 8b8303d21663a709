import type { ServerResponse } from 'node:http'
import { Http2ServerResponse, type ServerStreamResponseOptions, constants } from 'node:http2'
import type { FastifyReply } from 'fastify'
import type { ResponseSink } from './response-sink.ts'

/** Fields of one connection, which RFC 9113 8.2.2 does not allow: an app may set them, and node:http2 throws. */
const CONNECTION = new Set(['connection', 'http2-settings', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade'])

/**
 * A flat list as an object for node:http2, which throws where a field that is no list comes several times: RFC 9110 5.3 allows one line
 * instead, but for Set-Cookie.
 */
export function fieldsOf (list: readonly string[]): Record<string, string | string[]> {
  // A field may be called `constructor`.
  const fields = Object.create(null) as Record<string, string | string[]>
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!.toLowerCase()
    const value = list[i + 1]!
    const before = fields[name]
    if (before !== undefined) fields[name] = name === 'set-cookie' ? [before, value].flat() : `${before as string}, ${value}`
    else if (!CONNECTION.has(name)) fields[name] = value
  }
  return fields
}

/** Sends a head that ends the stream; after `writeHead` an empty DATA frame would end it, which is no Trailers-Only of gRPC. */
export function endWithHead (response: ServerResponse, status: number, fields: Readonly<Record<string, string | string[]>>): void {
  response.statusCode = status
  for (const name in fields) response.setHeader(name, fields[name]!)
  response.end()
}

/** Breaks the client's transfer. Where a response is only destroyed, Node resets the stream with NO_ERROR, which reads as its end. */
export function resetStream (response: ServerResponse): void {
  const { stream } = response as unknown as Partial<Http2ServerResponse>
  // Who keeps an answer to give it to others has put something else in the response's place.
  if (stream?.closed === false) stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  response.destroy()
}

/** Writes to an HTTP/2 stream at once; as `RawSink`, it passes `onSend` hooks by. */
export class Http2Sink implements ResponseSink {
  readonly #response: ServerResponse
  readonly #drained: () => void
  readonly #status: number
  /** Content-Length is known: the last piece is the end, since no trailers can follow. */
  readonly #sized: boolean
  /** What has not been sent of the head. */
  #fields: Record<string, string | string[]> | undefined
  /** The last piece of a body without a length. */
  #last: Buffer | undefined

  constructor (reply: FastifyReply, status: number, headers: readonly string[], length: number, complete: boolean, drained: () => void) {
    this.#response = reply.raw
    this.#drained = drained
    this.#status = status
    this.#sized = length >= 0
    const fields = fieldsOf(headers)
    reply.hijack()
    if (complete) {
      endWithHead(reply.raw, status, fields)
      return
    }
    this.#fields = fields
    // A short body comes in the same tick; a later one must not hold the head back.
    if (this.#sized) process.nextTick(flushHead, this)
    else this.flush()
  }

  flush (): void {
    const fields = this.#fields
    if (fields === undefined) return
    this.#fields = undefined
    this.#response.writeHead(this.#status, fields as never)
  }

  write (chunk: Buffer, last: boolean): boolean {
    const copy = Buffer.from(chunk)
    if (last && !this.#sized) {
      this.#last = copy
      return true
    }
    if (last) {
      if (this.#fields === undefined || !isNodesOwn(this.#response)) {
        this.flush()
        this.#response.end(copy)
      } else this.#endWith(this.#fields, copy)
      return true
    }
    this.flush()
    if (this.#response.write(copy)) return true
    this.#response.once('drain', this.#drained)
    return false
  }

  end (trailers: readonly string[] | undefined): void {
    if (this.#response.writableEnded) return
    this.flush()
    // node:http2 knows no list of pairs.
    if (trailers !== undefined) this.#response.addTrailers(fieldsOf(trailers) as never)
    this.#response.end(this.#last)
  }

  fail (): void {
    this.#fields = undefined
    resetStream(this.#response)
  }

  /** The whole answer. Node's own `writeHead` looks at each field once more, and has the stream ask for trailers that cannot come. */
  #endWith (fields: Record<string, string | string[] | number>, body: Buffer): void {
    this.#fields = undefined
    const { stream, sendDate } = this.#response as unknown as Partial<Pick<Http2ServerResponse, 'stream' | 'sendDate'>>
    // The cache takes what it fetches in place of a stream.
    if (stream === undefined) {
      this.#response.writeHead(this.#status, fields as never)
      this.#response.end(body)
      return
    }
    if (stream.destroyed || stream.closed) return
    this.#response.statusCode = this.#status
    fields[':status'] = this.#status
    stream.respond(fields, { sendDate } as ServerStreamResponseOptions)
    this.#response.end(body)
  }
}

const { writeHead } = Http2ServerResponse.prototype

/** Nobody looks at what is written, or has put something else in its place. */
function isNodesOwn (response: ServerResponse): boolean {
  return response.writeHead as unknown === writeHead
}

const flushHead = (sink: Http2Sink): void => { sink.flush() }
