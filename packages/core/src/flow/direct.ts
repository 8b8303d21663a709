import { type OnReadOpts, Socket } from 'node:net'
import type { Duplex } from 'node:stream'

interface Handle { useUserBuffer? (buffer: Uint8Array): void }

type Fields = Record<symbol, unknown>

/** Where Node keeps what a socket was given as `onread`. */
export interface OnReadFields {
  readonly buffer: symbol
  readonly callback: symbol
  /** A function that gives the buffer of the next read. */
  readonly next: symbol
}

/** `undefined` where this Node has others: none of it is documented. */
export const onReadFields: OnReadFields | undefined = findFields()

function findFields (): OnReadFields | undefined {
  const buffer = Buffer.alloc(1)
  const callback = (): boolean => true
  const socket = new Socket({ onread: { buffer, callback } } as object) as unknown as Fields
  const symbols = Object.getOwnPropertySymbols(socket)
  const holder = symbols.find((symbol) => socket[symbol] === buffer)
  const called = symbols.find((symbol) => socket[symbol] === callback)
  const next = symbols.find((symbol) => symbol.description === 'kBufferGen' && socket[symbol] === null)
  return holder === undefined || called === undefined || next === undefined ? undefined : { buffer: holder, callback: called, next }
}

/**
 * Lets a connection that stands already, and was read by its `data` events or not at all, be read by `onread` from now on, which Node has for new
 * ones only. False where that cannot be: TLS deciphers into memory of its own, and others may listen. What it has buffered has to be read first.
 */
export function readDirectly (stream: Duplex, next: () => Buffer, callback: OnReadOpts['callback']): boolean {
  if (onReadFields === undefined || !(stream instanceof Socket) || 'encrypted' in stream || stream.destroyed || stream.connecting) return false
  if (stream.readableLength > 0 || stream.readableFlowing !== null || stream.listenerCount('data') > 0 || stream.listenerCount('readable') > 0) return false
  const fields = stream as unknown as Fields
  const { _handle: handle } = stream as unknown as { readonly _handle?: Handle | null }
  if (fields[onReadFields.buffer] !== null || typeof handle?.useUserBuffer !== 'function') return false
  const buffer = fields[onReadFields.buffer] = next()
  fields[onReadFields.callback] = callback
  fields[onReadFields.next] = next
  handle.useUserBuffer(buffer)
  return true
}
