import { api, follow } from './api.ts'
import { actionsFor, ask, openMenu, propose, toast } from './change.ts'
import { Chart } from './chart.ts'
import { Detail } from './detail.ts'
import { listenForQuestions } from './explain.ts'
import { at, attribute, h, text } from './dom.ts'
import * as format from './format.ts'
import { Log } from './log.ts'
import { Overview, Pools } from './overview.ts'
import { Routing } from './routing.ts'
import { Store } from './store.ts'
import { Table } from './table.ts'

const store = new Store()
const charts = [
  new Chart('Requests per second', [
    { name: 'rate', label: 'requests', colour: '--blue', filled: true }, { name: 'errors', label: 'errors', colour: '--red', filled: true },
    { name: 'retries', label: 'retries', colour: '--amber' }
  ], format.count),
  new Chart('Latency', [
    { name: 'p50', label: 'p50', colour: '--teal' }, { name: 'p95', label: 'p95', colour: '--amber' }, { name: 'p99', label: 'p99', colour: '--violet' }
  ], format.latency),
  new Chart('In flight and waiting', [
    { name: 'inFlight', label: 'in flight', colour: '--blue', filled: true }, { name: 'queued', label: 'waiting', colour: '--red' }
  ], format.count)
]
at('charts').append(...charts.map(({ element }) => element))

let seconds = 300
let scope = ''
const loading = new Set<string>()

function plot (): void {
  if (!store.series.has(scope) && !loading.has(scope)) void load(scope)
  for (const chart of charts) chart.show(store.series.get(scope), seconds)
}

async function load (name: string): Promise<void> {
  loading.add(name)
  try {
    store.load(name, await api.series(name))
  } catch (error) {
    toast((error as Error).message, 'bad')
  } finally {
    loading.delete(name)
  }
}

const detail = new Detail(store)
const table = new Table(store, {
  open: (view) => { void detail.open(view) },
  menu: (view, button) => {
    const open = { label: 'Details', run: () => { void detail.open(view) } }
    openMenu(button, `Actions for ${view.url}`, store.can.change ? [open, ...actionsFor(view)] : [open])
  }
})
const log = new Log(store)
const overview = new Overview()
const routing = new Routing()
const pools = new Pools((pool) => {
  scope = pool
  table.scope = log.scope = pool
  text(at('scope'), pool === '' ? 'all pools, as clients see them' : `pool ${pool}, by attempts`)
  plot()
})

let waiting = false
let told = false
/** At most once a frame, and not at all while nobody looks. */
function update (): void {
  if (waiting) return
  waiting = true
  requestAnimationFrame(() => {
    waiting = false
    if (!store.series.has('') && !loading.has('')) void load('')
    overview.update(store)
    pools.update(store)
    routing.update(store)
    table.update()
    detail.update()
    if (told) log.update()
    told = false
    plot()
    at('purge').hidden = !store.can.purge || !store.can.change
    at('add').hidden = !store.can.change
    text(at('about'), `Headgate ${store.version} · running for ${format.duration(store.now - store.startedAt)}`)
  })
}

store.on('state', update)
// Events come in bursts: a hundred upstreams may join at once.
store.on('events', () => {
  told = true
  update()
})
store.on('link', () => {
  overview.update(store)
  attribute(document.documentElement, 'data-link', store.connected ? 'up' : 'down')
})

for (const button of at('range').querySelectorAll('button')) {
  button.addEventListener('click', () => {
    seconds = Number(button.value)
    for (const other of at('range').querySelectorAll('button')) attribute(other, 'aria-pressed', String(other === button))
    plot()
  })
}

at('add').addEventListener('click', () => {
  const names = store.pools.map(({ name }) => name)
  ask('Add an upstream', 'Continue', [
    { label: 'Pool', name: 'pool', value: scope === '' ? names[0] ?? '' : scope, attributes: { required: true, list: 'pool-names' } },
    { label: 'Address', name: 'url', value: 'http://', attributes: { required: true } },
    { label: 'Weight', name: 'weight', value: '1', type: 'number', attributes: { min: 0, max: 65_535, step: 'any' } },
    { label: 'Zone (may be empty)', name: 'zone', value: '' }
  ], ({ pool, url, weight, zone }) => {
    const upstream = { url: url!, weight: Number(weight), ...zone !== '' && { zone: zone! } }
    void propose('Add', [{ op: 'add', pool: pool!, upstream }], `${url!} joins pool ${pool!} and starts slowly.`)
  })
  const list = h('datalist', { id: 'pool-names' }, ...names.map((name) => h('option', { value: name })))
  at('form-fields').append(list)
})

at('purge').addEventListener('click', () => {
  ask('Purge the cache', 'Purge', [
    { label: 'Tags or absolute URLs, separated by spaces; * for everything', name: 'what', value: '', attributes: { required: true } }
  ], ({ what }) => {
    const words = what!.split(/\s+/)
    const urls = words.filter((word) => /^https?:/.test(word))
    const tags = words.filter((word) => word !== '*' && !urls.includes(word))
    const body = words.includes('*') ? { all: true } : { ...urls.length > 0 && { urls }, ...tags.length > 0 && { tags } }
    api.purge(body).then(({ purged }) => { toast(`${format.plural(purged, 'response')} purged`) }, (error: Error) => { toast(error.message, 'bad') })
  })
})

listenForQuestions()

for (const button of document.querySelectorAll<HTMLButtonElement>('dialog [data-close]')) {
  button.addEventListener('click', () => { button.closest('dialog')!.close() })
}

const THEMES = ['auto', 'light', 'dark'] as const
function theme (name: string): void {
  attribute(document.documentElement, 'data-theme', name)
  text(at('theme'), { auto: '◐ Auto', light: '☀ Light', dark: '☾ Dark' }[name] ?? name)
  try {
    localStorage.setItem('headgate-theme', name)
  } catch {}
  for (const chart of charts) chart.restyle()
}
at('theme').addEventListener('click', () => {
  theme(THEMES[(THEMES.indexOf((document.documentElement.dataset['theme'] ?? 'auto') as never) + 1) % THEMES.length]!)
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { theme(document.documentElement.dataset['theme'] ?? 'auto') })
let saved: string | null = null
try {
  saved = localStorage.getItem('headgate-theme')
} catch {}
theme(saved ?? 'auto')
follow(store)
