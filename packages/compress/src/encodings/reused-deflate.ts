import { type Deflate, type Gzip, constants } from 'node:zlib'

/** What Node's zlib streams are made of; not documented, so nothing of it is taken for granted. */
interface Insides {
  readonly _handle?: {
    reset (): void
    writeSync (flush: number, input: Buffer, inputAt: number, inputLength: number, output: Buffer, outputAt: number, outputLength: number): void
  } | null
  /** What is left of output and input after a write. */
  readonly _writeState?: Uint32Array
  readonly destroyed: boolean
}

/** Longest result; what does not fit is made in the documented way. */
const ROOM = 131_072

/**
 * DEFLATE in this thread with one state for all bodies. `gzipSync` makes 268 KiB of state anew for each body and gives it back
 * to the system, which costs up to half of the whole for bodies of some KiB.
 */
export class ReusedDeflate {
  readonly #stream: Insides
  readonly #output: Buffer

  constructor (stream: Gzip | Deflate) {
    this.#stream = stream as unknown as Insides
    this.#output = Buffer.allocUnsafeSlow(ROOM)
  }

  /** `undefined`: it cannot be done this way. */
  encode (body: Buffer): Buffer | undefined {
    const { _handle: handle, _writeState: state, destroyed } = this.#stream
    if (destroyed || handle === undefined || handle === null || state === undefined || body.length > ROOM) return undefined
    handle.reset()
    handle.writeSync(constants.Z_FINISH, body, 0, body.length, this.#output, 0, ROOM)
    const [outputLeft, inputLeft] = state
    // No output left means that there may be more to come.
    if (inputLeft !== 0 || outputLeft === undefined || outputLeft === 0 || this.#stream.destroyed) return undefined
    return Buffer.from(this.#output.subarray(0, ROOM - outputLeft))
  }
}

/**
 * `sync` by level, made faster where the running Node lets us: a sample has to come out the same in both ways, twice.
 */
export function reusing (
  create: (options: { level: number }) => Gzip | Deflate, sync: (body: Buffer, options: { level: number }) => Buffer
): (body: Buffer, level: number) => Buffer {
  const byLevel = new Map<number, ReusedDeflate | undefined>()
  const attempt = (level: number): ReusedDeflate | undefined => {
    try {
      const reused = new ReusedDeflate(create({ level }))
      const sample = Buffer.from('a sample, a sample, and another sample')
      const expected = sync(sample, { level })
      return reused.encode(sample)?.equals(expected) === true && reused.encode(sample)?.equals(expected) === true ? reused : undefined
    } catch {
      return undefined
    }
  }
  return (body, level) => {
    if (!byLevel.has(level)) byLevel.set(level, attempt(level))
    return byLevel.get(level)?.encode(body) ?? sync(body, { level })
  }
}
