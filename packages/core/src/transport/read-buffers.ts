/** What a connection reads into while it is idle and no large buffer can be spared. */
const SMALL = 4096
/** Bytes of large buffers that idle connections of one transport may keep, so that ten thousand of them cost little. */
const KEPT_BY_IDLE = 4_194_304
const FREE = 16

/**
 * The read buffers of one transport's connections. Each busy connection has one of its own, because a piece that the handler
 * holds back must not be overwritten by another connection's read. Large ones pass from connection to connection.
 */
export class ReadBuffers {
  readonly #size: number
  readonly #free: Buffer[] = []
  #keptByIdle = 0

  constructor (size: number) {
    this.#size = size
  }

  take (): Buffer {
    // Not from Node's slab, and not zeroed: the pages of an unused part are never touched.
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#size)
  }

  /** Only for buffers of which no piece is in anybody's hands. */
  give (buffer: Buffer): void {
    if (buffer.length === this.#size && this.#free.length < FREE) this.#free.push(buffer)
  }

  /** The connection goes idle: the buffer that it keeps meanwhile. Not `exchangeable`: the system has it for the next read. */
  idle (buffer: Buffer, exchangeable: boolean): Buffer {
    if (buffer.length !== this.#size) return buffer
    if (this.#keptByIdle < KEPT_BY_IDLE / this.#size || !exchangeable) {
      this.#keptByIdle++
      return buffer
    }
    this.give(buffer)
    return Buffer.allocUnsafeSlow(Math.min(SMALL, this.#size))
  }

  /** The connection is idle no more, with the buffer that {@link idle} left it. */
  busy (buffer: Buffer): void {
    if (buffer.length === this.#size && this.#keptByIdle > 0) this.#keptByIdle--
  }

  isSmall (buffer: Buffer): boolean {
    return buffer.length < this.#size
  }
}
