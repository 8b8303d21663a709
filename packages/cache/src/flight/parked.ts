import type { Readable } from 'node:stream'
import type { Output } from '../output.ts'
import type { MaybePromise } from '../store/contract.ts'

/** Bytes `start` to `end` of a stored body, both included; `undefined` when they cannot be had. */
export type ReadStored = (start: number, end: number) => MaybePromise<Buffer | Readable | undefined>

/** A client that was so slow that it held back those with whom it shared a fetch: it gets the rest out of the store, once all of it is there. */
export class Parked {
  readonly #output: Output
  readonly #from: number
  readonly #left: number
  #body: Readable | undefined
  #over = false

  /** `from`: first byte of the body that it has not got; `left`: how many it is to get, infinite for all. */
  constructor (output: Output, from: number, left: number) {
    this.#output = output
    this.#from = from
    this.#left = left
  }

  /** The body of `size` bytes is stored. */
  resume (size: number, read: ReadStored): void {
    const end = Math.min(this.#from + this.#left, size) - 1
    if (this.#over || end < this.#from) return this.#end()
    const failed = (): void => { this.fail(new Error('the rest of the body cannot be read from the store')) }
    const send = (body: Buffer | Readable | undefined): void => {
      if (body === undefined) return failed()
      if (Buffer.isBuffer(body)) {
        this.#output.write(body)
        return this.#end()
      }
      if (this.#over) {
        body.destroy()
        return
      }
      this.#body = body
      let missing = end - this.#from + 1
      body.on('data', (chunk: Buffer) => {
        missing -= chunk.length
        if (!this.#output.write(chunk)) body.pause()
      })
      body.on('end', () => { if (missing === 0) this.#end(); else failed() })
      body.on('error', failed)
    }
    const body = read(this.#from, end)
    if (body instanceof Promise) body.then(send, failed)
    else send(body)
  }

  fail (error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#output.fail(error)
  }

  drained (): void {
    this.#body?.resume()
  }

  /** The client has gone. */
  stop (): void {
    this.#over = true
    this.#body?.destroy()
  }

  #end (): void {
    if (this.#over) return
    this.#over = true
    this.#output.end()
  }
}
