import type { ServerResponse } from 'node:http'
import { Http2ServerResponse, type ServerStreamResponseOptions, constants } from 'node:http2'
import type { FastifyReply } from 'fastify'
import type { ResponseSink } from './response-sink.ts'

/** Fields of one connection, which RFC 9113 8.2.2 does not allow: an app may set them, and node:http2 throws. */
const CONNECTION = new Set(['connection', 'http2-settings', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade'])

/** Names as upstreams and apps spell them, with what they are called here. */
const names = new Map<string, string>()

/** A field's name for HTTP/2; '' if it must not go there. Names repeat, and to find one costs less than to put it in lower case. */
function nameOf (spelt: string): string {
  const known = names.get(spelt)
  if (known !== undefined) return known
  // A copy, as a piece of a text holds all of it.
  const own = Buffer.from(spelt).toString()
  const lower = own.toLowerCase()
  const name = CONNECTION.has(lower) ? '' : lower
  // As many as there are in earnest.
  if (names.size < 1000 && own.length <= 64) names.set(own, name)
  return name
}

/**
 * Without what Object.prototype has, as a field may be called `constructor`; and made by `new`, so that V8 gives those with the same names
 * one hidden class. Of `Object.create(null)` it makes a table, which takes half as long again to fill, and to be read by Node.
 */
const Fields = function () {} as unknown as new () => Record<string, string | string[]>
Fields.prototype = Object.create(null)

/**
 * A flat list as an object for node:http2, which throws where a field that is no list comes several times: RFC 9110 5.3 allows one line
 * instead, but for Set-Cookie.
 */
export function fieldsOf (list: readonly string[]): Record<string, string | string[]> {
  const fields = new Fields()
  for (let i = 0; i < list.length; i += 2) {
    const name = nameOf(list[i]!)
    if (name === '') continue
    const value = list[i + 1]!
    const before = fields[name]
    if (before === undefined) fields[name] = value
    else fields[name] = name === 'set-cookie' ? [before, value].flat() : `${before as string}, ${value}`
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
  #fields: Record<string, string | string[] | number> | undefined
  /** The last piece of a body without a length. */
  #last: Buffer | undefined

  constructor (reply: FastifyReply, status: number, headers: readonly string[], length: number, complete: boolean, drained: () => void) {
    this.#response = reply.raw
    this.#drained = drained
    this.#status = status
    this.#sized = length >= 0
    this.#fields = fieldsOf(headers)
    reply.hijack()
    if (complete) this.#endWith(undefined)
    // A short body comes in the same tick, whole; a later one must not hold the head back.
    else process.nextTick(flushHead, this)
  }

  flush (): void {
    const fields = this.#fields
    if (fields === undefined) return
    this.#fields = undefined
    this.#response.writeHead(this.#status, fields as never)
  }

  write (chunk: Buffer, last: boolean): boolean {
    const copy = Buffer.allocUnsafe(chunk.length)
    copy.set(chunk)
    if (last) {
      if (this.#sized) this.#endWith(copy)
      else this.#last = copy
      return true
    }
    this.flush()
    if (this.#response.write(copy)) return true
    this.#response.once('drain', this.#drained)
    return false
  }

  end (trailers: readonly string[] | undefined): void {
    if (this.#response.writableEnded) return
    if (trailers === undefined) return this.#endWith(this.#last)
    this.flush()
    // node:http2 knows no list of pairs.
    this.#response.addTrailers(fieldsOf(trailers) as never)
    this.#response.end(this.#last)
  }

  fail (): void {
    this.#fields = undefined
    resetStream(this.#response)
  }

  /**
   * What is left of the answer, after which no trailers come. Where that is all of it, Node's own `writeHead` would look at each field
   * once more, and have the stream ask for trailers.
   */
  #endWith (body: Buffer | undefined): void {
    const response = this.#response
    const fields = this.#fields
    this.#fields = undefined
    if (fields === undefined) response.end(body)
    else if (!isNodesOwn(response)) {
      if (body === undefined) return endWithHead(response, this.#status, fields as never)
      response.writeHead(this.#status, fields as never)
      response.end(body)
    } else {
      const { stream, sendDate } = response as unknown as Http2ServerResponse
      if (stream.closed) return
      response.statusCode = this.#status
      fields[':status'] = this.#status
      // The properties that Node's own `writeHead` gives, in its order: to copy others V8 takes a microsecond.
      stream.respond(fields, { endStream: body === undefined, waitForTrailers: false, sendDate } as ServerStreamResponseOptions)
      response.end(body)
    }
  }
}

const { writeHead } = Http2ServerResponse.prototype

/** Nobody looks at what is written, or has put something else in its place, as the cache does with what it fetches. */
function isNodesOwn (response: ServerResponse): boolean {
  return response.writeHead as unknown === writeHead
}

const flushHead = (sink: Http2Sink): void => { sink.flush() }
