/**
 * Reads `xds.data.orca.v3.OrcaLoadReport` in protocol buffers' wire format, as far as utilization goes: doubles, and maps of doubles.
 * https://protobuf.dev/programming-guides/encoding/
 */

/** Names of the fields by number: doubles, and maps from names to doubles. */
const DOUBLES: Readonly<Record<number, string>> = { 1: 'cpu_utilization', 2: 'mem_utilization', 6: 'rps_fractional', 7: 'eps', 9: 'application_utilization' }
const MAPS: Readonly<Record<number, string>> = { 4: 'request_cost', 5: 'utilization', 8: 'named_metrics' }

const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

class Malformed extends Error {}

/** Position in a message; reading beyond its end throws. */
class Reader {
  readonly #bytes: Buffer
  #at: number
  readonly #end: number

  constructor (bytes: Buffer, at = 0, end: number = bytes.length) {
    this.#bytes = bytes
    this.#at = at
    this.#end = end
  }

  get more (): boolean { return this.#at < this.#end }

  varint (): number {
    let value = 0
    for (let shift = 0; shift < 64; shift += 7) {
      if (!this.more) throw new Malformed()
      const byte = this.#bytes[this.#at++]!
      // Beyond 2^53 the value is wrong, and of no use as a length: `take` refuses it.
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new Malformed()
  }

  double (): number {
    return this.#bytes.readDoubleLE(this.take(8))
  }

  text (length: number): string {
    const at = this.take(length)
    return this.#bytes.toString('utf8', at, at + length)
  }

  message (length: number): Reader {
    const at = this.take(length)
    return new Reader(this.#bytes, at, at + length)
  }

  /** Where the next `length` bytes begin. */
  take (length: number): number {
    const at = this.#at
    if (length > this.#end - at) throw new Malformed()
    this.#at += length
    return at
  }

  skip (type: number): void {
    switch (type) {
      case VARINT: this.varint(); break
      case FIXED64: this.take(8); break
      case BYTES: this.take(this.varint()); break
      case FIXED32: this.take(4); break
      default: throw new Malformed()
    }
  }
}

/** One entry of a map: a name in field 1, a double in field 2; either is left out when it is empty or zero. */
function entry (reader: Reader): [string, number] {
  let name = ''
  let value = 0
  while (reader.more) {
    const tag = reader.varint()
    if (tag === (1 << 3 | BYTES)) name = reader.text(reader.varint())
    else if (tag === (2 << 3 | FIXED64)) value = reader.double()
    else reader.skip(tag & 7)
  }
  return [name, value]
}

/** Metrics by name, those of maps as `named_metrics.NAME`; `undefined` when it is no such message. */
export function readOrcaBinary (bytes: Buffer): Map<string, number> | undefined {
  const metrics = new Map<string, number>()
  const reader = new Reader(bytes)
  try {
    while (reader.more) {
      const tag = reader.varint()
      const [field, type] = [Math.floor(tag / 8), tag & 7]
      if (field === 0) return undefined
      if (type === FIXED64 && field in DOUBLES) metrics.set(DOUBLES[field]!, reader.double())
      else if (type === BYTES && field in MAPS) {
        const [name, value] = entry(reader.message(reader.varint()))
        metrics.set(`${MAPS[field]!}.${name}`, value)
      } else reader.skip(type)
    }
  } catch (error) {
    if (error instanceof Malformed) return undefined
    throw error
  }
  return metrics
}
