import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'

/**
 * A stored body as a stream that fails before its last piece when its checksum is not `sum`: a client that was promised so many bytes sees
 * that they do not come.
 */
export class Checked extends Readable {
  readonly #source: Readable
  #held: Buffer | undefined
  #sum = 0

  /** `failed` is told what is wrong with the body. */
  constructor (source: Readable, sum: number, failed: (error: Error) => void) {
    super({ highWaterMark: source.readableHighWaterMark })
    this.#source = source
    source.on('data', (chunk: Buffer) => {
      this.#sum = crc32(chunk, this.#sum)
      const before = this.#held
      this.#held = chunk
      if (before !== undefined && !this.push(before)) source.pause()
    })
    const fail = (error: Error): void => {
      failed(error)
      this.destroy(error)
    }
    source.on('error', fail)
    source.on('end', () => {
      if (this.#sum !== sum) return fail(new Error('a stored body is damaged'))
      if (this.#held !== undefined) this.push(this.#held)
      this.push(null)
    })
    source.pause()
  }

  override _read (): void {
    this.#source.resume()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    this.#source.destroy()
    done(error)
  }
}
