import { Readable } from 'node:stream'
import type { Entry } from './entry.ts'
import type { ByteRange } from './semantics/ranges.ts'
import type { CacheStore } from './store/contract.ts'

/**
 * Bytes of our own and ranges of a stored body that is not in memory, one after another; no more than one range is open at a time. `undefined` when
 * the body is gone.
 */
export async function piecewise (store: CacheStore, entry: Entry, pieces: readonly (Buffer | ByteRange)[]): Promise<Readable | undefined> {
  const { start, end } = pieces.find((piece): piece is ByteRange => !Buffer.isBuffer(piece))!
  const first = await store.read(entry, start, end)
  if (first === undefined) return undefined
  async function * bytes (): AsyncGenerator<Buffer> {
    let opened: Buffer | Readable | undefined = first
    for (const piece of pieces) {
      if (Buffer.isBuffer(piece)) {
        yield piece
        continue
      }
      const body: Buffer | Readable | undefined = opened ?? await store.read(entry, piece.start, piece.end)
      opened = undefined
      if (body === undefined) throw new Error('the stored body is gone')
      if (Buffer.isBuffer(body)) yield body
      else yield * body as AsyncIterable<Buffer>
    }
  }
  const whole = Readable.from(bytes(), { objectMode: false })
  if (!Buffer.isBuffer(first)) {
    // Whoever reads it gets its error; until then, and when nobody ever does, nothing may come of it.
    first.on('error', () => {})
    whole.on('close', () => { first.destroy() })
  }
  return whole
}
