/** What a connection reads into until a read fills it. */
const SMALL = 4096
/** What it gets next. */
const MEDIUM = 65_536
/** Buffers of each size kept for the next connection. */
const KEPT = 64
/** Bytes that buffers larger than the medium size may take together, so that a thousand large transfers do not cost a thousand of them. */
const SHARE = 67_108_864

/**
 * The read buffers of a listener, or of whatever passes bytes on. Each direction of each connection has one of its own, because a chunk
 * that a socket could not take at once must not be overwritten. It is small until a read fills it, then medium, then large, and goes back
 * in the same steps.
 */
export class FlowBuffers {
  readonly #sizes: readonly number[]
  readonly #free = new Map<number, Buffer[]>()
  /** Large ones that are not for everybody: how many there may be. */
  #left: number

  /** `largest`: bytes of a large buffer. */
  constructor (largest: number) {
    this.#sizes = largest > MEDIUM ? [SMALL, MEDIUM, largest] : [SMALL, largest]
    this.#left = largest > MEDIUM ? Math.max(1, Math.floor(SHARE / largest)) : Infinity
  }

  take (): Buffer {
    return this.#get(SMALL)
  }

  /** The next size up from `buffer`; `undefined` when there is none of at most `most` bytes, or none to be had now. */
  larger (buffer: Buffer, most: number): Buffer | undefined {
    const index = this.#sizes.indexOf(buffer.length) + 1
    const size = this.#sizes[index]
    if (size === undefined || size > most) return undefined
    if (index === 2) {
      if (this.#left === 0) return undefined
      this.#left--
    }
    return this.#get(size)
  }

  /** Would a read of `size` bytes have done with the next size down from `buffer`? */
  tooLarge (buffer: Buffer, size: number): boolean {
    return buffer.length > SMALL && size < this.#below(buffer)
  }

  smaller (buffer: Buffer): Buffer {
    return this.#get(this.#below(buffer))
  }

  /** No longer used. `free`: no part of it is in anybody's hands; else it is left to the garbage collector. */
  give (buffer: Buffer, free: boolean): void {
    const size = buffer.length
    if (size > MEDIUM) this.#left++
    if (!free) return
    const list = this.#free.get(size)
    if (list === undefined) this.#free.set(size, [buffer])
    else if (list.length < KEPT) list.push(buffer)
  }

  #below (buffer: Buffer): number {
    return this.#sizes[this.#sizes.indexOf(buffer.length) - 1]!
  }

  /** Not from Node's slab, and not zeroed: the pages of an unused part are never touched. */
  #get (size: number): Buffer {
    return this.#free.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size)
  }
}
