import type { Readable } from 'node:stream'
import type { CompressClock, Timer } from './clock.ts'
import type { Coder, Encoding } from './encodings/index.ts'

/** Milliseconds that a byte may wait inside an encoder; at full speed this costs nothing measurable in size. */
const FLUSH_WITHIN = 10

export interface StreamJob {
  readonly source: Readable
  /** Pieces that were read from `source` already. */
  readonly read: readonly Buffer[]
  readonly encoding: Encoding
  readonly level: number
  /** Each piece is a message that somebody waits for. */
  readonly progressive: boolean
  /** Bytes to come, where that is known. */
  readonly size: number | undefined
  readonly clock: CompressClock
  /** All is encoded; not called when it broke off. */
  readonly finished: (bytesIn: number, bytesOut: number) => void
}

/**
 * Pumps `source` through an encoder and gives the encoder. The first piece goes out at once, each piece of a progressive type
 * too, any other within {@link FLUSH_WITHIN}. Pressure is kept in both directions, and the end of one side, however it comes,
 * is the end of the other.
 */
export function encodeStream ({ source, read, encoding, level, progressive, size, clock, finished }: StreamJob): Coder {
  const encoder = encoding.encoder(level, progressive, size)
  let timer: Timer
  let bytesIn = 0
  let bytesOut = 0
  let first = true
  let unflushed = false

  const flush = (): void => {
    timer = undefined
    if (!unflushed || encoder.destroyed || encoder.writableEnded) return
    unflushed = false
    encoder.flush(encoding.flushKind)
  }
  const write = (chunk: Buffer | string): void => {
    const piece = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (piece.length === 0) return
    bytesIn += piece.length
    const room = encoder.write(piece)
    if (progressive) encoder.flush(encoding.flushKind)
    else {
      unflushed = true
      if (first) setImmediate(flush)
      else timer ??= clock.setTimeout(flush, FLUSH_WITHIN)
    }
    first = false
    if (!room) source.pause()
  }

  encoder.on('drain', () => { source.resume() })
  encoder.on('data', (chunk: Buffer) => { bytesOut += chunk.length })
  // Counting must not set it flowing before there is somebody to read.
  encoder.pause()
  encoder.on('end', () => { finished(bytesIn, bytesOut) })
  encoder.on('close', () => {
    clock.clearTimeout(timer)
    source.destroy()
  })
  source.on('error', (error: Error) => { encoder.destroy(error) })
  source.on('close', () => { if (!source.readableEnded && !encoder.destroyed) encoder.destroy(new Error('the source of the body was closed before its end')) })
  source.on('end', () => { encoder.end() })
  for (const piece of read) write(piece)
  // They have waited already.
  if (read.length > 0) flush()
  if (source.readableEnded) encoder.end()
  else {
    source.on('data', write)
    if (!encoder.writableNeedDrain) source.resume()
  }
  return encoder
}
