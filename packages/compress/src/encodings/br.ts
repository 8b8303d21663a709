import { brotliCompress, brotliCompressSync, brotliDecompress, type BrotliOptions, constants, createBrotliCompress, createBrotliDecompress } from 'node:zlib'
import type { Coder, Encoding } from './contract.ts'

/** The size lets the encoder choose its tables; without it small bodies pay for large ones. */
const sized = (level: number, size: number): BrotliOptions => ({
  params: { [constants.BROTLI_PARAM_QUALITY]: level, [constants.BROTLI_PARAM_SIZE_HINT]: size }
})

/** RFC 7932. */
export const br: Encoding = {
  name: 'br',
  levels: { min: 0, max: 11, dynamic: 4, static: 11, least: 1 },
  flushKind: constants.BROTLI_OPERATION_FLUSH,
  // Node's 16 KiB for the result are more than small bodies need, and cost them a tenth.
  encodeSync: (body, level) => brotliCompressSync(body, { ...sized(level, body.length), chunkSize: Math.max(256, body.length >> 1) }),
  encode: (body, level, done) => { brotliCompress(body, sized(level, body.length), done) },
  encoder: (level, longLived, size = 0) => createBrotliCompress(longLived
    ? { params: { [constants.BROTLI_PARAM_QUALITY]: level, [constants.BROTLI_PARAM_LGWIN]: 16 } }
    : sized(level, size)) as unknown as Coder,
  decode: (body, limit, done) => { brotliDecompress(body, { maxOutputLength: limit }, done) },
  decoder: () => createBrotliDecompress() as unknown as Coder
}
