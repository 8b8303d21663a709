import { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { onReadFields as fields } from '@headgate/core'
import { isAlone } from './body-memory.ts'

/**
 * Node's HTTP server reads what clients send through its parser, which copies each piece of a body into a Buffer of its own: 64 KiB of
 * fresh memory each time, whose copying and collecting cost more than passing them on. For the rest of a large body whose length is
 * known, the connection is read into a buffer that is used again, and the parser is shown the bytes without being asked for them: it
 * counts them, finds the end and goes on with the next request as ever. All that rests on parts of Node that are not documented: what
 * is not exactly as expected leaves everything as it is.
 */

/** Bytes of a read at most. */
const SIZE = 131_072
/** What a connection that is not read directly keeps. */
const REST_SIZE = 4096
/** Buffers that wait for a connection. */
const FREE = 16
/** What is left of a body for which the change is worth its price. */
export const WORTHWHILE = 131_072

/** Who gets what is read. */
export interface Taker {
  /** `chunk` is the taker's until it has returned true, or else until `resume()`: while it has not, nothing more is read. */
  take (chunk: Buffer): boolean
}

interface Handle {
  reading: boolean
  useUserBuffer (buffer: Uint8Array): void
  readStop (): number
}

interface Parser {
  _consumed: boolean
  consume (handle: Handle): void
  unconsume (): void
  [callback: number]: unknown
}

/** A socket of an HTTP server, and what else it has. */
type ServerSocket = Socket & { readonly _handle: Handle | null; readonly parser: Parser | null; _paused?: boolean; [field: symbol]: unknown }

const isParser = (parser: Parser | null): parser is Parser =>
  parser !== null && parser !== undefined && typeof parser.consume === 'function' && typeof parser.unconsume === 'function'

const all = new WeakMap<Socket, DirectReads>()
const free: Buffer[] = []

/** One client's connection, which is read directly now and then. */
export class DirectReads {
  readonly #socket: ServerSocket
  readonly #handle: Handle
  readonly #parser: Parser
  /** Index of the parser's callback for pieces of bodies. */
  readonly #onBody: number
  #buffer: Buffer
  /** What the next read goes to: all of the buffer, or less at the end of the body. */
  #view: Buffer
  /** Buffers that the taker has not done with. */
  readonly #lent: Buffer[] = []
  #source: IncomingMessage | undefined
  #taker: Taker | undefined
  #left = 0
  #stopped = false
  /** Within {@link #onRead}, whose answer says whether to read on. */
  #reading = false

  /**
   * Begins to read the rest of a body of `length` bytes, of which `left` are to come. `undefined` where that cannot be: then all goes on as it was.
   * Not to be called by what the parser calls, and with nothing of the body in the message's own buffer.
   */
  static begin (source: IncomingMessage, length: number, left: number, taker: Taker): DirectReads | undefined {
    if (!(source instanceof IncomingMessage) || typeof source.method !== 'string' || source.destroyed || source.readableLength > 0 || !isAlone(source)) return undefined
    // What the body's owner was told need not be how the message is framed.
    if (source.complete || source.headers['transfer-encoding'] !== undefined || source.headers['content-length'] !== String(length)) return undefined
    const socket = source.socket as ServerSocket
    const { parser, _handle: handle } = socket
    // TLS deciphers into memory of its own, and goes on when it is told to stop.
    if (fields === undefined || socket.destroyed || 'encrypted' in socket || socket._paused === true || !isParser(parser) || !parser._consumed) return undefined
    if (handle === null || typeof handle.useUserBuffer !== 'function' || typeof handle.readStop !== 'function') return undefined
    const { kOnBody } = parser.constructor as { kOnBody?: unknown }
    if (typeof kOnBody !== 'number' || typeof parser[kOnBody] !== 'function' || socket.listenerCount('data') !== 1) return undefined
    let reads = all.get(socket)
    if (reads === undefined) {
      if (socket[fields.buffer] !== null) return undefined
      reads = new DirectReads(socket, handle, parser, kOnBody)
      all.set(socket, reads)
    }
    reads.#begin(source, left, taker)
    return reads
  }

  private constructor (socket: ServerSocket, handle: Handle, parser: Parser, onBody: number) {
    this.#socket = socket
    this.#handle = handle
    this.#parser = parser
    this.#onBody = onBody
    this.#buffer = this.#view = take()
  }

  /** False when the body is read through its message again: at its end, or because somebody else listens. */
  get active (): boolean { return this.#source !== undefined }

  /** Reads no more until {@link resume}. */
  pause (): void {
    if (this.#stopped) return
    this.#stopped = true
    if (this.#reading) return
    this.#handle.reading = false
    this.#handle.readStop()
  }

  /** The taker has done with all that it was given. */
  resume (): void {
    for (const buffer of this.#lent.splice(0)) give(buffer)
    this.#continue()
  }

  /** Nobody wants the rest: it is read away. What was lent stays so. */
  discard (): void {
    this.#taker = undefined
    this.#lent.length = 0
    this.#continue()
  }

  #begin (source: IncomingMessage, left: number, taker: Taker): void {
    const { buffer, callback, next } = fields!
    this.#source = source
    this.#left = left
    this.#taker = taker
    this.#stopped = false
    this.#parser.unconsume()
    this.#parser._consumed = false
    // Once for all: Node cannot be told to forget the buffer, only to use another one after a read.
    if (this.#socket[buffer] === null) {
      this.#socket[buffer] = this.#view
      this.#socket[callback] = this.#onRead
      this.#socket[next] = this.#next
      this.#handle.useUserBuffer(this.#view)
    }
    if (this.#socket.isPaused()) this.#socket.resume()
    else this.#socket.read(0)
  }

  #continue (): void {
    if (!this.#stopped) return
    this.#stopped = false
    // Starts a socket with onread again, and does no more.
    if (this.#source !== undefined && !this.#socket.destroyed) this.#socket.read(0)
  }

  readonly #next = (): Buffer => this.#view

  readonly #onRead = (count: number): boolean => {
    const source = this.#source
    const chunk = this.#view.subarray(0, count)
    // Somebody else wants the connection's bytes, or the message's: they get them as Node would have given them.
    if (source === undefined || this.#socket.listenerCount('data') !== 1) {
      this.#source = this.#taker = undefined
      return this.#socket.push(Buffer.from(chunk))
    }
    if (!isAlone(source)) {
      this.#end()
      return this.#socket.emit('data', chunk)
    }
    this.#left -= count
    this.#reading = true
    if (this.#taker?.take(chunk) === false) {
      this.#lent.push(this.#buffer)
      this.#buffer = take()
      this.#stopped = true
    } else if (this.#buffer.length < SIZE) this.#buffer = take()
    this.#reading = false
    const goesOn = this.#left === 0 || !this.#stopped
    if (this.#left === 0) this.#end()
    else this.#view = this.#left < SIZE ? this.#buffer.subarray(0, this.#left) : this.#buffer
    this.#show(chunk)
    return goesOn
  }

  /** Lets the parser count: by what Node does with a connection's bytes where it reads them without it. */
  #show (chunk: Buffer): void {
    const onBody = this.#parser[this.#onBody]
    this.#parser[this.#onBody] = null
    try {
      this.#socket.emit('data', chunk)
    } finally {
      this.#parser[this.#onBody] = onBody
    }
  }

  /** The parser reads by itself again. */
  #end (): void {
    this.#source = this.#taker = undefined
    this.#stopped = false
    this.#lent.length = 0
    give(this.#buffer)
    this.#buffer = this.#view = Buffer.allocUnsafeSlow(REST_SIZE)
    if (this.#socket.parser !== this.#parser || this.#socket.destroyed) return
    this.#parser._consumed = true
    this.#parser.consume(this.#handle)
  }
}

function take (): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(SIZE)
}

function give (buffer: Buffer): void {
  if (buffer.length === SIZE && free.length < FREE) free.push(buffer)
}
