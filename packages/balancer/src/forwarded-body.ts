import { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { DirectBody, writesAtOnce } from './direct-body.ts'
import { currentScope } from './scope.ts'

const EVENTS = /^text\/event-stream\b/i

/**
 * A forwarded body as the stream that `onSend` hooks get. Most leave it as it is, as they came for the head: then Fastify pipes it to the
 * response, and from there on its pieces go to the socket past the stream, as on routes without such hooks.
 */
export class ForwardedBody extends Readable {
  readonly #response: unknown
  readonly #drained: () => void
  readonly #scope = currentScope()
  #direct: DirectBody | undefined
  #ended = false

  constructor (response: unknown, drained: () => void) {
    super({ read: drained })
    this.#response = response
    this.#drained = drained
  }

  /** `chunk` is the transport's. False: wait for the `drained` call. */
  forward (chunk: Buffer, last: boolean): boolean {
    if (this.#direct === undefined) return this.push(Buffer.from(chunk))
    // With it the response may be over.
    if (last) this.#ends()
    return write(this.#response as ServerResponse, this.#direct, chunk, last)
  }

  finish (): void {
    if (!this.#ended) this.#ends()
    this.#direct?.end(undefined)
  }

  /** Nobody else reads on to the end of what goes past the stream, and Fastify waits for it. */
  #ends (): void {
    this.#ended = true
    this.push(null)
    if (this.#direct !== undefined) this.resume()
  }

  override pipe<T extends NodeJS.WritableStream> (destination: T, options?: { end?: boolean }): T {
    if (!this.#goesTo(destination, options)) return super.pipe(destination, options)
    const direct = new DirectBody(destination, destination.hasHeader('content-length'), this.#drained, this.#scope)
    destination.emit('pipe', this)
    // To read makes the upstream go on: what it sends meanwhile, its end perhaps, comes behind what is there.
    for (let piece: Buffer | null; (piece = this.read() as Buffer | null) !== null;) write(destination, direct, piece, false)
    this.#direct = direct
    if (this.#ended) direct.end(undefined)
    // The head of a body of events does not wait for the first of them, which may be long in coming. Others' does: what breaks off
    // before any of it came can still be told of.
    if (!destination.headersSent && EVENTS.test(String(destination.getHeader('content-type')))) destination.flushHeaders()
    return destination
  }

  /** The response may be over before the stream's end was told, which is in a later tick: it has not broken off then. */
  override destroy (error?: Error): this {
    return this.#ended && this.#direct !== undefined && error === undefined && !this.readableEnded ? this : super.destroy(error)
  }

  /** Nobody reads it, has read from it or looks at what is written. */
  #goesTo (destination: unknown, options: { end?: boolean } | undefined): destination is ServerResponse {
    return destination === this.#response && destination instanceof ServerResponse && !destination.headersSent && options === undefined &&
      writesAtOnce(destination) && this.readableFlowing === null && !this.destroyed && !this.#ended &&
      this.readableEncoding === null && this.listenerCount('readable') === 0 && !this.readableDidRead
  }
}

/** The head is made by itself: by an `end` with a piece, Node would make another one of the same fields (see `lengthLast`). */
function write (response: ServerResponse, body: DirectBody, piece: Buffer, last: boolean): boolean {
  if (!response.headersSent) response.writeHead(response.statusCode)
  return body.write(piece, last)
}
