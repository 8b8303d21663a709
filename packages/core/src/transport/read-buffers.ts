/** What an idle connection keeps of buffers that are not large, by what its last response took. */
const SIZES = [4096, 16_384] as const
/** Bytes in buffers above the smallest that the idle connections of this process may keep. Pages that nothing was read into cost nothing. */
const KEPT_BY_IDLE = 33_554_432
/** Buffers of each size that wait for a connection. */
const FREE = 16

let keptByIdle = 0

const kept = (buffer: Buffer): number => buffer.length > SIZES[0] ? buffer.length : 0

/**
 * The read buffers of one transport's connections. Each busy connection has one of its own, because a piece that the handler
 * holds back must not be overwritten by another connection's read. They pass from connection to connection.
 */
export class ReadBuffers {
  readonly #size: number
  readonly #free = new Map<number, Buffer[]>()

  constructor (size: number) {
    this.#size = size
    for (const each of [...SIZES, size]) this.#free.set(each, [])
  }

  /** One for whatever comes. */
  take (): Buffer {
    return this.#take(this.#size)
  }

  /** Only for buffers of which no piece is in anybody's hands. */
  give (buffer: Buffer): void {
    const free = this.#free.get(buffer.length)!
    if (free.length < FREE) free.push(buffer)
  }

  /**
   * The connection goes idle: the buffer that it keeps until {@link busy}, so that ten thousand of them cost little. The next response
   * will likely be like the last one, which took `received` bytes. Not `exchangeable`: the system has the buffer for the next read.
   */
  idle (buffer: Buffer, received: number, exchangeable: boolean): Buffer {
    let size: number = received <= SIZES[0] ? SIZES[0] : received <= SIZES[1] ? SIZES[1] : this.#size
    if (keptByIdle + size > KEPT_BY_IDLE) size = SIZES[0]
    // A smaller one than before waits until there is more to win than the exchange costs.
    if (exchangeable && size < buffer.length && buffer.length > SIZES[1]) {
      this.give(buffer)
      buffer = this.#take(size)
    }
    keptByIdle += kept(buffer)
    return buffer
  }

  /** The connection is idle no more, or no more at all, with the buffer that {@link idle} left it. */
  busy (buffer: Buffer): void {
    keptByIdle -= kept(buffer)
  }

  isSmall (buffer: Buffer): boolean {
    return buffer.length < this.#size
  }

  #take (size: number): Buffer {
    // Not from Node's slab, and not zeroed: the pages of an unused part are never touched.
    return this.#free.get(size)!.pop() ?? Buffer.allocUnsafeSlow(size)
  }
}
