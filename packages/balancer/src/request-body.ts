import type { IncomingMessage } from 'node:http'
import type { Attempt } from '@headgate/core'

/**
 * The client's body on its way to one attempt after the other: streamed with backpressure, and kept as long as it fits in the
 * replay bound, so that another attempt can start from the first byte.
 */
export class RequestBody {
  readonly length: number | undefined
  /** Bytes given to the present attempt. */
  sent = 0
  readonly #source: IncomingMessage
  readonly #limit: number
  readonly #progress: () => void
  #kept: Buffer[] = []
  #size = 0
  #replayable = true
  #started = false
  #ended = false
  #attempt: Attempt | undefined

  /** `progress` is called for each piece that the client sends. */
  constructor (source: IncomingMessage, length: number | undefined, limit: number, progress: () => void) {
    this.#source = source
    this.length = length
    this.#limit = limit
    this.#progress = progress
  }

  /** Another attempt would get the whole body. */
  get replayable (): boolean { return this.#replayable }

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
    if (more) this.#source.resume()
    else this.#source.pause()
  }

  /** The attempt is over. */
  detach (): void {
    this.#attempt = undefined
    if (this.#started && !this.#ended) this.#source.pause()
  }

  drained (): void {
    if (!this.#ended) this.#source.resume()
  }

  /** Nobody wants the rest: read it away, so that the connection can be used again. */
  discard (): void {
    this.#attempt = undefined
    this.#kept = []
    if (this.#ended) return
    this.#source.off('data', this.#onData)
    this.#source.resume()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#progress()
    if (this.#replayable) {
      this.#size += chunk.length
      if (this.#size <= this.#limit) this.#kept.push(chunk)
      else {
        this.#replayable = false
        this.#kept = []
      }
    }
    if (this.#attempt === undefined) return
    this.sent += chunk.length
    if (!this.#attempt.write(chunk)) this.#source.pause()
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    this.#attempt?.end(trailersOf(this.#source))
  }
}

function trailersOf (source: IncomingMessage): readonly string[] {
  return source.rawTrailers ?? []
}
