import type { Encoded, Entry } from '../../entry.ts'
import type { Texts } from './texts.ts'

/** Numbers of their own in front of those from 0 up: what others are written with, and two that are frequent. */
const [OTHER, MINUS_ONE, NAN, ZERO] = [0, 1, 2, 3]
/** What a text's code ends in: how many characters are written out, in one byte each, or in two each behind the code; its number; or that there is none. */
const [NARROW, WIDE, NUMBERED, MISSING] = [0, 1, 2, 3]
const [NO_CACHE, MUST_REVALIDATE, INVALIDATED, PART, BODY, ENCODED] = [1, 2, 4, 8, 16, 32]
/** In the code of the key. */
const URL_BEGINS_KEY = 2
/** Most bytes of a number, and of a code. */
const NUMBER = 9
const CODE = 5
const NONE: readonly never[] = []
/** Bodies up to this length share memory with those that are read before and after them. */
const SHORT = 1024
const SLAB = 16_384

/** What a record does not hold: bodies that are kept beside it. */
export interface Bodies {
  readonly body: Buffer | undefined
  readonly encoded: Map<string, Encoded> | undefined
}

/** The body in memory of its own, so that one that is kept for long does not keep its neighbours'. */
export function apart (body: Buffer): Buffer {
  if (body.buffer.byteLength === body.length) return body
  const own = Buffer.allocUnsafeSlow(body.length)
  body.copy(own)
  return own
}

function isWide (text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 255) return true
  return false
}

/**
 * Writes entries as bytes and reads them again. A record: the key, the id and with it what is written out of the other texts, numbers, the codes of those
 * texts, bodies. Texts that come again and again are written as numbers.
 */
export class Codec {
  readonly #texts: Texts
  readonly #scratch: Float64Array = new Float64Array(1)
  readonly #eight: Uint8Array = new Uint8Array(this.#scratch.buffer)
  /** Texts of the entry at hand with their codes. */
  readonly #list: (string | undefined)[] = []
  readonly #codes: number[] = []
  #slab: Buffer = Buffer.alloc(0)
  #slabAt: number = SLAB
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0

  constructor (texts: Texts) {
    this.#texts = texts
  }

  /** Bytes that the entry takes at most; without its bodies, where those are kept beside it. */
  longest (entry: Entry, bodies: boolean): number {
    const { key, url, id, reason, fields, vary, varyValues, language, etag, part, tags, groups } = entry
    let units = key.length + url.length + id.length + reason.length + (language?.length ?? 0) + (etag?.length ?? 0) + (part?.asked.length ?? 0)
    for (const text of fields) units += text.length
    for (const text of vary) units += text.length
    for (const text of varyValues) units += text?.length ?? 0
    for (const text of tags) units += text.length
    for (const text of groups) units += text.length
    const codes = 16 + fields.length + vary.length * 2 + tags.length + groups.length
    let bytes = units * 2 + codes * CODE + 16 * NUMBER
    if (!bodies) return bytes
    bytes += entry.body?.length ?? 0
    if (entry.encoded !== undefined) for (const [coding, { body }] of entry.encoded) bytes += coding.length * 2 + CODE + NUMBER + body.length
    return bytes
  }

