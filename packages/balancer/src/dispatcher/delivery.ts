import type { Duplex } from 'node:stream'
import type { ResponseSink } from '../response-sink.ts'
import type { Control, Receiver } from './receiver.ts'

/** Who is told what the receiver wants. */
export interface DeliveryOwner {
  /** The receiver takes more. */
  resumed (): void
  /** The receiver wants nothing any more. */
  aborted (): void
}

/**
 * A response on its way to a receiver: it is given nothing while it pauses, nothing after its end, and an error of its own ends it,
 * as in undici.
 */
export class Delivery implements ResponseSink, Control {
  rawHeaders: Buffer[] | null = null
  rawTrailers: Buffer[] | null = null
  reason: Error | null = null
  paused = false
  aborted = false
  readonly #receiver: Receiver
  readonly #owner: DeliveryOwner
  readonly #abortError: () => Error
  /** What came while it paused: at most one piece, and the end behind it. */
  #piece: Buffer | undefined
  #trailers: readonly string[] | undefined
  #over = false

  /** `abortError`: what it is told where it aborts without a reason. */
  constructor (receiver: Receiver, owner: DeliveryOwner, abortError: () => Error) {
    this.#receiver = receiver
    this.#owner = owner
    this.#abortError = abortError
  }

  get over (): boolean { return this.#over }

  // What the exchange does.

  /** False: it does not want the request to be sent at all. */
  start (): boolean {
    this.#try(() => { this.#receiver.start(this) })
    return !this.#over
  }

  interim (status: number, headers: readonly string[], reason: string): void {
    const { paused } = this
    this.#try(() => { this.#receiver.head(status, headers, reason) })
    this.paused = paused
  }

  head (status: number, headers: readonly string[], reason: string): void {
    this.#try(() => { if (!this.#receiver.head(status, headers, reason)) this.paused = true })
  }

  /** The piece is copied: it is the transport's own buffer. */
  write (chunk: Buffer): boolean {
    const copy = Buffer.from(chunk)
    if (this.paused) this.#piece = copy
    else this.#give(copy)
    return !this.paused
  }

  end (trailers: readonly string[] | undefined): void {
    this.#trailers = trailers ?? []
    if (!this.paused) this.#finish()
  }

  fail (error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#receiver.fail(error)
  }

  upgrade (headers: readonly string[], socket: Duplex): void {
    this.#over = true
    try {
      this.#receiver.upgrade(headers, socket)
    } catch (error) {
      socket.destroy()
      this.#receiver.fail(error as Error)
    }
  }

  // What the receiver does.

  pause (): void { this.paused = true }

  resume (): void {
    if (!this.paused || this.#over) return
    this.paused = false
    const piece = this.#piece
    this.#piece = undefined
    if (piece !== undefined) this.#give(piece)
    if (this.paused || this.#over) return
    if (this.#trailers === undefined) this.#owner.resumed()
    else this.#finish()
  }

  abort (reason?: Error | null): void {
    if (this.#over) return
    this.aborted = true
    this.reason = reason ?? this.#abortError()
    this.#owner.aborted()
    this.fail(this.reason)
  }

  #give (piece: Buffer): void {
    this.#try(() => { if (!this.#receiver.data(piece)) this.paused = true })
  }

  #finish (): void {
    if (this.#over) return
    this.#over = true
    try {
      this.#receiver.end(this.#trailers!)
    } catch (error) {
      this.#receiver.fail(error as Error)
    }
  }

  #try (action: () => void): void {
    if (this.#over) return
    try {
      action()
    } catch (error) {
      this.abort(error as Error)
    }
  }
}
