import { type Entry, revived } from '@headgate/cache'
import type { Position } from './position.ts'

/** What Redis holds beside a response's own data. */
export interface Stored {
  /** The last purge that was known when it was fetched. */
  position: Position
  /** Begins the names of the body's chunks; '' when the body is in the value. */
  blob: string
  /** Milliseconds since the epoch after which it is of no use to anybody. */
  until: number
}

/** Length of the head (32 bits), the head as JSON, the body where it is short. */
export function encode (entry: Entry, stored: Stored, body: Buffer | undefined): Buffer {
  const plain = { ...entry, body: undefined, head: undefined, hitAt: undefined, encoded: undefined }
  const head = Buffer.from(JSON.stringify([stored.position, stored.blob, stored.until, plain]))
  const value = Buffer.allocUnsafe(4 + head.length + (body?.length ?? 0))
  value.writeUInt32BE(head.length, 0)
  head.copy(value, 4)
  body?.copy(value, 4 + head.length)
  return value
}

/** `undefined` for what is not of our making. */
export function decode (value: Buffer): { readonly entry: Entry; readonly stored: Stored } | undefined {
  try {
    const end = 4 + value.readUInt32BE(0)
    const [position, blob, until, entry] = JSON.parse(value.toString('utf8', 4, end)) as [Position, string, number, Entry]
    const inline = blob === ''
    if (inline && value.length - end !== entry.size) return undefined
    return {
      // Its own memory: a reply of Redis is a view of a larger buffer.
      entry: { ...revived(entry), body: inline ? Buffer.from(value.subarray(end)) : undefined },
      stored: { position, blob, until }
    }
  } catch {
    return undefined
  }
}
