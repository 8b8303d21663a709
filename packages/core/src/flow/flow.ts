import { type OnReadOpts, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Deadline, type Deadlines } from '../deadlines.ts'
import type { FlowBuffers } from './buffers.ts'

/** Small reads in a row after which a large buffer is given back. */
const PATIENCE = 16
/** Up to so many bytes a copy is cheaper than to stop reading until they are written. */
const COPIED = 4096
const NOTHING = Buffer.alloc(0)

/** A bound on bytes per second. */
export interface FlowBound {
  /** Bytes that may pass at once. */
  readonly burst: number
  /** Counts bytes that passed; milliseconds to wait before more may, 0 when none. */
  pass (bytes: number): number
}

/** Hears what comes before there is anywhere to write it to, and of the first bytes after. */
export interface FlowOwner {
  /** Has to copy what it keeps. False: stop reading until {@link Flow.resume}. */
  early (flow: Flow, chunk: Buffer): boolean
  /** Called before bytes are written, while the flow is {@link Flow.watched}. Has to copy what it keeps. */
  seen (flow: Flow, chunk: Buffer): void
}

/**
 * One direction of a connection: what is read from one socket is written to the other in the same turn, from one buffer that is
 * used again for each read. The buffer is free when the other socket took all; until then nothing more is read.
 */
export class Flow extends Deadline {
  /** Bytes that were read. */
  bytes = 0
  /** Its owner wants to see what is about to be written. */
  watched: boolean
  /** Clock time of the last read. */
  active: number
  readonly #owner: FlowOwner | undefined
  readonly #deadlines: Deadlines
  readonly #buffers: FlowBuffers
  readonly #bounds: readonly FlowBound[]
  /** A read that takes more than may pass at once would be followed by a long silence. */
  readonly #most: number
  #buffer: Buffer
  /** The part of it that the last read filled: small messages are often of the same size. */
  #view: Buffer
  #smallReads = 0
  #from: Duplex | undefined
  #direct = false
  #to: Duplex | undefined
  /** The other end is no plain socket: it takes nothing at once. */
  #later = false
  /** The other socket has not taken everything. */
  #held = false
  /** A bound on bytes per second was reached. */
  #throttled = false
  #closed = false

  /** Without `owner` it has to know where to write before the first byte comes. */
  constructor (owner: FlowOwner | undefined, deadlines: Deadlines, buffers: FlowBuffers, bounds: readonly FlowBound[] = []) {
    super()
    this.#owner = owner
    this.watched = owner !== undefined
    this.#deadlines = deadlines
    this.#buffers = buffers
    this.#bounds = bounds
    this.#most = bounds.reduce((most, { burst }) => Math.min(most, burst), Infinity)
    this.#buffer = this.#view = buffers.take()
    this.active = deadlines.now()
  }

  /** For the socket that it reads from. */
  get onread (): OnReadOpts {
    return { buffer: this.#next, callback: this.#read as OnReadOpts['callback'] }
  }

  /** Says which one it reads from; `direct` when that is read by {@link onread}, else its `data` events are listened to. */
  from (socket: Duplex, direct: boolean): void {
    this.#from = socket
    this.#direct = direct
    if (!direct) socket.on('data', this.#data)
  }

  /** From now on what is read goes there. */
  to (socket: Duplex): void {
    this.#to = socket
    this.#later = !(socket instanceof Socket) || 'encrypted' in socket
    socket.on('drain', this.#written)
  }

  /** Goes back to telling its owner, as before {@link to}. */
  detach (): void {
    this.#to?.off('drain', this.#written)
    this.#to = undefined
    this.#held = false
  }

  /** Reads on after a pause, unless there is another reason to wait. */
  resume (): void {
    if (this.#held || this.#throttled || this.#closed || this.#from === undefined) return
    // read(0) restarts a socket with onread without making a flowing stream of it.
    if (this.#direct) this.#from.read(0)
    else this.#from.resume()
  }

  /** The socket that it reads from is closed: nothing comes any more. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#deadlines.cancel(this)
    this.#buffers.give(this.#buffer, !this.#held)
  }

  /** A pause for the sake of the bound is over. */
  expired (): void {
    this.#throttled = false
    this.resume()
  }

  readonly #next = (): Buffer => this.#buffer

  readonly #read = (size: number, buffer: Buffer): boolean => {
    if (size !== this.#view.length) this.#view = size === buffer.length ? buffer : buffer.subarray(0, size)
    const goOn = this.#take(this.#view)
    if (this.#closed) return false
    if (size === buffer.length) {
      this.#smallReads = 0
      this.#swap(this.#buffers.larger(buffer, this.#most))
    } else if (!this.#buffers.tooLarge(buffer, size)) this.#smallReads = 0
    else if (++this.#smallReads > PATIENCE) this.#swap(this.#buffers.smaller(buffer))
    return goOn
  }

  readonly #data = (chunk: Buffer): void => {
    if (!this.#take(chunk)) this.#from?.pause()
  }

  #take (chunk: Buffer): boolean {
    this.bytes += chunk.length
    this.active = this.#deadlines.now()
    if (this.#to === undefined) return this.#owner!.early(this, chunk)
    if (this.watched) this.#owner!.seen(this, chunk)
    return this.write(chunk)
  }

  /** Writes on; false when reading has to wait. */
  write (chunk: Buffer): boolean {
    const to = this.#to!
    if (this.#direct && (!this.#later || chunk.length > COPIED)) this.#lend(to, chunk)
    // A piece as large as the high-water mark counts as too much, also when the system has taken it.
    else this.#held = !to.write(this.#direct ? Buffer.from(chunk) : chunk) && to.writableLength > 0
    if (this.#bounds.length > 0) this.#pay(chunk.length)
    return !this.#held && !this.#throttled
  }

  /** Writes from the buffer, which is free when all was taken. */
  #lend (to: Duplex, chunk: Buffer): void {
    // What is no plain socket takes nothing at once. Of plain ones most do, and there a callback for each write would cost a twentieth of a
    // small message's way. Their 'drain' tells that they took all, unless it was less than the high-water mark: then an empty write does.
    const drains = !(this.#later ? to.write(chunk, this.#written) : to.write(chunk))
    if (to.writableLength === 0) return
    this.#held = true
    if (!drains && !this.#later) to.write(NOTHING, this.#written)
  }

  #pay (bytes: number): void {
    let wait = 0
    for (const bound of this.#bounds) wait = Math.max(wait, bound.pass(bytes))
    if (wait === 0) return
    this.#throttled = true
    this.#deadlines.schedule(this, this.active + wait)
  }

  /** A buffer that is still being written from is left to the garbage collector. */
  #swap (buffer: Buffer | undefined): void {
    if (buffer === undefined) return
    this.#buffers.give(this.#buffer, !this.#held)
    this.#buffer = this.#view = buffer
    this.#smallReads = 0
  }

  readonly #written = (): void => {
    if (!this.#held || this.#to === undefined || this.#to.writableLength > 0) return
    this.#held = false
    this.resume()
  }
}
