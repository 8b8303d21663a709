/** Counts of observations under ascending bounds; what is above the last one is counted in the last slot. */
export class Histogram {
  readonly bounds: readonly number[]
  readonly counts: Float64Array
  sum = 0

  constructor (bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  get count (): number {
    let total = 0
    for (const count of this.counts) total += count
    return total
  }

  observe (value: number): void {
    const { bounds } = this
    let low = 0
    let high = bounds.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (value <= bounds[middle]!) high = middle
      else low = middle + 1
    }
    this.counts[low]!++
    this.sum += value
  }
}

/**
 * The value under which the share `q` (0–1) of the counts lies, interpolated within its bucket; NaN when there are none. Values
 * above the last bound are taken for that bound.
 */
export function quantile (bounds: readonly number[], counts: ArrayLike<number>, q: number): number {
  let total = 0
  for (let i = 0; i < counts.length; i++) total += counts[i]!
  if (total === 0) return NaN
  let rank = q * total
  for (let i = 0; i < bounds.length; i++) {
    const count = counts[i]!
    if (rank <= count && count > 0) {
      const from = i === 0 ? 0 : bounds[i - 1]!
      return from + (bounds[i]! - from) * (rank / count)
    }
    rank -= count
  }
  return bounds.at(-1)!
}

/** Bounds from `first` to at least `last`, each `ratio` times the one before: the relative error of a quantile is below `ratio` − 1. */
export function geometricBounds (first: number, last: number, ratio: number): number[] {
  const bounds = [first]
  while (bounds.at(-1)! < last) bounds.push(bounds.at(-1)! * ratio)
  return bounds
}