  /** Writes an entry from `start` and gives the end. */
  write (entry: Entry, bodies: boolean, bytes: Buffer, start: number): number {
    const { key, url, id, reason, fields, vary, varyValues, language, etag, part, tags, groups, body } = entry
    const encoded = bodies ? entry.encoded : undefined
    this.#bytes = bytes
    this.#at = start
    this.#list.length = this.#codes.length = 0
    const urlBeginsKey = key.startsWith(url)
    this.#plain(key, urlBeginsKey ? URL_BEGINS_KEY : 0)
    const etagAt = etag === undefined ? -1 : fields.indexOf(etag)
    this.#take(urlBeginsKey ? undefined : url)
    this.#take(reason)
    this.#take(language)
    this.#take(etagAt === -1 ? etag : undefined)
    this.#take(part?.asked)
    for (const text of fields) this.#take(text)
    for (const text of vary) this.#take(text)
    for (const text of varyValues) this.#take(text)
    for (const text of tags) this.#take(text)
    for (const text of groups) this.#take(text)
    if (encoded !== undefined) for (const coding of encoded.keys()) this.#take(coding)
    let narrow = 0
    for (const code of this.#codes) if ((code & 3) === NARROW) narrow += code >>> 2
    this.#varint(narrow)
    this.#plain(id, 0)
    for (let i = 0; i < this.#codes.length; i++) if ((this.#codes[i]! & 3) === NARROW) this.#narrow(this.#list[i]!)
    this.#varint(this.#codes.length)
    for (let i = 0; i < this.#codes.length; i++) {
      this.#varint(this.#codes[i]!)
      if ((this.#codes[i]! & 3) === WIDE) this.#wide(this.#list[i]!)
    }
    this.#varint((entry.noCache ? NO_CACHE : 0) | (entry.mustRevalidate ? MUST_REVALIDATE : 0) | (entry.invalidated ? INVALIDATED : 0) |
      (part === undefined ? 0 : PART) | (bodies && body !== undefined ? BODY : 0) | (encoded === undefined ? 0 : ENCODED))
    if (urlBeginsKey) this.#varint(url.length)
    this.#varint(etagAt + 1)
    this.#varint(fields.length)
    this.#varint(vary.length)
    this.#varint(varyValues.length)
    this.#varint(tags.length)
    this.#varint(groups.length)
    this.#number(entry.status)
    this.#number(entry.responseTime)
    this.#number(entry.initialAge)
    this.#number(entry.lifetime)
    this.#number(entry.staleWhileRevalidate)
    this.#number(entry.staleIfError)
    this.#number(entry.lastModified)
    this.#number(entry.date)
    this.#number(entry.size)
    if (part !== undefined) {
      this.#number(part.start)
      this.#number(part.total)
    }
    if (bodies && body !== undefined) this.#body(body)
    if (encoded !== undefined) {
      this.#varint(encoded.size)
      for (const { body } of encoded.values()) this.#body(body)
    }
    this.#list.length = 0
    return this.#at
  }

  /** The record at `start` is given up. */
  release (bytes: Buffer, start: number): void {
    this.#bytes = bytes
    this.#at = start
    this.#skip()
    const narrow = this.#readVarint()
    this.#skip()
    this.#at += narrow
    for (let left = this.#readVarint(); left > 0; left--) {
      const code = this.#readVarint()
      if ((code & 3) === NUMBERED) this.#texts.release(code >>> 2)
      else if ((code & 3) === WIDE) this.#at += code >>> 2 << 1
    }
  }

  isKey (bytes: Buffer, start: number, key: string): boolean {
    this.#bytes = bytes
    this.#at = start
    return this.#isText(key)
  }

  isEntry (bytes: Buffer, start: number, { key, id }: Entry): boolean {
    if (!this.isKey(bytes, start, key)) return false
    this.#readVarint()
    return this.#isText(id)
  }

  key (bytes: Buffer, start: number): string {
    this.#bytes = bytes
    this.#at = start
    return this.#readPlain()
  }

  /** May its URL begin with one of these? */
  mayBegin (bytes: Buffer, start: number, prefixes: readonly string[]): boolean {
    this.#bytes = bytes
    this.#at = start
    const code = this.#readVarint()
    if ((code & URL_BEGINS_KEY) === 0 || (code & 1) !== 0) return true
    const from = this.#at
    return prefixes.some((prefix) => {
      if (prefix.length > code >>> 2) return false
      for (let i = 0; i < prefix.length; i++) if (bytes[from + i] !== prefix.charCodeAt(i)) return false
      return true
    })
  }

  /** `known`: the key of the entry, where it is known. */
  read (bytes: Buffer, start: number, beside: Bodies | undefined, known?: string): Entry {
    this.#bytes = bytes
    this.#at = start
    const begins = (bytes[start]! & URL_BEGINS_KEY) !== 0
    if (known !== undefined) this.#skip()
    const key = known ?? this.#readPlain()
    const list = this.#readTexts()
    const id = list[0]!
    const flags = this.#readVarint()
    const urlLength = begins ? this.#readVarint() : -1
    const etagAt = this.#readVarint() - 1
    const fieldCount = this.#readVarint()
    const varyCount = this.#readVarint()
    const valueCount = this.#readVarint()
    const tagCount = this.#readVarint()
    const groupCount = this.#readVarint()
    const status = this.#readNumber()
    const responseTime = this.#readNumber()
    const initialAge = this.#readNumber()
    const lifetime = this.#readNumber()
    const staleWhileRevalidate = this.#readNumber()
    const staleIfError = this.#readNumber()
    const lastModified = this.#readNumber()
    const date = this.#readNumber()
    const size = this.#readNumber()
    const partStart = (flags & PART) === 0 ? 0 : this.#readNumber()
    const total = (flags & PART) === 0 ? 0 : this.#readNumber()
    let at = 6
    const take = (count: number): readonly string[] => count === 0 ? NONE : list.slice(at, at += count) as string[]
    const fields = take(fieldCount)
    const vary = take(varyCount)
    const varyValues = take(valueCount) as readonly (string | undefined)[]
    const tags = take(tagCount)
    const groups = take(groupCount)
    const body = (flags & BODY) === 0 ? beside?.body : this.#readBody()
    const entry: Entry = {
      key,
      url: urlLength === -1 ? list[1]! : urlLength === key.length ? key : key.slice(0, urlLength),
      id,
      status,
      reason: list[2]!,
      fields,
      responseTime,
      initialAge,
      lifetime,
      staleWhileRevalidate,
      staleIfError,
      noCache: (flags & NO_CACHE) !== 0,
      mustRevalidate: (flags & MUST_REVALIDATE) !== 0,
      vary,
      varyValues,
      language: list[3],
      etag: etagAt === -1 ? list[4] : fields[etagAt],
      lastModified,
      date,
      part: (flags & PART) === 0 ? undefined : { start: partStart, total, asked: list[5]! },
      tags,
      groups,
      invalidated: (flags & INVALIDATED) !== 0,
      size,
      body,
      head: undefined,
      hitAt: undefined
    }
    if ((flags & ENCODED) !== 0) {
      entry.encoded = new Map()
      for (let left = this.#readVarint(); left > 0; left--) entry.encoded.set(list[at++]!, { body: this.#readBody(), head: undefined })
    } else if (beside?.encoded !== undefined) entry.encoded = beside.encoded
    return entry
  }

  #take (text: string | undefined): void {
    const number = text === undefined ? -1 : this.#texts.use(text)
    this.#list.push(text)
    this.#codes.push(text === undefined ? MISSING : number !== -1 ? number << 2 | NUMBERED : text.length << 2 | (isWide(text) ? WIDE : NARROW))
  }

  /** One that is compared without being read. `flag`: 2 or 0. */
  #plain (text: string, flag: number): void {
    const wide = isWide(text)
    this.#varint(text.length << 2 | flag | Number(wide))
    if (wide) this.#wide(text)
    else this.#narrow(text)
  }

  #readPlain (): string {
    const code = this.#readVarint()
    return (code & 1) === 0 ? this.#readNarrow(code >>> 2) : this.#readWide(code >>> 2)
  }

  #isText (text: string): boolean {
    const code = this.#readVarint()
    const { length } = text
    if (code >>> 2 !== length) return false
    const bytes = this.#bytes
    let at = this.#at
    if ((code & 1) === 0) for (let i = 0; i < length; i++) { if (bytes[at++] !== text.charCodeAt(i)) return false }
    else for (let i = 0; i < length; i++) { if ((bytes[at++]! | bytes[at++]! << 8) !== text.charCodeAt(i)) return false }
    this.#at = at
    return true
  }

