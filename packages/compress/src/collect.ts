import type { Readable } from 'node:stream'
import type { CompressClock } from './clock.ts'

/** `whole`: `pieces` are all of the body; else its source is paused after them. */
export type Collected = (error: Error | null, pieces: Buffer[], whole: boolean) => void

/**
 * Reads a body that is to be short. It gives up waiting after `patience` milliseconds (0: at the end of this turn of the event loop), and when there
 * is more than `limit` bytes, so that a slow or wrongly announced body is streamed as it comes.
 */
export function collect (source: Readable, limit: number, patience: number, clock: CompressClock, done: Collected): void {
  const pieces: Buffer[] = []
  let bytes = 0
  const settle = (error: Error | null, whole: boolean): void => {
    clock.clearTimeout(timer)
    clearImmediate(turn)
    source.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose)
    done(error, pieces, whole)
  }
  const onData = (chunk: Buffer | string): void => {
    const piece = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    pieces.push(piece)
    bytes += piece.length
    if (bytes > limit) pause()
  }
  const pause = (): void => {
    source.pause()
    settle(null, false)
  }
  const onEnd = (): void => { settle(null, true) }
  const onError = (error: Error): void => { settle(error, false) }
  const onClose = (): void => { settle(new Error('the source of the body was closed before its end'), false) }
  let turn = patience === 0 ? setImmediate(pause) : undefined
  // What has come meanwhile is read first: where the event loop was busy for so long, that may be all of it.
  const timer = patience === 0 ? undefined : clock.setTimeout(() => { turn = setImmediate(pause) }, patience)
  source.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
}
