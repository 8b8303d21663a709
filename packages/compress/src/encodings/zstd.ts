import zlib from 'node:zlib'
import type { Coder, CodingDone, Encoding } from './contract.ts'
import { reusing } from './reused-zstd.ts'

interface ZstdOptions {
  readonly params?: Readonly<Record<number, number>>
  readonly maxOutputLength?: number
  readonly dictionary?: Buffer
}

/** What Node 22.15, 23.8 and later have; their types are not in those of Node 20. */
export interface NodeZstd {
  zstdCompressSync (body: Buffer, options: ZstdOptions): Buffer
  zstdCompress (body: Buffer, options: ZstdOptions, done: CodingDone): void
  zstdDecompress (body: Buffer, options: ZstdOptions, done: CodingDone): void
  zstdDecompressSync (body: Buffer, options: ZstdOptions): Buffer
  createZstdCompress (options: ZstdOptions): Coder
  createZstdDecompress (options: ZstdOptions): Coder
  readonly constants: Readonly<Record<'ZSTD_c_compressionLevel' | 'ZSTD_c_windowLog' | 'ZSTD_d_windowLogMax' | 'ZSTD_e_end' | 'ZSTD_e_flush', number>>
}

/** `undefined` where the running Node has no zstd. */
export const nodeZstd: NodeZstd | undefined = 'zstdCompressSync' in zlib ? zlib as unknown as NodeZstd : undefined

/** RFC 9659: an HTTP client need not take windows above 8 MiB, so neither do we; it also bounds our own memory. */
const WINDOW_LOG_MAX = 23

/** Node 22 takes a body that breaks off for a whole one. */
function noticesTheEnd (zstd: NodeZstd): boolean {
  try {
    zstd.zstdDecompressSync(zstd.zstdCompressSync(Buffer.alloc(1000, 'broken off'), {}).subarray(0, -4), {})
    return false
  } catch {
    return true
  }
}

function make (zstd: NodeZstd): Encoding {
  const { constants } = zstd
  const { ZSTD_c_compressionLevel: LEVEL, ZSTD_c_windowLog: WINDOW, ZSTD_d_windowLogMax: LIMIT } = constants
  return {
    name: 'zstd',
    // Above 19 the windows outgrow what HTTP allows.
    levels: { min: 1, max: 19, dynamic: 3, static: 19, least: 1 },
    decodes: noticesTheEnd(zstd),
    flushKind: constants.ZSTD_e_flush,
    encodeSync: reusing(
      (level) => zstd.createZstdCompress({ params: { [LEVEL]: level } }),
      (body, level) => zstd.zstdCompressSync(body, { params: { [LEVEL]: level } }),
      constants.ZSTD_e_end
    ),
    encode: (body, level, done) => { zstd.zstdCompress(body, { params: { [LEVEL]: level } }, done) },
    encoder: (level, longLived) => zstd.createZstdCompress({ params: longLived ? { [LEVEL]: level, [WINDOW]: 17 } : { [LEVEL]: level } }),
    decode: (body, limit, done) => { zstd.zstdDecompress(body, { maxOutputLength: limit, params: { [LIMIT]: WINDOW_LOG_MAX } }, done) },
    decoder: () => zstd.createZstdDecompress({ params: { [LIMIT]: WINDOW_LOG_MAX } })
  }
}

/** RFC 8878, RFC 9659. */
export const zstd: Encoding | undefined = nodeZstd === undefined ? undefined : make(nodeZstd)
