import { crc32 } from 'node:zlib'
import { LRUCache } from 'lru-cache'

/** A body that came more than once, and what was made of it. */
export interface Remembered {
  readonly body: Buffer
  readonly encoded: Map<string, Variant>
}

export interface Variant {
  body: Buffer
  /** How often it was served; −1 once it is made at static level. */
  hits: number
}

/** A body's checksum and length in one number: a key, never a proof. */
export function keyOf (body: Buffer): number {
  return body.length % 0x1f_ffff * 0x1_0000_0000 + crc32(body)
}

/** Places for keys of bodies seen once, a power of two: a body is kept from its second sight on, so that unique ones cost a checksum and no memory. */
const SEEN = 16_384
/** Room that an entry takes beside its bytes. */
const OVERHEAD = 512

/**
 * Encoded bodies by content. The checksum only finds a candidate: the whole bodies are compared, so that nobody can make two
 * contents share a result.
 */
export class Memo {
  /** A newer key takes the place of an older one with the same last bits, which is then seen for the first time again. */
  readonly #seen = new Float64Array(SEEN)
  readonly #kept: LRUCache<number, Remembered>
  readonly #maxEntry: number

  /** `maxBytes`: of all bodies, plain and encoded. */
  constructor (maxBytes: number) {
    this.#maxEntry = Math.floor(maxBytes / 8)
    this.#kept = new LRUCache<number, Remembered>({ maxSize: maxBytes, sizeCalculation: weigh })
  }

  /** What is known of this content. */
  find (body: Buffer, key: number): Remembered | undefined {
    const entry = this.#kept.get(key)
    return entry !== undefined && entry.body.equals(body) ? entry : undefined
  }

  /** Tells of a fresh result; kept when the body was seen before. */
  offer (body: Buffer, key: number, encoding: string, encoded: Buffer): void {
    if (body.length > this.#maxEntry) return
    const entry = this.find(body, key)
    if (entry !== undefined) return this.put(entry, key, encoding, encoded, 0)
    const place = key % SEEN
    if (this.#seen[place] !== key) {
      this.#seen[place] = key
      return
    }
    this.#seen[place] = 0
    // The app may write into its Buffer again; and a slice would keep the whole of what it was cut from.
    const own = { body: Buffer.from(body), encoded: new Map([[encoding, { body: encoded, hits: 0 }]]) }
    this.#kept.set(key, own)
  }

  /** Puts a result to an entry; nothing when the entry has been evicted. */
  put (entry: Remembered, key: number, encoding: string, encoded: Buffer, hits: number): void {
    if (this.#kept.peek(key) !== entry) return
    entry.encoded.set(encoding, { body: encoded, hits })
    // To be weighed anew: the cache looks at sizes only when a value comes in.
    this.#kept.delete(key)
    this.#kept.set(key, entry)
  }

  get bytes (): number {
    return this.#kept.calculatedSize
  }
}

function weigh (entry: Remembered): number {
  let bytes = entry.body.length + OVERHEAD
  for (const { body } of entry.encoded.values()) bytes += body.length + OVERHEAD
  return bytes
}
