import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { grouped } from '../response-sink.ts'

type Handler = Dispatcher.DispatchHandler
/** What whoever takes a response may do while it comes. */
export type Control = Dispatcher.DispatchController

/**
 * One of undici's handlers. `head` and `data` give false to be left alone until `resume()`; all may throw. Fields are flat lists of
 * names and values.
 */
export interface Receiver {
  start (control: Control): void
  head (status: number, headers: readonly string[], reason: string): boolean
  data (chunk: Buffer): boolean
  end (trailers: readonly string[]): void
  fail (error: Error): void
  upgrade (headers: readonly string[], socket: Duplex): void
}

function buffers (list: readonly string[]): Buffer[] {
  return list.map((text) => Buffer.from(text, 'latin1'))
}

/** undici 7's shape: it is told of everything together with a controller, by which it pauses. */
class ControlledReceiver implements Receiver {
  readonly #handler: Handler
  #control!: Control

  constructor (handler: Handler) {
    this.#handler = handler
  }

  start (control: Control): void {
    this.#control = control
    this.#handler.onRequestStart?.(control, {})
  }

  head (status: number, headers: readonly string[], reason: string): boolean {
    this.#control.rawHeaders = buffers(headers)
    this.#handler.onResponseStart?.(this.#control, status, grouped(headers), reason)
    return true
  }

  data (chunk: Buffer): boolean {
    this.#handler.onResponseData?.(this.#control, chunk)
    return true
  }

  end (trailers: readonly string[]): void {
    this.#control.rawTrailers = buffers(trailers)
    this.#handler.onResponseEnd?.(this.#control, grouped(trailers))
  }

  fail (error: Error): void {
    this.#handler.onResponseError?.(this.#control, error)
  }

  upgrade (headers: readonly string[], socket: Duplex): void {
    this.#handler.onRequestUpgrade?.(this.#control, 101, grouped(headers), socket)
  }
}

/** The shape before that, which Node's own `fetch` still has: it pauses by what it returns. */
class LegacyReceiver implements Receiver {
  readonly #handler: Handler
  #control!: Control

  constructor (handler: Handler) {
    this.#handler = handler
  }

  start (control: Control): void {
    this.#control = control
    this.#handler.onConnect?.((error) => { control.abort(error as Error) })
  }

  head (status: number, headers: readonly string[], reason: string): boolean {
    if (status >= 200) this.#handler.onResponseStarted?.()
    return this.#handler.onHeaders?.(status, buffers(headers), () => { this.#control.resume() }, reason) !== false
  }

  data (chunk: Buffer): boolean {
    return this.#handler.onData?.(chunk) !== false
  }

  end (trailers: readonly string[]): void {
    // As Buffers, whatever undici's types say: that is what it gives, and what its own handlers read.
    this.#handler.onComplete?.(buffers(trailers) as never)
  }

  fail (error: Error): void {
    this.#handler.onError?.(error)
  }

  upgrade (headers: readonly string[], socket: Duplex): void {
    this.#handler.onUpgrade?.(101, buffers(headers), socket)
  }
}

export function receiverOf (handler: Handler): Receiver {
  return typeof handler.onRequestStart === 'function' ? new ControlledReceiver(handler) : new LegacyReceiver(handler)
}
