import type { ZlibOptions } from 'node:zlib'

/** zlib finds nothing nearer than this to the far end of its window. */
const LOOKAHEAD = 262

/**
 * DEFLATE's options for a body of `length` bytes: the least window and memory with which the same bytes come out as with zlib's defaults (15
 * and 8). A body of 2 KB takes 100 KiB of state instead of 268, which malloc need not get from the system each time.
 */
export function fitted (level: number, length: number): ZlibOptions {
  // The window holds all of the body, and a block all of its symbols.
  return { level, windowBits: bits(length + LOOKAHEAD, 9, 15), memLevel: bits(length + 2, 7, 14) - 6 }
}

function bits (size: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, 32 - Math.clz32(size - 1)))
}
