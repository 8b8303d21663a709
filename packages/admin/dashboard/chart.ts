import type { SeriesName } from '@headgate/admin/model'
import { fill, h, text } from './dom.ts'
import type { Series } from './store.ts'
import uPlot from './uplot.js'

export interface Line {
  readonly name: SeriesName
  readonly label: string
  /** Name of the CSS variable of its colour. */
  readonly colour: string
  readonly filled?: boolean
}

const HEIGHT = 158

function css (name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

/** A plot over time with a legend of numbers: the last ones, or those under the pointer. */
export class Chart {
  readonly element: HTMLElement
  readonly #lines: readonly Line[]
  readonly #format: (value: number | null) => string
  readonly #title: string
  readonly #box: HTMLElement
  readonly #values: HTMLElement[]
  #plot: uPlot | undefined
  #data: uPlot.AlignedData = [[]]
  #described = 0

  constructor (title: string, lines: readonly Line[], format: (value: number | null) => string) {
    this.#title = title
    this.#lines = lines
    this.#format = format
    this.#box = h('div', { class: 'plot', role: 'img', 'aria-label': title })
    this.#values = lines.map(() => h('b'))
    const legend = lines.map((line, i) => h('span', { class: `key ${line.colour.slice(2)}` }, h('i'), line.label, ' ', this.#values[i]))
    this.element = h('figure', { class: 'chart' }, h('figcaption', {}, h('span', { class: 'chart-title' }, title), h('span', { class: 'legend' }, ...legend)), this.#box)
    new ResizeObserver(() => { this.#size() }).observe(this.#box)
  }

  /** Shows the last `seconds` of a series. */
  show (series: Series | undefined, seconds: number): void {
    const from = Math.max(0, (series?.at.length ?? 0) - seconds)
    this.#data = [
      (series?.at ?? []).slice(from).map((at) => at / 1000),
      ...this.#lines.map(({ name }) => (series?.values[name] ?? []).slice(from))
    ]
    if (this.#plot === undefined) this.restyle()
    else this.#plot.setData(this.#data)
    this.#legend(this.#plot?.cursor.idx ?? undefined)
  }

  /** Draws it anew, with the colours of the present theme. */
  restyle (): void {
    this.#plot?.destroy()
    fill(this.#box)
    const axis = { stroke: css('--muted'), grid: { stroke: css('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
    this.#plot = new uPlot({
      width: Math.max(120, this.#box.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: 'headgate' }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { range: (_plot, min, max) => [Math.min(min, max - 60), max] }, y: { range: (_plot, _min, max) => [0, Math.max(max ?? 0, 1) * 1.1] } },
      axes: [
        { ...axis, space: 70, size: 28, values: (_plot, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString(undefined, { hour12: false })) },
        { ...axis, size: 56, values: (_plot, ticks) => ticks.map((tick) => this.#format(tick)) }
      ],
      series: [{}, ...this.#lines.map((line) => ({
        label: line.label, stroke: css(line.colour), width: 1.5, points: { show: false }, spanGaps: false,
        ...line.filled === true && { fill: `color-mix(in srgb, ${css(line.colour)} 14%, transparent)` }
      }))],
      hooks: { setCursor: [(plot) => { this.#legend(plot.cursor.idx ?? undefined) }] }
    }, this.#data, this.#box)
  }

  #size (): void {
    const { clientWidth: width } = this.#box
    if (this.#plot !== undefined && width > 0 && this.#plot.width !== width) this.#plot.setSize({ width, height: HEIGHT })
  }

  #legend (index: number | undefined): void {
    const at = index ?? this.#data[0].length - 1
    const shown = this.#values.map((element, i) => {
      const value = this.#format((this.#data[i + 1]?.[at] as number | null | undefined) ?? null)
      text(element, value)
      return `${this.#lines[i]!.label} ${value}`
    })
    // Screen readers ask for it; announcing each second would drown everything else.
    if (Date.now() - this.#described < 5000) return
    this.#described = Date.now()
    this.#box.setAttribute('aria-label', `${this.#title}: ${shown.join(', ')}`)
  }
}
