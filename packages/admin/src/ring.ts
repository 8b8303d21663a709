import { type Point, SERIES, type SeriesName, type SeriesView } from './model.ts'

/** The last points of each series, in memory of a fixed size. */
export class Ring {
  readonly #step: number
  readonly #length: number
  readonly #series: Readonly<Record<SeriesName, Float32Array>>
  #next = 0
  #filled = 0
  #at = 0

  /** `length` points, `step` milliseconds apart. */
  constructor (length: number, step: number) {
    this.#length = length
    this.#step = step
    this.#series = Object.fromEntries(SERIES.map((name) => [name, new Float32Array(length)])) as Record<SeriesName, Float32Array>
  }

  push (at: number, point: Point): void {
    for (const name of SERIES) this.#series[name][this.#next] = point[name] ?? NaN
    this.#next = (this.#next + 1) % this.#length
    this.#filled = Math.min(this.#length, this.#filled + 1)
    this.#at = at
  }

  /** Goes on where another stopped. */
  load ({ at, points, series }: SeriesView): void {
    for (let i = 0; i < points; i++) this.push(at, Object.fromEntries(SERIES.map((name) => [name, series[name][i] ?? null])) as Point)
  }

  view (): SeriesView {
    const first = (this.#next - this.#filled + this.#length) % this.#length
    const values = (series: Float32Array): (number | null)[] => Array.from({ length: this.#filled }, (_, i) => {
      const value = series[(first + i) % this.#length]!
      return Number.isNaN(value) ? null : Number(value.toPrecision(4))
    })
    return {
      at: this.#at,
      step: this.#step,
      points: this.#filled,
      series: Object.fromEntries(SERIES.map((name) => [name, values(this.#series[name])])) as Record<SeriesName, (number | null)[]>
    }
  }
}
