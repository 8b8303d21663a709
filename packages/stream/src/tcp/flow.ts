import type { OnReadOpts, Socket } from 'node:net'
import { type Clock, Deadline, type Deadlines } from '@headgate/core'
import { type Buffers, SMALL } from './buffers.ts'
import type { Meter } from './meter.ts'

/** Small reads in a row after which a large buffer is given back. */
const PATIENCE = 16

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
  watched = true
  /** Clock time of the last read. */
  active: number
  readonly #owner: FlowOwner
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  readonly #buffers: Buffers
  readonly #meters: readonly Meter[]
  #buffer: Buffer
  #smallReads = 0
  #from: Socket | undefined
  #direct = false
  #to: Socket | undefined
  /** The other socket has not taken everything. */
  #held = false
  /** A bound on bytes per second was reached. */
  #throttled = false
  #closed = false

  constructor (owner: FlowOwner, clock: Clock, deadlines: Deadlines, buffers: Buffers, meters: readonly Meter[]) {
    super()
    this.#owner = owner
    this.#clock = clock
    this.#deadlines = deadlines
    this.#buffers = buffers
    this.#meters = meters
    this.#buffer = buffers.small()
    this.active = clock.now()
  }

  /** For the socket that it reads from. */
  get onread (): OnReadOpts {
    return { buffer: this.#next, callback: this.#read as OnReadOpts['callback'] }
  }

  /** Says which socket it reads from; `direct` when that was made with {@link onread}, else its `data` events are listened to. */
  from (socket: Socket, direct: boolean): void {
    this.#from = socket
    this.#direct = direct
    if (!direct) socket.on('data', this.#data)
  }

  /** From now on what is read goes there. */
  to (socket: Socket): void {
    this.#to = socket
  }

  /** Goes back to telling its owner, as before {@link to}. */
  detach (): void {
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
    if (!this.#held) this.#buffers.give(this.#buffer)
  }

  /** A pause for the sake of the bound is over. */
  expired (): void {
    this.#throttled = false
    this.resume()
  }

  readonly #next = (): Buffer => this.#buffer

  readonly #read = (size: number, buffer: Buffer): boolean => {
    const goOn = this.#take(size === buffer.length ? buffer : buffer.subarray(0, size))
    if (this.#closed) return false
    if (size === buffer.length) {
      this.#smallReads = 0
      if (size === SMALL) this.#swap(this.#buffers.large())
    } else if (buffer.length > SMALL && (size >= SMALL ? this.#smallReads = 0 : ++this.#smallReads) > PATIENCE) this.#swap(this.#buffers.small())
    return goOn
  }

  readonly #data = (chunk: Buffer): void => {
    if (!this.#take(chunk)) this.#from?.pause()
  }

  #take (chunk: Buffer): boolean {
    this.bytes += chunk.length
    this.active = this.#clock.now()
    if (this.#to === undefined) return this.#owner.early(this, chunk)
    if (this.watched) this.#owner.seen(this, chunk)
    return this.write(chunk)
  }

  /** Writes on; false when reading has to wait. */
  write (chunk: Buffer): boolean {
    const to = this.#to!
    to.write(chunk, this.#written)
    if (to.writableLength > 0) this.#held = true
    let wait = 0
    for (const meter of this.#meters) wait = Math.max(wait, meter.pass(chunk.length))
    if (wait > 0) {
      this.#throttled = true
      this.#deadlines.schedule(this, this.active + wait)
    }
    return !this.#held && !this.#throttled
  }

  /** A buffer that is still being written from is left to the garbage collector. */
  #swap (buffer: Buffer): void {
    if (!this.#held) this.#buffers.give(this.#buffer)
    this.#buffer = buffer
    this.#smallReads = 0
  }

  readonly #written = (): void => {
    if (!this.#held || this.#to === undefined || this.#to.writableLength > 0) return
    this.#held = false
    this.resume()
  }
}
