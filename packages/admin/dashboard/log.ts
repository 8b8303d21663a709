import type { EventView } from '@headgate/admin/model'
import { at, fill, h, text } from './dom.ts'
import * as format from './format.ts'
import type { Store } from './store.ts'

const SHOWN = 100
const SIGNS = { good: '●', bad: '✕', warn: '▲', info: '·' } as const

/** What happened, newest first. Bad news is also spoken. */
export class Log {
  readonly #store: Store
  /** The newest that was seen; the first ones are no news. Not by its number, which begins anew when the server does. */
  #seen: EventView | undefined
  #scope = ''

  constructor (store: Store) {
    this.#store = store
  }

  set scope (pool: string) {
    this.#scope = pool
    this.update()
  }

  update (): void {
    const { events } = this.#store
    const own = this.#scope === '' ? events : events.filter(({ pool }) => pool === this.#scope || pool === '')
    fill(at('log'), ...own.slice(0, SHOWN).map(item))
    at('no-events').hidden = own.length > 0
    const newest = events[0]
    if (newest === undefined || newest === this.#seen) return
    const until = this.#seen === undefined ? 0 : events.indexOf(this.#seen)
    const bad = events.slice(0, until === -1 ? events.length : until).find(({ severity }) => severity === 'bad')
    if (bad !== undefined) text(at('announcer'), `${bad.pool} ${bad.url}: ${bad.text}`)
    this.#seen = newest
  }
}

function item (event: EventView): HTMLElement {
  const where = [event.pool, event.url].filter((part) => part !== '').join(' · ')
  return h('li', { class: `event ${event.severity}` },
    h('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[event.severity]),
    h('div', {},
      h('span', { class: 'event-text' }, event.text),
      h('span', { class: 'event-where' }, where, event.actor === '' ? '' : ` by ${event.actor}`)),
    h('time', { datetime: new Date(event.at).toISOString(), title: new Date(event.at).toLocaleString() }, format.clock(event.at)))
}
