import type { HealthState, UpstreamView } from '@headgate/admin/model'
import { at, attribute, fill, h, text } from './dom.ts'
import * as format from './format.ts'
import { Spark } from './spark.ts'
import { NAMES, STATES, badge } from './states.ts'
import { type Row, SPARK, type Store } from './store.ts'

export interface TableActions {
  open (view: UpstreamView): void
  menu (view: UpstreamView, button: HTMLElement): void
}

interface Column {
  readonly key: string
  readonly label: string
  readonly title: string
  /** For sorting; the first click puts the larger ones first where `down`. */
  readonly value: (view: UpstreamView) => number | string
  readonly down?: boolean
}

const share = (view: UpstreamView): number => view.rate === 0 ? 0 : view.errorRate / view.rate

const COLUMNS: readonly Column[] = [
  { key: 'state', label: 'State', title: 'Verdict on the upstream; problems first', value: (view) => STATES[view.state].rank },
  { key: 'upstream', label: 'Upstream', title: 'Address, pool and name', value: (view) => view.url },
  { key: 'weight', label: 'Weight', title: 'Effective weight, and the configured one where it differs', value: (view) => view.weight, down: true },
  { key: 'rate', label: 'Requests/s', title: 'Attempts per second; the line is the last minute', value: (view) => view.rate, down: true },
  { key: 'errors', label: 'Errors', title: 'Share of failed attempts and 5xx', value: share, down: true },
  { key: 'p50', label: 'p50', title: 'Half of the attempts took less', value: (view) => view.p50 ?? -1, down: true },
  { key: 'p95', label: 'p95', title: '95 % of the attempts took less', value: (view) => view.p95 ?? -1, down: true },
  { key: 'inFlight', label: 'In flight', title: 'Attempts that run now, and open connections', value: (view) => view.inFlight, down: true }
]

const OVERSCAN = 6

/** One row's elements; used again for whichever upstream scrolls into it. */
class RowView {
  readonly element: HTMLElement
  readonly #state = h('div', { class: 'cell state', role: 'cell' })
  readonly #why = h('span', { class: 'why' })
  readonly #open: HTMLButtonElement
  readonly #sub = h('span', { class: 'sub' })
  readonly #weight = h('div', { class: 'cell number weight', role: 'cell' })
  readonly #rate = h('b')
  readonly #spark = new Spark()
  readonly #errors = h('div', { class: 'cell number errors', role: 'cell' })
  readonly #p50 = h('div', { class: 'cell number p50', role: 'cell' })
  readonly #p95 = h('div', { class: 'cell number p95', role: 'cell' })
  readonly #inFlight = h('div', { class: 'cell number inFlight', role: 'cell' })
  readonly #menu: HTMLButtonElement
  #shown: UpstreamView | undefined
  #badge: HealthState | undefined

