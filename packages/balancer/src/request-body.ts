import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { Attempt } from '@headgate/core'
import { isAlone, ownsPieces, release } from './body-memory.ts'
import { DirectReads, type Taker, WORTHWHILE } from './direct-reads.ts'
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
export class RequestBody implements Taker {
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
  /** Pieces are ours alone, and went to one attempt at most. */
  #owned = false
  /** The system has all that was written. */
  #flushed = false
  /** How the rest is read where it is much. */
  #direct: DirectReads | undefined
  #asked = false

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
    // What an earlier attempt has not sent may still be in its hands.
    this.#owned = false
    let more = true
    this.sent = 0
    for (const chunk of this.#kept) {
      more = attempt.write(chunk)
      this.sent += chunk.length
    }
    if (this.#ended) return attempt.end(trailersOf(this.#source))
    const first = !this.#started
    if (first) {
      this.#started = true
      this.#source.on('data', this.#onData)
      this.#source.on('end', this.#onEnd)
      this.#owned = ownsPieces(this.#source, this.#onData)
    }
    if (!more) return this.#pause()
    this.#resume()
    // What came with the head is given at once, so that it leaves with the head.
    if (first && this.#source.readableLength > 0) this.#source.read()
  }

  /** The attempt is over. */
  detach (): void {
    this.#attempt = undefined
    if (this.#started && !this.#ended) this.#pause()
  }

  drained (): void {
    if (!this.#ended && this.#paused) this.#resume()
  }

  /** Nobody wants the rest: read it away, so that the connection can be used again. */
  discard (): void {
    this.#attempt = undefined
    this.#release(this.#kept)
    this.#kept = []
    if (this.#ended) return
    if (this.#direct?.active === true) return this.#direct.discard()
    this.#source.off('data', this.#onData)
    this.#source.resume()
  }

  /** A piece that was read directly. */
  take (chunk: Buffer): boolean {
    this.#owner.bodyProgress()
    this.#size += chunk.length
    if (this.#size > this.#sizeLimit) {
      this.#owner.bodyTooLarge()
      return true
    }
    if (this.#attempt === undefined) return true
    this.sent += chunk.length
    this.#paused = !this.#attempt.lend!(chunk)
    return !this.#paused
  }

  #resume (): void {
    this.#paused = false
    if (this.#direct?.active === true) this.#direct.resume()
    else this.#source.resume()
  }

  #pause (): void {
    this.#paused = true
    if (this.#direct?.active === true) this.#direct.pause()
    else this.#source.pause()
  }

  /** When nobody needs more of the body than its next piece, and much is to come, the connection is read directly. */
  #askDirect (): void {
    if (this.#asked || this.#replayable || this.length === undefined || this.length - this.#size < WORTHWHILE) return
    this.#asked = true
    // Not while the parser gives what it has.
    process.nextTick(this.#goDirect)
  }

  readonly #goDirect = (): void => {
    this.#asked = false
    if (this.#direct !== undefined || this.#ended || this.#paused || this.#attempt?.lend === undefined) return
    const length = this.length!
    const left = length - this.#size
    if (left >= WORTHWHILE) this.#direct = DirectReads.begin(this.#source as IncomingMessage, length, left, this)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#owner.bodyProgress()
    this.#size += chunk.length
    if (this.#size > this.#sizeLimit) return this.#owner.bodyTooLarge()
    if (this.#owned && !isAlone(this.#source as IncomingMessage)) this.#owned = false
    let done: Buffer[] | undefined
    if (!this.#replayable) done = [chunk]
    else {
      this.#kept.push(chunk)
      if (this.#size > this.#replayLimit) {
        this.#replayable = false
        done = this.#kept
        this.#kept = []
      }
    }
    if (this.#attempt === undefined) return
    this.sent += chunk.length
    if (!this.#attempt.write(chunk)) this.#pause()
    this.#flushed = this.#attempt.flushed === true
    if (done !== undefined) this.#release(done)
    if (!this.#replayable && this.#direct === undefined) this.#askDirect()
  }

  /** Nobody needs these pieces any more. */
  #release (pieces: readonly Buffer[]): void {
    if (this.#owned && this.#flushed) for (const piece of pieces) release(piece)
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