  #skip (): void {
    const code = this.#readVarint()
    this.#at += code >>> 2 << (code & 1)
  }

  #narrow (text: string): void {
    const bytes = this.#bytes
    let at = this.#at
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i)
    this.#at = at
  }

  #wide (text: string): void {
    const bytes = this.#bytes
    let at = this.#at
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      bytes[at++] = unit
      bytes[at++] = unit >>> 8
    }
    this.#at = at
  }

  #readNarrow (length: number): string {
    const start = this.#at
    this.#at += length
    return this.#bytes.toString('latin1', start, this.#at)
  }

  #readWide (length: number): string {
    const start = this.#at
    this.#at += length * 2
    return this.#bytes.toString('utf16le', start, this.#at)
  }

  /** The id and the texts: what is written out in one byte each is read at once, and cut. */
  #readTexts (): (string | undefined)[] {
    const length = this.#readVarint()
    const code = this.#readVarint()
    const wide = (code & 1) !== 0
    const id = wide ? this.#readWide(code >>> 2) : ''
    const narrow = this.#readNarrow(wide ? length : length + (code >>> 2))
    let at = wide ? 0 : code >>> 2
    const list: (string | undefined)[] = [wide ? id : narrow.slice(0, at)]
    for (let left = this.#readVarint(); left > 0; left--) {
      const code = this.#readVarint()
      switch (code & 3) {
        case NARROW: list.push(narrow.slice(at, at += code >>> 2)); break
        case WIDE: list.push(this.#readWide(code >>> 2)); break
        case NUMBERED: list.push(this.#texts.get(code >>> 2)); break
        default: list.push(undefined)
      }
    }
    return list
  }

  #body (body: Buffer): void {
    this.#varint(body.length)
    body.copy(this.#bytes, this.#at)
    this.#at += body.length
  }

  /** A copy: the record may go. */
  #readBody (): Buffer {
    const length = this.#readVarint()
    const body = length > SHORT ? Buffer.allocUnsafeSlow(length) : this.#cut(length)
    this.#bytes.copy(body, 0, this.#at, this.#at += length)
    return body
  }

  /** Memory of its own costs a short body more than all the rest of its entry. */
  #cut (length: number): Buffer {
    if (this.#slabAt + length > SLAB) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB)
      this.#slabAt = 0
    }
    return this.#slab.subarray(this.#slabAt, this.#slabAt += length)
  }

  #number (value: number): void {
    if (value >= 0 && value <= Number.MAX_SAFE_INTEGER - ZERO && Number.isInteger(value) && !Object.is(value, -0)) return this.#varint(value + ZERO)
    if (value === -1) return this.#varint(MINUS_ONE)
    if (Number.isNaN(value)) return this.#varint(NAN)
    this.#varint(OTHER)
    this.#scratch[0] = value
    for (const byte of this.#eight) this.#bytes[this.#at++] = byte
  }

  #readNumber (): number {
    const value = this.#readVarint()
    if (value >= ZERO) return value - ZERO
    if (value === MINUS_ONE) return -1
    if (value === NAN) return Number.NaN
    for (let i = 0; i < 8; i++) this.#eight[i] = this.#bytes[this.#at++]!
    return this.#scratch[0]!
  }

  /** Seven bits a byte, the low ones first. */
  #varint (value: number): void {
    const bytes = this.#bytes
    let rest = value
    while (rest >= 0x4000_0000) {
      bytes[this.#at++] = rest & 127 | 128
      rest = Math.floor(rest / 128)
    }
    while (rest > 127) {
      bytes[this.#at++] = rest & 127 | 128
      rest >>>= 7
    }
    bytes[this.#at++] = rest
  }

  #readVarint (): number {
    const bytes = this.#bytes
    let byte = bytes[this.#at++]!
    if (byte < 128) return byte
    let value = byte & 127
    let scale = 128
    do {
      byte = bytes[this.#at++]!
      value += (byte & 127) * scale
      scale *= 128
    } while (byte > 127)
    return value
  }
}
