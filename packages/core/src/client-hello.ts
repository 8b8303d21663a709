/** What a ClientHello says that a proxy routes by. */
export interface ClientHello {
  /** Host name of the `server_name` extension in lower case; '' without one. */
  readonly serverName: string
  /** Protocol names of the ALPN extension, in the client's order. */
  readonly alpn: readonly string[]
}

/** The longest ClientHello that is waited for, records' heads included: one full record. */
export const MAX_HELLO = 16_384

const HANDSHAKE = 22
const CLIENT_HELLO = 1
const SERVER_NAME = 0
const ALPN = 16

/**
 * Reads a ClientHello (RFC 8446 4.1.2; RFC 5246 7.4.1.2) that may be split over any number of segments and records. Each byte is
 * looked at once, so that one who sends single bytes costs no more than others.
 */
export class ClientHelloReader {
  /** `more`: not complete. `not-tls`: the first bytes are none of a TLS handshake. `malformed`, `too-long`: they were, but what followed is wrong. */
  state: 'more' | 'done' | 'not-tls' | 'malformed' | 'too-long' = 'more'
  hello: ClientHello | undefined
  #head = Buffer.alloc(5)
  #headLength = 0
  /** Bytes of the current record that are still to come. */
  #record = 0
  #message = Buffer.alloc(1024)
  #length = 0
  #total = 0

  /** Takes what came next; ignored after the end. */
  push (chunk: Buffer): void {
    let at = 0
    while (at < chunk.length && this.state === 'more') {
      if (this.#record === 0) {
        this.#head[this.#headLength++] = chunk[at++]!
        this.#checkHead()
        this.#total++
      } else {
        const end = Math.min(chunk.length, at + this.#record)
        this.#take(chunk.subarray(at, end))
        this.#record -= end - at
        at = end
      }
      if (this.state === 'more' && this.#total >= MAX_HELLO) this.state = 'too-long'
    }
  }

  #checkHead (): void {
    const length = this.#headLength
    const first = this.#length === 0
    const wrong = first ? 'not-tls' : 'malformed'
    if (length === 1 && this.#head[0] !== HANDSHAKE) this.state = wrong
    else if (length === 2 && this.#head[1] !== 3) this.state = wrong
    else if (length === 3 && this.#head[2]! > 4) this.state = wrong
    else if (length === 5) {
      this.#record = this.#head.readUInt16BE(3)
      this.#headLength = 0
      // Empty fragments are forbidden for handshakes (RFC 8446 5.1), and longer ones than 2^14 bytes for all.
      if (this.#record === 0 || this.#record > 16_384) this.state = 'malformed'
    }
  }

  #take (fragment: Buffer): void {
    this.#total += fragment.length
    if (this.#length + fragment.length > this.#message.length) {
      const larger = Buffer.alloc(Math.min(2 * MAX_HELLO, 2 * (this.#length + fragment.length)))
      this.#message.copy(larger, 0, 0, this.#length)
      this.#message = larger
    }
    this.#length += fragment.copy(this.#message, this.#length)
    if (this.#message[0] !== CLIENT_HELLO) this.state = 'malformed'
    if (this.#length < 4 || this.state !== 'more') return
    const end = 4 + this.#message.readUIntBE(1, 3)
    if (end > MAX_HELLO) this.state = 'too-long'
    else if (this.#length >= end) {
      this.hello = parseHello(this.#message.subarray(4, end))
      this.state = this.hello === undefined ? 'malformed' : 'done'
    }
  }
}

/** Steps through length-prefixed fields; one overrun makes it `broken` for good, and all later reads empty. */
class Fields {
  broken = false
  readonly #bytes: Buffer
  #at = 0

  constructor (bytes: Buffer) { this.#bytes = bytes }

  get left (): number { return this.broken ? 0 : this.#bytes.length - this.#at }

  number (size: 1 | 2): number {
    const bytes = this.skip(size)
    return bytes.length === 0 ? 0 : bytes.readUIntBE(0, size)
  }

  /** A field whose length is in the `size` bytes before it. */
  vector (size: 1 | 2): Buffer { return this.skip(this.number(size)) }

  skip (length: number): Buffer {
    if (this.broken || this.#at + length > this.#bytes.length) {
      this.broken = true
      return Buffer.alloc(0)
    }
    return this.#bytes.subarray(this.#at, this.#at += length)
  }
}

function parseHello (bytes: Buffer): ClientHello | undefined {
  const fields = new Fields(bytes)
  fields.skip(34)
  if (fields.vector(1).length > 32) return undefined
  const suites = fields.vector(2).length
  if (suites < 2 || suites % 2 === 1 || fields.vector(1).length < 1) return undefined
  let serverName = ''
  const alpn: string[] = []
  if (fields.left > 0) {
    const extensions = new Fields(fields.vector(2))
    if (fields.left > 0) return undefined
    const seen = new Set<number>()
    while (extensions.left > 0 && !extensions.broken) {
      const type = extensions.number(2)
      const body = new Fields(extensions.vector(2))
      // Two of one kind are forbidden (RFC 8446 4.2): two readers might take different ones.
      if (seen.has(type)) return undefined
      seen.add(type)
      if (type === SERVER_NAME) {
        const name = parseServerName(body)
        if (name === undefined) return undefined
        serverName = name
      } else if (type === ALPN) {
        const names = new Fields(body.vector(2))
        while (names.left > 0 && !names.broken) alpn.push(names.vector(1).toString('latin1'))
        if (names.broken || body.broken || body.left > 0 || alpn.length === 0 || alpn.includes('')) return undefined
      }
      if (body.broken) return undefined
    }
    if (extensions.broken) return undefined
  }
  return fields.broken ? undefined : { serverName, alpn }
}

/** RFC 6066 3: a list with one host name. `undefined` for anything that is none. */
function parseServerName (body: Fields): string | undefined {
  const list = new Fields(body.vector(2))
  if (body.broken || body.left > 0) return undefined
  const type = list.number(1)
  const name = list.vector(2).toString('latin1')
  if (type !== 0 || list.broken || list.left > 0 || name.length > 255) return undefined
  return /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(name) ? name.toLowerCase() : undefined
}
