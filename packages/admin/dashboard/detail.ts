import type { UpstreamView } from '@headgate/admin/model'
import { actionsFor, toast } from './change.ts'
import { api } from './api.ts'
import { Chart } from './chart.ts'
import { at, fill, h } from './dom.ts'
import * as format from './format.ts'
import { badge } from './states.ts'
import { type Store, keyOf } from './store.ts'

/** Everything about one upstream, in a dialog. */
export class Detail {
  readonly #store: Store
  readonly #dialog = at('detail')
  #shown: { readonly key: string; readonly facts: HTMLElement; readonly actions: HTMLElement; last: UpstreamView | undefined } | undefined

  constructor (store: Store) {
    this.#store = store
    this.#dialog.addEventListener('close', () => { this.#shown = undefined })
  }

  async open (view: UpstreamView): Promise<void> {
    let detail
    try {
      detail = await api.upstream(view.pool, view.id)
    } catch (error) {
      return toast((error as Error).message, 'bad')
    }
    const facts = h('div', { class: 'facts' })
    const actions = h('div', { class: 'buttons' })
    const charts = [
      new Chart('Requests per second', [
        { name: 'rate', label: 'requests', colour: '--blue', filled: true }, { name: 'errors', label: 'errors', colour: '--red', filled: true }
      ], format.count),
      new Chart('Latency', [
        { name: 'p50', label: 'p50', colour: '--teal' }, { name: 'p95', label: 'p95', colour: '--amber' }, { name: 'p99', label: 'p99', colour: '--violet' }
      ], format.latency)
    ]
    const past = detail.history.toReversed().map(({ from, to, reason, at, forced }) => h('li', {},
      h('time', {}, new Date(at).toLocaleString()), ' ', badge(from), ' → ', badge(to), h('span', {}, ` ${reason}${forced ? ' (operator)' : ''}`)))
    at('detail-title').textContent = view.url
    fill(at('detail-body'), facts, actions, h('div', { class: 'charts' }, ...charts.map(({ element }) => element)),
      h('h3', {}, 'What happened to it'),
      past.length === 0 ? h('p', { class: 'muted' }, 'Nothing: it has been in its first state since it joined.') : h('ul', { class: 'history' }, ...past))
    this.#shown = { key: keyOf(view), facts, actions, last: undefined }
    this.update()
    this.#dialog.showModal()
    const { at: last, step, points, series } = detail.series
    const times = Array.from({ length: points }, (_, i) => last - (points - 1 - i) * step)
    for (const chart of charts) chart.show({ at: times, values: series as never }, points)
  }

  update (): void {
    if (this.#shown === undefined) return
    const view = this.#store.rows.get(this.#shown.key)?.view
    if (view === undefined) {
      this.#dialog.close()
      return
    }
    if (view === this.#shown.last) return
    const before = this.#shown.last
    this.#shown.last = view
    const fact = (label: string, value: string | HTMLElement): HTMLElement => h('div', {}, h('span', { class: 'label' }, label), typeof value === 'string' ? h('b', {}, value) : value)
    fill(this.#shown.facts,
      fact('State', badge(view.state)),
      fact('Why', `${view.reason}, for ${format.duration(this.#store.now - view.since)}`),
      fact('Pool', view.pool), fact('Id', view.id), fact('Zone', view.zone || '–'), fact('Tier', String(view.priority)),
      fact('Weight', `${format.count(view.weight)} of ${format.count(view.configuredWeight)}`),
      fact('Connections', `${view.connections.open} open, ${view.connections.idle} idle`),
      fact('Requests', format.count(view.requests)), fact('Errors', format.count(view.errors)),
      fact('Sent', format.bytes(view.sent)), fact('Received', format.bytes(view.received)))
    // Buttons are left alone while they would be the same: one of them may have the focus.
    if (before?.operator === view.operator && before.leaving === view.leaving) return
    fill(this.#shown.actions, ...this.#store.can.change
      ? actionsFor(view).map(({ label, danger, run }) => h('button', { type: 'button', class: danger === true ? 'danger' : false, onclick: run }, label))
      : [])
  }
}
