import { svg } from './dom.ts'

const WIDTH = 96
const HEIGHT = 24

/** A line without axes: the shape of the last minute. What it says is in the number beside it. */
export class Spark {
  readonly element: SVGElement
  readonly #line: SVGElement
  readonly #area: SVGElement
  #drawn = ''

  constructor () {
    this.#area = svg('path', { class: 'spark-area' })
    this.#line = svg('path', { class: 'spark-line', 'vector-effect': 'non-scaling-stroke' })
    this.element = svg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, this.#area, this.#line)
  }

  /** `length` values fill the width; fewer stand at its right end. */
  draw (values: readonly (number | null)[], length: number): void {
    const top = Math.max(1e-9, ...values.map((value) => value ?? 0))
    const step = WIDTH / (length - 1)
    const start = WIDTH - (values.length - 1) * step
    const points = values.map((value, i) => `${(start + i * step).toFixed(1)} ${(HEIGHT - 2 - (value ?? 0) / top * (HEIGHT - 4)).toFixed(1)}`)
    const line = points.length < 2 ? '' : `M${points.join('L')}`
    if (line === this.#drawn) return
    this.#drawn = line
    this.#line.setAttribute('d', line)
    this.#area.setAttribute('d', line === '' ? '' : `${line}L${WIDTH} ${HEIGHT}L${start.toFixed(1)} ${HEIGHT}Z`)
  }
}
