import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { Attempt } from '@headgate/core'
import { hasContent } from './http2.ts'

/** Does a request bring a body that is still to be read? */
export function awaitsBody (raw: IncomingMessage): boolean {
  const length = raw.headers['content-length']
  return (length !== undefined && length !== '0') || raw.headers['transfer-encoding'] !== undefined || hasContent(raw)
}

/** Who is told of the body's progress. */
export interface BodyOwner {
  /** The client sent a piece. */
  bodyProgress (): void
  /** The client sent more than the route allows. */
  bodyTooLarge (): void
}

/** Where a body comes from: gives Buffers. */
type Source = Readable & { readonly rawTrailers?: readonly string[] }

/** Trailers that must not follow a body: they frame, route, authorise or describe it (RFC 9110 6.5.1). */
const NO_TRAILER = /^(?:content-(?:length|encoding|type|range)|transfer-encoding|te|trailer|connection|host|authorization|cookie|expect|max-forwards|cache-control|via|forwarded|x-forwarded-.*|proxy-.*|if-.*|range)$/i

/**
 * A request's body on its way to one attempt after the other: streamed with backpressure, and kept as long as it fits in the
 * replay bound, so that another attempt can start from the first byte.
 */
export class RequestBody {
  readonly length: number | undefined
  /** Bytes given to the present attempt. */
  sent = 0
  readonly #source: Source
  readonly #replayLimit: number
  readonly #sizeLimit: number
  readonly #owner: BodyOwner
  #kept: Buffer[] = []
  #size = 0
  #replayable = true
  #started = false
  #ended = false
  #paused = true
  #attempt: Attempt | undefined

  /** `undefined`: the request has none. */
  static of (source: IncomingMessage, limits: { readonly replayLimit: number; readonly bodyLimit: number }, owner: BodyOwner): RequestBody | undefined {
    if (!awaitsBody(source)) return undefined
    const length = source.headers['content-length']
    return new RequestBody(source, length === undefined ? undefined : Number(length), limits, owner)
  }

  constructor (source: Source, length: number | undefined, limits: { readonly replayLimit: number; readonly bodyLimit: number }, owner: BodyOwner) {
    this.#source = source
    this.length = length
    this.#replayLimit = limits.replayLimit
    this.#sizeLimit = limits.bodyLimit
    this.#owner = owner
  }

  /** It is known that it will not be kept. */
  get outgrows (): boolean { return this.length !== undefined && this.length > this.#replayLimit }
  /** Another attempt would get the whole body. */
  get replayable (): boolean { return this.#replayable }
  /** The client has sent all of it. */
  get complete (): boolean { return this.#ended }
  /** It is the client's turn: no more of the body is there. */
  get starved (): boolean { return this.#started && !this.#ended && !this.#paused }

  /** Sends what was kept, then what comes, to `attempt`. */
  attach (attempt: Attempt): void {
    this.#attempt = attempt
    let more = true
    this.sent = 0
    for (const chunk of this.#kept) {
      more = attempt.write(chunk)
      this.sent += chunk.length
    }
    if (this.#ended) return attempt.end(trailersOf(this.#source))
    if (!this.#started) {
      this.#started = true
      this.#source.on('data', this.#onData)
      this.#source.on('end', this.#onEnd)
    }
    if (more) this.#resume()
    else this.#pause()
  }

  /** The attempt is over. */
  detach (): void {
    this.#attempt = undefined
    if (this.#started && !this.#ended) this.#pause()
  }

  drained (): void {
    if (!this.#ended) this.#resume()
  }

  /** Nobody wants the rest: read it away, so that the connection can be used again. */
  discard (): void {
    this.#attempt = undefined
    this.#kept = []
    if (this.#ended) return
    this.#source.off('data', this.#onData)
    this.#source.resume()
  }

  #resume (): void {
    this.#paused = false
    this.#source.resume()
  }

  #pause (): void {
    this.#paused = true
    this.#source.pause()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#owner.bodyProgress()
    this.#size += chunk.length
    if (this.#size > this.#sizeLimit) return this.#owner.bodyTooLarge()
    if (this.#replayable) {
      if (this.#size <= this.#replayLimit) this.#kept.push(chunk)
      else {
        this.#replayable = false
        this.#kept = []
      }
    }
    if (this.#attempt === undefined) return
    this.sent += chunk.length
    if (!this.#attempt.write(chunk)) this.#pause()
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    this.#attempt?.end(trailersOf(this.#source))
  }
}

function trailersOf (source: Source): readonly string[] | undefined {
  const raw = source.rawTrailers
  if (raw === undefined || raw.length === 0) return undefined
  const list: string[] = []
  for (let i = 0; i < raw.length; i += 2) if (!NO_TRAILER.test(raw[i]!)) list.push(raw[i]!, raw[i + 1]!)
  return list
}
