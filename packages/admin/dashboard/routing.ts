import type { RouteView, SplitView } from '@headgate/admin/model'
import { ask, propose } from './change.ts'
import { at, fill, h } from './dom.ts'
import * as format from './format.ts'
import type { Store } from './store.ts'

/** How much of the requests each pool of a split gets, and which routes are closed. */
export class Routing {
  #shown = ''

  update ({ routing, can }: Store): void {
    const now = `${routing.etag} ${can.change}`
    if (now === this.#shown) return
    this.#shown = now
    const { splits, routes } = routing
    at('routing-section').hidden = splits.length + routes.length === 0
    fill(at('routing'), ...splits.map((split) => splitOf(split, can.change)), ...routes.map((route) => routeOf(route, can.change)))
  }
}

const card = (name: string, kind: string, state: string, level: 'good' | 'warn', button: HTMLElement | false, ...rest: HTMLElement[]): HTMLElement =>
  h('li', { class: 'routed', 'data-level': level }, h('span', { class: 'pool-head' }, h('b', {}, name), h('span', { class: 'policy' }, kind), h('span', { class: 'ready' }, state), button), ...rest)

function splitOf ({ name, weights }: SplitView, change: boolean): HTMLElement {
  const entries = Object.entries(weights)
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0)
  const bar = h('span', { class: 'bar shares', 'aria-hidden': 'true' }, ...entries.filter(([, weight]) => weight > 0).map(([, weight]) => {
    const part = h('i')
    part.style.flexGrow = String(weight / total)
    return part
  }))
  const words = entries.map(([pool, weight]) => `${pool} ${format.percent(weight / total)}`).join(' · ')
  const button = change && h('button', {
    type: 'button', 'aria-label': `Shares of split ${name}`,
    onclick: () => {
      ask(`Shares of split ${name}`, 'Continue', entries.map(([pool, weight], index) => (
        { label: `Weight of pool ${pool}; 0: no new requests`, name: String(index), value: String(weight), type: 'number', attributes: { min: 0, step: 'any', required: true } }
      )), (values) => {
        const wanted = Object.fromEntries(entries.map(([pool], index) => [pool, Number(values[index])]))
        void propose('Set shares', [{ op: 'split', split: name, weights: wanted }], 'New requests are shared so at once. Clients move only as far as the shares need it.')
      })
    }
  }, 'Shares…')
  return card(name, 'split', '', 'good', button, bar, h('span', { class: 'figures' }, words))
}

function routeOf ({ prefix, maintenance }: RouteView, change: boolean): HTMLElement {
  const [label, title, words] = maintenance
    ? ['Open…', 'Open', `Requests for ${prefix} are forwarded again.`]
    : ['Close…', 'Close', `Requests for ${prefix} are answered 503 with the maintenance page, but for those that its options let through. What runs goes on.`]
  const button = change && h('button', {
    type: 'button', 'aria-label': `${title} route ${prefix}`, class: maintenance ? false : 'danger',
    onclick: () => { void propose(title!, [{ op: 'maintenance', route: prefix, active: !maintenance }], words!) }
  }, label)
  return card(prefix, 'route', maintenance ? 'closed' : 'open', maintenance ? 'warn' : 'good', button)
}
