import { AsyncResource } from 'node:async_hooks'
import type { Duplex } from 'node:stream'
import type { AttemptHandler, TransportError, TurnWrite } from '@headgate/core'

/**
 * The asynchronous context of a request: what an AsyncLocalStorage holds there. An upstream's answer comes over a connection that was opened
 * for another request, in whose context Node tells of it; a turn's writes are made together, and queues and timers are shared. What runs here
 * sees its own request's, and so do the hooks that it calls and all that follows from it.
 */
export class Scope extends AsyncResource {
  constructor () {
    super('headgate.exchange')
  }
}

/** That of what runs now; `undefined` as well where nobody would look at it. */
let current: Scope | undefined

export const currentScope = (): Scope | undefined => current

/** Calls in a request's context; where it is, without one. */
export function runIn<This, Args extends unknown[], Result> (
  scope: Scope | undefined, call: (this: This, ...args: Args) => Result, self: This, ...args: Args
): Result {
  if (scope === undefined) return call.apply(self, args)
  const before = current
  current = scope
  try {
    return scope.runInAsyncScope(call as (this: This, ...args: unknown[]) => Result, self, ...args)
  } finally {
    current = before
  }
}

/** Tells a handler of an attempt in a request's context. What no hook follows from is told where it is. */
export class ScopedHandler implements AttemptHandler {
  readonly #scope: Scope
  readonly #handler: AttemptHandler

  constructor (scope: Scope, handler: AttemptHandler) {
    this.#scope = scope
    this.#handler = handler
  }

  onSent (): void { this.#handler.onSent() }
  onDrain (): void { this.#handler.onDrain() }
  onInformational (status: number, headers: readonly string[]): void { this.#handler.onInformational(status, headers) }
  onUpgrade (headers: readonly string[], socket: Duplex, head: Buffer): void { this.#handler.onUpgrade(headers, socket, head) }

  onHead (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    const handler = this.#handler
    runIn(this.#scope, handler.onHead, handler, status, reason, headers, length, complete)
  }

  onData (chunk: Buffer, last: boolean): boolean {
    const handler = this.#handler
    return runIn(this.#scope, handler.onData, handler, chunk, last)
  }

  onComplete (trailers: readonly string[] | undefined): void {
    const handler = this.#handler
    runIn(this.#scope, handler.onComplete, handler, trailers)
  }

  onError (error: TransportError): void {
    const handler = this.#handler
    runIn(this.#scope, handler.onError, handler, error)
  }
}

/** A write of a turn, in a request's context. */
export class ScopedWrite implements TurnWrite {
  readonly #scope: Scope
  readonly #write: TurnWrite

  constructor (scope: Scope, write: TurnWrite) {
    this.#scope = scope
    this.#write = write
  }

  writeNow (): void {
    runIn(this.#scope, this.#write.writeNow, this.#write)
  }
}
