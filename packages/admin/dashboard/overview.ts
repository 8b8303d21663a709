import type { AdviceView, PoolView, TotalView } from '@headgate/admin/model'
import { at, attribute, fill, h, text } from './dom.ts'
import * as format from './format.ts'
import { Spark } from './spark.ts'
import { NAMES } from './states.ts'
import { SPARK, type Series, type Store } from './store.ts'

interface Tile {
  readonly element: HTMLElement
  readonly value: HTMLElement
  readonly note: HTMLElement
  readonly spark: Spark | undefined
}

function tile (label: string, title: string, drawn: boolean): Tile {
  const value = h('b', { class: 'value' })
  const note = h('span', { class: 'note' })
  const spark = drawn ? new Spark() : undefined
  const element = h('div', { class: 'tile', title }, h('span', { class: 'label' }, label), value, note, spark?.element as unknown as HTMLElement)
  return { element, value, note, spark }
}

/** The line that says how all is, and the numbers of the whole app. */
export class Overview {
  readonly #tiles = {
    rate: tile('Requests/s', 'Responses to clients per second', true),
    errors: tile('Client errors', 'Share of responses to clients that were 5xx', true),
    latency: tile('Latency p95', '95 % of the clients\' requests took less', true),
    load: tile('In flight', 'Attempts that run now', true),
    retries: tile('Saved by retries', 'Attempts that failed and were repeated elsewhere, unseen by clients, per second', true),
    cache: tile('Cache hits', 'Share of the requests answered from the cache', false),
    compress: tile('Compression', 'Bytes saved by compression', false)
  }

  constructor () {
    at('tiles').append(...Object.values(this.#tiles).map(({ element }) => element))
  }

  update (store: Store): void {
    const { total } = store
    if (total === undefined) return
    this.#status(store)
    this.#totals(total, store.series.get(''))
    this.#plugins(total)
  }

  #status ({ pools, rows, routing, connected }: Store): void {
    const element = at('status')
    const bad = pools.reduce((sum, { states }) => sum + states.down + states.ejected, 0)
    const empty = pools.filter(({ ready }) => ready === 0)
    const closed = routing.routes.filter(({ maintenance }) => maintenance)
    const degraded = pools.reduce((sum, { states }) => sum + states.degraded, 0)
    const [level, words] = !connected
      ? ['warn', 'Connection lost; trying again']
      : empty.length > 0
        ? ['bad', `Nobody is ready in ${empty.map(({ name }) => name).join(', ')}`]
        : bad > 0
          ? ['bad', `${bad} of ${format.plural(rows.size, 'upstream')} ${bad === 1 ? 'is' : 'are'} out`]
          : closed.length > 0
            ? ['warn', `${closed.map(({ prefix }) => prefix).join(', ')} closed for maintenance`]
            : degraded > 0 ? ['warn', `${format.plural(degraded, 'upstream')} degraded`] : ['good', `All well: ${format.plural(rows.size, 'upstream')}`]
    attribute(element, 'data-level', level!)
    text(element, words!)
    document.title = level === 'good' ? 'Headgate' : `${level === 'bad' ? '✕' : '!'} ${words!} – Headgate`
  }

  #totals (total: TotalView, series: Series | undefined): void {
    const { rate, errors, latency, load, retries } = this.#tiles
    text(rate.value, format.count(total.rate))
    text(rate.note, `${format.count(total.requests)} since the start`)
    const share = total.rate === 0 ? 0 : total.errorRate / total.rate
    text(errors.value, format.percent(share))
    text(errors.note, `${format.count(total.errors)} since the start`)
    attribute(errors.element, 'data-level', share > 0.01 ? 'bad' : '')
    text(latency.value, format.latency(total.p95))
    text(latency.note, `p50 ${format.latency(total.p50)} · p99 ${format.latency(total.p99)}`)
    text(load.value, format.count(total.inFlight))
    text(load.note, `${format.count(total.queued)} waiting`)
    attribute(load.element, 'data-level', total.queued > 0 ? 'warn' : '')
    const last = (series?.values.retries ?? []).slice(-5)
    text(retries.value, `${format.count(last.reduce((sum: number, value) => sum + (value ?? 0), 0) / Math.max(1, last.length))}/s`)
    text(retries.note, 'unseen by clients')
    for (const [name, { spark }] of [['rate', rate], ['errors', errors], ['p95', latency], ['inFlight', load], ['retries', retries]] as const) {
      spark!.draw(series?.values[name].slice(-SPARK) ?? [], SPARK)
    }
  }

  #plugins (total: TotalView): void {
    const { cache, compress } = this.#tiles
    cache.element.hidden = total.cache === null
    if (total.cache !== null) {
      text(cache.value, format.percent(total.cache.hitRatio))
      text(cache.note, total.cache.servedBytes > 0 ? `${format.bytes(total.cache.servedBytes)} served` : `${format.count(total.cache.evictions)} evicted`)
    }
    compress.element.hidden = total.compress === null
    if (total.compress !== null) {
      const { bytesIn, bytesOut } = total.compress
      text(compress.value, bytesIn === 0 ? '–' : `−${format.percent(1 - bytesOut / bytesIn)}`)
      text(compress.note, `${format.bytes(Math.max(0, bytesIn - bytesOut))} saved`)
    }
  }
}

