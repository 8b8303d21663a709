import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type TurnWrite, writeInTurn } from '@headgate/core'
import { type Scope, ScopedWrite } from './scope.ts'

/**
 * Up to this size a body goes out in one string with its head: cheaper than a gathered write of two. Node writes strings of up to 16 KiB
 * from its stack, longer ones from memory that it has to ask for.
 */
const JOIN_LIMIT = 15_360

const { write, end } = ServerResponse.prototype

/**
 * Writes a body to a client's HTTP/1.1 response, whose head is written or set.
 *
 * Pieces are written from the transport's own buffer, without a copy: what the socket takes at once is gone when the write
 * returns. Only what it does not take is held, and the upstream with it, until the socket is empty. Whoever has put a `write` of his
 * own in place of Node's may keep what he gets for longer, so he gets copies.
 */
export class DirectBody implements TurnWrite {
  readonly #response: ServerResponse
  readonly #drained: () => void
  /** Content-Length is known: the last piece is the end, since no trailers can follow. */
  readonly #sized: boolean
  /** In which the turn's writes are made. */
  readonly #scope: Scope | undefined
  /** The last piece of a body without a length. */
  #last: Buffer | undefined
  /** The end waits for the turn's writes, after the last piece of a short body. */
  #ending = false
  #text = ''

  constructor (response: ServerResponse, sized: boolean, drained: () => void, scope: Scope | undefined) {
    this.#response = response
    this.#sized = sized
    this.#scope = scope
    this.#drained = drained
  }

  write (chunk: Buffer, last: boolean): boolean {
    const response = this.#response
    const { socket } = response
    if (last && !this.#sized) {
      // The end follows at once, with trailers or without: both leave in one write.
      this.#last = Buffer.from(chunk)
      return true
    }
    // A response that waits for its turn has no socket yet; and what comes behind a backlog would only be held longer.
    if (socket?.writableLength !== 0) return this.#keep(Buffer.from(chunk), last)
    if (last && chunk.length <= JOIN_LIMIT) {
      this.#join(chunk)
      return true
    }
    // TLS tells only later that it has enciphered a piece: holding each of them would cost more than the copy.
    if ('encrypted' in socket || !writesAtOnce(response)) return this.#keep(Buffer.from(chunk), last)
    // Corked by us, so that Node does not put the write off to the next tick.
    socket.cork()
    if (last) response.end(chunk)
    else response.write(chunk)
    socket.uncork()
    if (socket.writableLength === 0) return true
    // Runs when all before it has been handed to the system.
    socket.write('', this.#drained)
    return false
  }

  /** All of the body at once, in memory that is not used again. */
  whole (body: Buffer): void {
    if (this.#response.socket?.writableLength === 0 && body.length <= JOIN_LIMIT) this.#join(body)
    else this.#response.end(body)
  }

  end (trailers: readonly string[] | undefined): void {
    if (this.#ending || this.#response.writableEnded) return
    if (trailers !== undefined) {
      const pairs: [string, string][] = []
      for (let i = 0; i < trailers.length; i += 2) pairs.push([trailers[i]!, trailers[i + 1]!])
      this.#response.addTrailers(pairs)
    }
    // As above: what waits for its turn, or for the client, is in nobody's way.
    if (this.#response.socket?.writableLength === 0) this.#endInTurn()
    else this.#response.end(this.#last)
  }

  writeNow (): void {
    const response = this.#response
    const { socket } = response
    // The client has left meanwhile, or somebody else has ended the response.
    if (socket === null || response.destroyed) return
    if (this.#text === '') {
      response.end(this.#last)
      return
    }
    // TLS tells only later that it has enciphered a piece: the end, which is an empty write then, would wait for a turn of its own.
    const encrypted = 'encrypted' in socket
    if (encrypted) socket.cork()
    writeWhole(response, socket, this.#text)
    response.end()
    if (encrypted) socket.uncork()
  }

  #join (body: Buffer): void {
    this.#text = body.toString('latin1')
    this.#endInTurn()
  }

  #endInTurn (): void {
    this.#ending = true
    writeInTurn(this.#scope === undefined ? this : new ScopedWrite(this.#scope, this))
  }

  #keep (copy: Buffer, last: boolean): boolean {
    if (last) {
      this.#response.end(copy)
      return true
    }
    if (this.#response.write(copy)) return true
    this.#response.once('drain', this.#drained)
    return false
  }
}

/** Is what is written handed to the socket before the call returns? */
export function writesAtOnce (response: ServerResponse): boolean {
  return response.write === write && response.end === end
}

/** What Node's responses keep of their heads. */
interface Head {
  _header?: string | null
  _headerSent?: boolean
  /** False for statuses and methods whose answers have none. */
  _hasBody?: boolean
}

/**
 * Writes what is left of a response, its head included where that has not gone out. Node's own `write` would cork the socket, keep
 * head and body and write them when uncorked, which costs more than all the rest of it: so they go to the socket here, unless
 * somebody looks at what is written.
 */
function writeWhole (response: ServerResponse & Head, socket: Socket, text: string): void {
  const { _header: head } = response
  if (response._headerSent === false && typeof head === 'string' && response.write === write && !response.strictContentLength &&
    response._hasBody === true && !response.chunkedEncoding) {
    response._headerSent = true
    socket.write(head + text, 'latin1')
    return
  }
  socket.cork()
  // No text: who has put a `write` of his own there may not look at its encoding.
  response.write(Buffer.from(text, 'latin1'))
  socket.uncork()
}
