import { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { MessageChannel } from 'node:worker_threads'

/**
 * Node's HTTP server gives each piece of a body memory of its own, up to 64 KiB. Left to the garbage collector it lies there until tens of
 * megabytes are together, which make V8 mark the whole heap, several times a second under load; and each new piece gets pages that the
 * system has to clear first. Given back once it is passed on, the next piece gets the same memory again.
 */

/** Smaller pieces are left to the collector: to give them back costs as much. */
const WORTHWHILE = 16_384

/** Gives the memory back at once; what looks at it sees nothing any more. */
const detach = detaching()

function detaching (): (memory: ArrayBuffer) => void {
  // Since Node 22.
  const { transfer } = ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, length: number) => ArrayBuffer }
  if (transfer !== undefined) return (memory) => { transfer.call(memory, 0) }
  const { port1, port2 } = new MessageChannel()
  // What is sent where nobody listens is dropped.
  port2.close()
  port1.unref()
  return (memory) => { port1.postMessage(undefined, [memory]) }
}

/** Nobody but the one who asks listens to it. */
export function isAlone (source: IncomingMessage): boolean {
  return source.listenerCount('data') === 1 && source.listenerCount('readable') === 0 && source.emit === IncomingMessage.prototype.emit
}

/**
 * The pieces that `source` is going to give come from Node's parser, and to `listener` alone: nobody has read before, and nothing stands
 * between. Holds as long as {@link isAlone} does.
 */
export function ownsPieces (source: Readable, listener: (chunk: Buffer) => void): source is IncomingMessage {
  return source instanceof IncomingMessage && isParsed(source) && !source.readableDidRead && source.push === Readable.prototype.push &&
    source.read === Readable.prototype.read && source.listeners('data').length === 1 && source.listeners('data')[0] === listener
}

/** Adapters make messages of their own, for functions in a cloud as an example, and put into them what is theirs. */
function isParsed (source: IncomingMessage): boolean {
  const socket = source.socket as { parser?: { incoming?: unknown } | null } | null | undefined
  return socket?.parser?.incoming === source
}

/** Gives a piece's memory back, if it is its own. Only for pieces that nobody looks at any more, the system included. */
export function release (piece: Buffer): void {
  const { buffer, length } = piece
  if (length >= WORTHWHILE && buffer.byteLength === length && buffer instanceof ArrayBuffer) detach(buffer)
}
