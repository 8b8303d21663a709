import { randomBytes, randomInt } from 'node:crypto'

/** Most bytes that are added. */
const MOST = 64
const GZIP_COMMENT = 0x10
const SKIPPABLE = 0x184d2a50

/** Codings with a place for bytes that decoders skip. */
export const paddable: ReadonlySet<string> = new Set(['gzip', 'zstd'])

/** The same body with a random number of bytes, 1–64, that mean nothing: a length tells less about what was compressed. */
export function pad (encoded: Buffer, encoding: string): Buffer {
  const length = randomInt(1, MOST + 1)
  if (encoding === 'zstd') {
    const frame = Buffer.alloc(8 + length)
    frame.writeUInt32LE(SKIPPABLE, 0)
    frame.writeUInt32LE(length, 4)
    // Behind: some decoders, Node's among them, read one frame only.
    return Buffer.concat([encoded, frame])
  }
  // RFC 1952 2.3: a comment after the ten bytes of the header, ended by a zero byte.
  const head = Buffer.from(encoded.subarray(0, 10))
  head[3]! |= GZIP_COMMENT
  const comment = Buffer.from(randomBytes(length).toString('base64').slice(0, length - 1) + '\0', 'latin1')
  return Buffer.concat([head, comment, encoded.subarray(10)])
}