  constructor (actions: TableActions) {
    this.#open = h('button', { class: 'name', type: 'button', onclick: () => { actions.open(this.#shown!) } })
    this.#menu = h('button', {
      class: 'icon-button', type: 'button', 'aria-haspopup': 'menu', onclick: () => { actions.menu(this.#shown!, this.#menu) }
    }, '⋯')
    this.element = h('div', { class: 'row', role: 'row' },
      this.#state,
      h('div', { class: 'cell upstream', role: 'cell' }, this.#open, this.#sub),
      this.#weight,
      h('div', { class: 'cell number rate', role: 'cell' }, this.#spark.element, this.#rate),
      this.#errors, this.#p50, this.#p95, this.#inFlight,
      h('div', { class: 'cell actions', role: 'cell' }, this.#menu))
  }

  show ({ view, rates }: Row, index: number, now: number, top: number): void {
    attribute(this.element, 'aria-rowindex', String(index + 2))
    this.element.style.transform = `translateY(${top}px)`
    this.#since(view, now)
    if (view !== this.#shown) this.#update(view)
    this.#spark.draw(rates, SPARK)
  }

  #since (view: UpstreamView, now: number): void {
    if (this.#badge !== view.state) {
      this.#badge = view.state
      attribute(this.element, 'data-state', view.state)
      fill(this.#state, badge(view.state), this.#why)
    }
    const quiet = view.state === 'up' && view.operator === 'auto'
    text(this.#why, `${quiet ? 'for' : `${view.reason} ·`} ${format.duration(now - view.since)}`)
    attribute(this.#why, 'title', `${view.reason}, since ${new Date(view.since).toLocaleString()}`)
  }

  #update (view: UpstreamView): void {
    this.#shown = view
    text(this.#open, view.url)
    const own = view.id === view.url ? [] : [view.id]
    const marks = [view.pool, ...own, ...view.zone === '' ? [] : [`zone ${view.zone}`], ...view.priority > 0 ? [`backup, tier ${view.priority}`] : []]
    text(this.#sub, marks.join(' · '))
    text(this.#weight, view.weight === view.configuredWeight ? format.count(view.weight) : `${format.count(view.weight)} of ${format.count(view.configuredWeight)}`)
    text(this.#rate, format.count(view.rate))
    text(this.#errors, view.rate === 0 ? '–' : format.percent(share(view)))
    this.#errors.classList.toggle('bad', share(view) > 0.01)
    text(this.#p50, format.latency(view.p50))
    text(this.#p95, format.latency(view.p95))
    text(this.#inFlight, view.maxInFlight === null ? format.count(view.inFlight) : `${view.inFlight} / ${view.maxInFlight}`)
    attribute(this.#inFlight, 'title', `${view.connections.open} connections open, ${view.connections.idle} of them idle`)
    attribute(this.#menu, 'aria-label', `Actions for ${view.url}`)
  }
}

/** The upstreams: searched, filtered, sorted. Only the rows that can be seen exist, so that thousands cost no more than a screenful. */
export class Table {
  readonly #store: Store
  readonly #actions: TableActions
  readonly #viewport = at('rows')
  readonly #canvas = h('div', { class: 'canvas', role: 'presentation' })
  readonly #rows: RowView[] = []
  readonly #heads = new Map<string, HTMLButtonElement>()
  readonly #chips = new Map<HealthState, { button: HTMLButtonElement; count: HTMLElement }>()
  readonly #hidden = new Set<HealthState>()
  #list: Row[] = []
  #search = ''
  #scope = ''
  #sort: Column = COLUMNS[0]!
  #reversed = false

  constructor (store: Store, actions: TableActions) {
    this.#store = store
    this.#actions = actions
    this.#viewport.append(this.#canvas)
    const heads = COLUMNS.map((column) => {
      const button = h('button', { type: 'button', title: column.title, onclick: () => { this.#sortBy(column) } }, column.label)
      this.#heads.set(column.key, button)
      return h('div', { class: `cell ${column.key}`, role: 'columnheader' }, button)
    })
    at('heads').append(...heads, h('div', { class: 'cell actions', role: 'columnheader' }, h('span', { class: 'visually-hidden' }, 'Actions')))
    const search = at('search')
    search.addEventListener('input', () => {
      this.#search = search.value.trim().toLowerCase()
      this.update()
    })
    for (const state of NAMES) this.#addChip(state)
    this.#viewport.addEventListener('scroll', () => { this.#draw() }, { passive: true })
    new ResizeObserver(() => { this.#draw() }).observe(this.#viewport)
    this.#mark()
  }

  set scope (pool: string) {
    this.#scope = pool
    this.#viewport.scrollTop = 0
    this.update()
  }

  update (): void {
    const counts = new Map<HealthState, number>()
    const list: Row[] = []
    for (const row of this.#store.rows.values()) {
      const { view } = row
      if (this.#scope !== '' && view.pool !== this.#scope) continue
      counts.set(view.state, (counts.get(view.state) ?? 0) + 1)
      if (this.#hidden.has(view.state)) continue
      if (this.#search !== '' && !`${view.url} ${view.id} ${view.zone} ${view.pool} ${view.reason}`.toLowerCase().includes(this.#search)) continue
      list.push(row)
    }
    const { value } = this.#sort
    const sign = this.#reversed ? -1 : 1
    list.sort((a, b) => {
      const [x, y] = [value(a.view), value(b.view)]
      return (x < y ? -sign : x > y ? sign : a.view.url < b.view.url ? -1 : 1)
    })
    this.#list = list
    for (const [state, { button, count }] of this.#chips) {
      const number = counts.get(state) ?? 0
      text(count, String(number))
      button.hidden = number === 0 && !this.#hidden.has(state)
    }
    attribute(this.#viewport.parentElement!, 'aria-rowcount', String(list.length + 1))
    text(at('shown'), list.length === this.#store.rows.size ? format.plural(list.length, 'upstream') : `${list.length} of ${format.plural(this.#store.rows.size, 'upstream')}`)
    at('nothing').hidden = list.length > 0
    this.#draw()
  }

  #addChip (state: HealthState): void {
    const count = h('b')
    const button = h('button', {
      type: 'button', class: `chip ${state}`, 'aria-pressed': 'true', title: STATES[state].means,
      onclick: () => {
        if (!this.#hidden.delete(state)) this.#hidden.add(state)
        attribute(button, 'aria-pressed', String(!this.#hidden.has(state)))
        this.update()
      }
    }, h('span', { class: 'sign', 'aria-hidden': 'true' }, STATES[state].sign), state, ' ', count)
    this.#chips.set(state, { button, count })
    at('chips').append(button)
  }

  #sortBy (column: Column): void {
    this.#reversed = this.#sort === column ? !this.#reversed : column.down === true
    this.#sort = column
    this.#mark()
    this.update()
  }

  #mark (): void {
    for (const column of COLUMNS) {
      const cell = this.#heads.get(column.key)!.parentElement!
      attribute(cell, 'aria-sort', this.#sort !== column ? 'none' : this.#reversed ? 'descending' : 'ascending')
    }
  }

  #draw (): void {
    // The height of a row is the style sheet's: narrow screens have taller ones.
    const height = Number.parseFloat(getComputedStyle(this.#viewport).getPropertyValue('--row')) || 52
    const first = Math.max(0, Math.floor(this.#viewport.scrollTop / height) - OVERSCAN)
    const last = Math.min(this.#list.length, Math.ceil((this.#viewport.scrollTop + this.#viewport.clientHeight) / height) + OVERSCAN)
    this.#canvas.style.height = `${this.#list.length * height}px`
    const visible = Math.max(0, last - first)
    while (this.#rows.length < visible) {
      const row = new RowView(this.#actions)
      this.#rows.push(row)
      this.#canvas.append(row.element)
    }
    for (const [i, row] of this.#rows.entries()) {
      row.element.hidden = i >= visible
      if (i < visible) row.show(this.#list[first + i]!, first + i, this.#store.now, (first + i) * height)
    }
  }
}
