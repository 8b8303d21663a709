import type { Entry } from './entry.ts'
import { type Fields, first, without } from './semantics/fields.ts'
import { abusive, type ByteRange, parseRange, resolve } from './semantics/ranges.ts'

export interface Ranged {
  readonly status: 206 | 416
  readonly fields: string[]
  /** First and last byte within the stored body; none when `start` is behind `end`. */
  readonly start: number
  readonly end: number
  /** The body, when it does not have to be read from the store. */
  readonly body: Buffer | undefined
  /** Several ranges that have to be read, with what goes between them; places are within the stored body. */
  readonly pieces?: readonly (Buffer | ByteRange)[]
}

const REPLACED = new Set(['content-length', 'content-range'])
const MULTIPART = new Set(['content-length', 'content-range', 'content-type'])

function single (entry: Entry, { start, end }: ByteRange, total: number, offset: number, fields: Fields): Ranged {
  const list = without(fields, REPLACED)
  list.push('Content-Range', `bytes ${start}-${end}/${total}`, 'Content-Length', String(end - start + 1))
  return { status: 206, fields: list, start: start - offset, end: end - offset, body: entry.body?.subarray(start - offset, end - offset + 1) }
}

function multiple (entry: Entry, ranges: readonly ByteRange[], total: number, offset: number, fields: Fields): Ranged {
  // Nothing in the body can be taken for the boundary: it holds the entry's own identifier.
  const boundary = `headgate-${entry.id}`
  const type = first(fields, 'content-type')
  const { body } = entry
  const pieces: (Buffer | ByteRange)[] = []
  let length = 0
  for (const { start, end } of ranges) {
    const head = `\r\n--${boundary}\r\n${type === undefined ? '' : `Content-Type: ${type}\r\n`}Content-Range: bytes ${start}-${end}/${total}\r\n\r\n`
    pieces.push(Buffer.from(head, 'latin1'), body?.subarray(start - offset, end - offset + 1) ?? { start: start - offset, end: end - offset })
    length += head.length + end - start + 1
  }
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1')
  pieces.push(tail)
  length += tail.length
  const list = without(fields, MULTIPART)
  list.push('Content-Type', `multipart/byteranges; boundary=${boundary}`, 'Content-Length', String(length))
  const answer = { status: 206, fields: list, start: 0, end: length - 1 } as const
  return body === undefined ? { ...answer, body: undefined, pieces } : { ...answer, body: Buffer.concat(pieces as Buffer[]) }
}

/**
 * The ranges of a stored representation, or of the part that is stored (RFC 9110 14.2, 15.3.7). `undefined`: the field is to be
 * ignored, for it is malformed or abusive.
 */
export function answerRange (entry: Entry, range: string, fields: Fields): Ranged | undefined {
  const { part } = entry
  const specs = parseRange(range)
  if (specs === undefined) return undefined
  const total = part?.total ?? entry.size
  const offset = part?.start ?? 0
  const ranges = resolve(specs, total)
  if (ranges.length === 0) {
    const list = without(fields, MULTIPART)
    list.push('Content-Range', `bytes */${total}`, 'Content-Length', '0')
    return { status: 416, fields: list, start: 0, end: -1, body: undefined }
  }
  if (part !== undefined && !ranges.every(({ start, end }) => start >= offset && end < offset + entry.size)) return undefined
  if (ranges.length === 1) return single(entry, ranges[0]!, total, offset, fields)
  return abusive(ranges) ? undefined : multiple(entry, ranges, total, offset, fields)
}
