/** HTTP/2 byte by byte (RFC 9113), for peers that do what no library lets one do. */

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
export const TYPE = { data: 0, headers: 1, priority: 2, rst: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9 } as const
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const
export const ERROR = { none: 0, protocol: 1, internal: 2, flow: 3, refused: 7, cancel: 8, calm: 11 } as const

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

export function frame (type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

export function uint32 (...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4)
  return bytes
}

/** A string of HPACK, plain. */
function text (value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
  const length = [127]
  let rest = bytes.length - 127
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128)
  return Buffer.concat([Buffer.from([...length, rest]), bytes])
}

/** A header block of literals that are never indexed (RFC 7541 6.2.2): a flat list of names and values. */
export function block (...list: string[]): Buffer {
  const parts: Buffer[] = []
  for (let i = 0; i < list.length; i += 2) parts.push(Buffer.from([0]), text(list[i]!), text(list[i + 1]!))
  return Buffer.concat(parts)
}

/** `settings(3, 10)`: identifiers and values. */
export function settings (...pairs: number[]): Buffer {
  const payload = Buffer.alloc(pairs.length * 3)
  for (let i = 0; i < pairs.length; i += 2) {
    payload.writeUInt16BE(pairs[i]!, i * 3)
    payload.writeUInt32BE(pairs[i + 1]!, i * 3 + 2)
  }
  return frame(TYPE.settings, 0, 0, payload)
}

export const headers = (stream: number, list: readonly string[], flags: number = FLAG.endHeaders): Buffer => frame(TYPE.headers, flags, stream, block(...list))
export const data = (stream: number, body: string, flags = 0): Buffer => frame(TYPE.data, flags, stream, Buffer.from(body, 'latin1'))
export const reset = (stream: number, code: number): Buffer => frame(TYPE.rst, 0, stream, uint32(code))
export const goaway = (last: number, code: number): Buffer => frame(TYPE.goaway, 0, 0, uint32(last, code))

/** Takes bytes as they come, gives whole frames. `skip`: bytes before the first one. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)
  #skip: number

  constructor (skip = 0) {
    this.#skip = skip
  }

  push (chunk: Buffer): Frame[] {
    this.#rest = Buffer.concat([this.#rest, chunk])
    if (this.#rest.length < this.#skip) return []
    this.#rest = this.#rest.subarray(this.#skip)
    this.#skip = 0
    const frames: Frame[] = []
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3)
      if (this.#rest.length < end) break
      frames.push({ type: this.#rest[3]!, flags: this.#rest[4]!, stream: this.#rest.readUInt32BE(5) & 0x7fffffff, payload: this.#rest.subarray(9, end) })
      this.#rest = this.#rest.subarray(end)
    }
    return frames
  }
}
