/** Distinguished encoding rules (X.690), as much of them as OCSP takes. */
export interface Der {
  readonly tag: number
  readonly content: Buffer
  /** Tag and length included. */
  readonly whole: Buffer
}

const SHORT = 0x80

/** The elements in `bytes`, one after the other. Throws for what is cut off. */
export function parse (bytes: Buffer): Der[] {
  const elements: Der[] = []
  for (let at = 0; at < bytes.length;) {
    const tag = bytes.readUInt8(at)
    let length = bytes.readUInt8(at + 1)
    let start = at + 2
    if (length >= SHORT) {
      const size = length - SHORT
      if (size < 1 || size > 4) throw new RangeError('a length in DER is not valid')
      length = bytes.readUIntBE(start, size)
      start += size
    }
    if (start + length > bytes.length) throw new RangeError('DER is cut off')
    elements.push({ tag, content: bytes.subarray(start, start + length), whole: bytes.subarray(at, start + length) })
    at = start + length
  }
  return elements
}

export function encode (tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents)
  if (content.length < SHORT) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const size = Math.ceil(content.length.toString(16).length / 2)
  const head = Buffer.alloc(2 + size)
  head[0] = tag
  head[1] = SHORT + size
  head.writeUIntBE(content.length, 2, size)
  return Buffer.concat([head, content])
}
