/** A body in memory while it arrives, up to a bound. */
export class Collector {
  readonly #limit: number
  #chunks: Buffer[] | undefined = []
  #size = 0

  /** `limit`: bytes, beyond which nothing is kept. */
  constructor (limit: number) {
    this.#limit = limit
  }

  /** `false` once it was too long, taken or dropped. */
  get whole (): boolean { return this.#chunks !== undefined }

  add (chunk: Buffer): void {
    if (this.#chunks === undefined) return
    this.#size += chunk.length
    if (this.#size > this.#limit) this.#chunks = undefined
    else this.#chunks.push(chunk)
  }

  /** The body, in an exact buffer of its own: a chunk may be a small view that keeps a whole pool alive. */
  take (): Buffer | undefined {
    const chunks = this.#chunks
    this.#chunks = undefined
    if (chunks === undefined) return undefined
    const body = Buffer.allocUnsafeSlow(this.#size)
    let at = 0
    for (const chunk of chunks) at += chunk.copy(body, at)
    return body
  }

  drop (): void {
    this.#chunks = undefined
  }
}
