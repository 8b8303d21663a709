/** First and last byte, both included. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** More than this many ranges in one request are refused, as 14.2 of RFC 9110 advises: they serve attacks only. */
const MAX_RANGES = 16

interface Spec { readonly first: number; readonly last: number }

/** Ranges as asked: `first` −1 for a suffix of `last` bytes, `last` infinite when open. `undefined`: ignore the field. */
export function parseRange (value: string): Spec[] | undefined {
  const match = /^bytes=(.*)$/i.exec(value)
  if (match === null) return undefined
  const specs: Spec[] = []
  for (const part of match[1]!.split(',')) {
    const text = part.trim()
    if (text === '') continue
    const range = /^(\d{0,15})-(\d{0,15})$/.exec(text)
    if (range === null || text === '-') return undefined
    const first = range[1] === '' ? -1 : Number(range[1])
    const last = range[2] === '' ? Number.POSITIVE_INFINITY : Number(range[2])
    if (first !== -1 && last < first) return undefined
    specs.push({ first, last })
    if (specs.length > MAX_RANGES) return undefined
  }
  return specs.length === 0 ? undefined : specs
}

/** The ranges of a representation of `total` bytes that exist; empty means 416. */
export function resolve (specs: readonly Spec[], total: number): ByteRange[] {
  const ranges: ByteRange[] = []
  for (const { first, last } of specs) {
    const start = first === -1 ? Math.max(0, total - last) : first
    const end = first === -1 ? total - 1 : Math.min(last, total - 1)
    if (start < total && start <= end && !(first === -1 && last === 0)) ranges.push({ start, end })
  }
  return ranges
}

/**
 * Do the ranges overlap so much that answering them would multiply the representation? Two overlapping ones are no reason, more
 * are (RFC 9110 14.2).
 */
export function abusive (ranges: readonly ByteRange[]): boolean {
  if (ranges.length < 3) return false
  const sorted = [...ranges].sort((a, b) => a.start - b.start)
  let overlaps = 0
  for (let i = 1; i < sorted.length; i++) if (sorted[i]!.start <= sorted[i - 1]!.end) overlaps++
  return overlaps > 1
}

/** `Content-Range: bytes 0-4/10`; `undefined` when it is not of that form or does not add up. */
export function parseContentRange (value: string | undefined): (ByteRange & { readonly total: number }) | undefined {
  const match = value === undefined ? null : /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i.exec(value)
  if (match === null) return undefined
  const [start, end, total] = [Number(match[1]), Number(match[2]), Number(match[3])]
  return start <= end && end < total ? { start, end, total } : undefined
}
