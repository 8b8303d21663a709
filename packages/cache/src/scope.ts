import { AsyncResource } from 'node:async_hooks'
import type { Output } from './output.ts'
import type { TurnWrite } from './turn-writes.ts'

/**
 * The asynchronous context of a request: what an AsyncLocalStorage holds there. A fetch is one request's, and who shares its response is told of it in
 * that one's; a turn's writes are made together. What runs here sees its own request's, and so do the hooks that follow from it.
 */
export class Scope extends AsyncResource {
  constructor () {
    super('headgate.cache')
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
    this.#scope.runInAsyncScope(this.#write.writeNow, this.#write)
  }
}

/** A body that comes piece by piece, in a request's context. */
export class ScopedOutput implements Output {
  readonly #scope: Scope
  readonly #output: Output

  constructor (scope: Scope, output: Output) {
    this.#scope = scope
    this.#output = output
  }

  write (chunk: Buffer): boolean { return this.#scope.runInAsyncScope(this.#output.write, this.#output, chunk) }
  end (): void { this.#scope.runInAsyncScope(this.#output.end, this.#output) }
  fail (error: Error): void { this.#scope.runInAsyncScope(this.#output.fail, this.#output, error) }
}
