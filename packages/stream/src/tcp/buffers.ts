/** What a connection reads into until a read fills it. */
export const SMALL = 4096
/** Buffers of each size kept for the next connection. */
const KEPT = 64

/**
 * The read buffers of one listener. Each direction of each connection has one of its own, because a chunk that a socket could not
 * take at once must not be overwritten; large ones only where reads are large.
 */
export class Buffers {
  readonly #large: number
  readonly #free = { small: [] as Buffer[], large: [] as Buffer[] }

  /** `large`: bytes of a large buffer. */
  constructor (large: number) {
    this.#large = large
  }

  small (): Buffer {
    return this.#free.small.pop() ?? Buffer.allocUnsafeSlow(SMALL)
  }

  /** Not from Node's slab, and not zeroed: the pages of an unused part are never touched. */
  large (): Buffer {
    return this.#free.large.pop() ?? Buffer.allocUnsafeSlow(this.#large)
  }

  /** Only for buffers of which no part is in anybody's hands. */
  give (buffer: Buffer): void {
    const list = buffer.length === SMALL ? this.#free.small : this.#free.large
    if (list.length < KEPT) list.push(buffer)
  }
}
