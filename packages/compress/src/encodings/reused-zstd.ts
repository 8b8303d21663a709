import type { Transform } from 'node:stream'

/** What Node's zlib streams are made of; not documented, so nothing of it is taken for granted. */
interface Insides {
  readonly _handle?: {
    writeSync (flush: number, input: Buffer, inputAt: number, inputLength: number, output: Buffer, outputAt: number, outputLength: number): void
  } | null
  /** What is left of output and input after a write. */
  readonly _writeState?: Uint32Array
  readonly destroyed: boolean
}

/** Longest body; others are encoded in the documented way. */
export const LONGEST = 131_072
/** Room for what zstd makes of such a body in the worst case, and more. */
const output = Buffer.allocUnsafeSlow(LONGEST + 1024)

/**
 * zstd in this thread with one state for all bodies. `zstdCompressSync` makes a state of 100 KiB to some MiB anew for each body and gives it
 * back, perhaps to the system, which is two thirds of the time for a body of 2 KB. A frame that has ended leaves the state ready for the
 * next, whose bytes do not depend on those before.
 *
 * Not for DEFLATE: zlib's state, once reset, keeps the former body in its window, and looks at one byte of it when it
 * comes to the end of a shorter one, so that the length of a response could tell something of another.
 */
export class ReusedZstd {
  readonly #stream: Insides
  readonly #end: number
  #spoilt = false

  /** `end`: the constant `ZSTD_e_end`. */
  constructor (stream: Transform, end: number) {
    this.#stream = stream as unknown as Insides
    this.#end = end
  }

  /** `undefined`: it cannot be done this way. */
  encode (body: Buffer): Buffer | undefined {
    const { _handle: handle, _writeState: state, destroyed } = this.#stream
    if (this.#spoilt || destroyed || handle === undefined || handle === null || state === undefined || body.length > LONGEST) return undefined
    handle.writeSync(this.#end, body, 0, body.length, output, 0, output.length)
    const [outputLeft, inputLeft] = state
    // No output left means that there may be more to come, which would then come before the next body.
    this.#spoilt = inputLeft !== 0 || outputLeft === undefined || outputLeft === 0 || this.#stream.destroyed
    return this.#spoilt ? undefined : Buffer.from(output.subarray(0, output.length - outputLeft!))
  }
}

/** `sync` by level, made faster where the running Node lets us: a sample has to come out the same in both ways, twice. */
export function reusing (
  create: (level: number) => Transform, sync: (body: Buffer, level: number) => Buffer, end: number
): (body: Buffer, level: number) => Buffer {
  const byLevel = new Map<number, ReusedZstd | undefined>()
  const attempt = (level: number): ReusedZstd | undefined => {
    try {
      const reused = new ReusedZstd(create(level), end)
      const sample = Buffer.from('a sample, a sample, and another sample')
      const expected = sync(sample, level)
      return reused.encode(sample)?.equals(expected) === true && reused.encode(sample)?.equals(expected) === true ? reused : undefined
    } catch {
      return undefined
    }
  }
  return (body, level) => {
    if (!byLevel.has(level)) byLevel.set(level, attempt(level))
    return byLevel.get(level)?.encode(body) ?? sync(body, level)
  }
}