interface Card {
  readonly element: HTMLButtonElement
  readonly bar: HTMLElement
  readonly state: HTMLElement
  readonly figures: HTMLElement
  readonly advice: HTMLElement
  readonly notice: HTMLElement
}

function adviceOf ({ desired, utilisation }: AdviceView, ready: number): string {
  const words = desired === ready
    ? 'as many upstreams as are needed'
    : `${format.plural(desired, 'upstream')} advised: ${Math.abs(desired - ready)} ${desired > ready ? 'more' : 'fewer'}`
  return `${format.percent(utilisation)} of the capacity used · ${words}`
}

/** One card for each pool; choosing one shows its plots and its upstreams alone. */
export class Pools {
  readonly #cards = new Map<string, Card>()
  readonly #choose: (pool: string) => void
  #chosen = ''

  constructor (choose: (pool: string) => void) {
    this.#choose = choose
  }

  get chosen (): string { return this.#chosen }

  update ({ pools }: Store): void {
    const names = new Set(pools.map(({ name }) => name))
    if (this.#chosen !== '' && !names.has(this.#chosen)) this.#select('')
    for (const [name, card] of this.#cards) {
      if (names.has(name)) continue
      card.element.remove()
      this.#cards.delete(name)
    }
    for (const pool of pools) this.#show(pool)
    at('pools').hidden = pools.length === 0
  }

  #show (pool: PoolView): void {
    let card = this.#cards.get(pool.name)
    if (card === undefined) {
      card = this.#make(pool)
      this.#cards.set(pool.name, card)
      at('pools').append(card.element)
    }
    const used = NAMES.filter((state) => pool.states[state] > 0)
    const shape = used.map((state) => `${state} ${pool.states[state]}`).join(', ')
    if (card.bar.title !== shape) {
      card.bar.title = shape
      fill(card.bar, ...used.map((state) => {
        const part = h('i', { class: state })
        part.style.flexGrow = String(pool.states[state])
        return part
      }))
    }
    text(card.state, `${pool.ready} of ${pool.upstreams} ready`)
    text(card.figures, `${format.count(pool.rate)}/s · ${format.percent(pool.rate === 0 ? 0 : pool.errorRate / pool.rate)} errors · p95 ${format.latency(pool.p95)} · ${format.count(pool.inFlight)} in flight` +
      (pool.queued > 0 ? ` · ${format.count(pool.queued)} waiting` : ''))
    text(card.advice, pool.advice === null ? '' : adviceOf(pool.advice, pool.ready))
    attribute(card.advice, 'title', pool.advice?.reason ?? '')
    const notice = pool.ready === 0
      ? 'Nobody is ready: requests are answered 503'
      : pool.panic ? 'Too few are left: ejections are overridden' : pool.shed > 0 ? `${format.count(pool.shed)} requests were answered 503` : ''
    text(card.notice, notice)
    attribute(card.element, 'data-level', pool.ready === 0 || pool.panic ? 'bad' : pool.ready < pool.upstreams ? 'warn' : 'good')
    attribute(card.element, 'aria-pressed', String(this.#chosen === pool.name))
  }

  #make (pool: PoolView): Card {
    const bar = h('span', { class: 'bar', 'aria-hidden': 'true' })
    const [state, figures, advice, notice] = [h('span', { class: 'ready' }), h('span', { class: 'figures' }), h('span', { class: 'advice' }), h('span', { class: 'notice' })]
    const element = h('button', { type: 'button', class: 'pool', onclick: () => { this.#select(this.#chosen === pool.name ? '' : pool.name) } },
      h('span', { class: 'pool-head' }, h('b', {}, pool.name), h('span', { class: 'policy' }, pool.policy), state), bar, figures, advice, notice)
    return { element, bar, state, figures, advice, notice }
  }

  #select (pool: string): void {
    this.#chosen = pool
    for (const [name, { element }] of this.#cards) attribute(element, 'aria-pressed', String(name === pool))
    this.#choose(pool)
  }
}
