import { randomBytes } from 'node:crypto'

/** Gives 32 bits of a text, the same for the same text as long as the process lives. */
export type KeyHash = (text: string) => number

/**
 * HalfSipHash-1-3 (Aumasson, Bernstein) over the text's UTF-16 units. Keyed by chance: who sends requests chooses keys, and may not choose which of
 * them meet in a table.
 */
export function keyHash (k0: number, k1: number): KeyHash {
  return (text) => {
    const { length } = text
    let v0 = k0
    let v1 = k1
    let v2 = 0x6c796765 ^ k0
    let v3 = 0x74656462 ^ k1
    for (let i = 0; i <= length; i += 2) {
      const word = i + 1 < length ? text.charCodeAt(i) | text.charCodeAt(i + 1) << 16 : i < length ? text.charCodeAt(i) | length << 16 : length
      v3 ^= word
      v0 = v0 + v1 | 0
      v1 = (v1 << 5 | v1 >>> 27) ^ v0
      v0 = v0 << 16 | v0 >>> 16
      v2 = v2 + v3 | 0
      v3 = (v3 << 8 | v3 >>> 24) ^ v2
      v0 = v0 + v3 | 0
      v3 = (v3 << 7 | v3 >>> 25) ^ v0
      v2 = v2 + v1 | 0
      v1 = (v1 << 13 | v1 >>> 19) ^ v2
      v2 = v2 << 16 | v2 >>> 16
      v0 ^= word
    }
    v2 ^= 0xff
    for (let i = 0; i < 3; i++) {
      v0 = v0 + v1 | 0
      v1 = (v1 << 5 | v1 >>> 27) ^ v0
      v0 = v0 << 16 | v0 >>> 16
      v2 = v2 + v3 | 0
      v3 = (v3 << 8 | v3 >>> 24) ^ v2
      v0 = v0 + v3 | 0
      v3 = (v3 << 7 | v3 >>> 25) ^ v0
      v2 = v2 + v1 | 0
      v1 = (v1 << 13 | v1 >>> 19) ^ v2
      v2 = v2 << 16 | v2 >>> 16
    }
    return v1 ^ v3
  }
}

/** With a key of this process. */
export const hashOf: KeyHash = ((bytes) => keyHash(bytes.readInt32LE(0), bytes.readInt32LE(4)))(randomBytes(8))
