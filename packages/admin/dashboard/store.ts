import type { EventView, Point, PoolView, RoutingView, SeriesName, SeriesView, Snapshot, Tick, TotalView, UpstreamView } from '@headgate/admin/model'

/** Fifteen minutes of seconds. */
const POINTS = 900
/** Seconds that the small plots in the rows show. */
export const SPARK = 60
const EVENTS = 500

export type Series = { readonly at: number[]; readonly values: Record<SeriesName, (number | null)[]> }

/** One row: the upstream as it is, and its rate in the last minute. */
export interface Row {
  readonly key: string
  view: UpstreamView
  readonly rates: number[]
}

export const keyOf = ({ pool, id }: { readonly pool: string; readonly id: string }): string => `${pool}\n${id}`

type Part = 'state' | 'events' | 'link'

/** What the page knows. It is bounded: open for a day, it holds no more than after fifteen minutes. */
export class Store {
  version = ''
  startedAt = 0
  /** The server's clock, as of the last message. */
  now: number = Date.now()
  connected = false
  total: TotalView | undefined
  pools: readonly PoolView[] = []
  routing: RoutingView = { etag: '', splits: [], routes: [] }
  can: Snapshot['can'] = { purge: false, change: false }
  readonly rows: Map<string, Row> = new Map()
  /** Newest first. */
  readonly events: EventView[] = []
  readonly series: Map<string, Series> = new Map()
  readonly #listeners: Record<Part, (() => void)[]> = { state: [], events: [], link: [] }

  on (part: Part, listener: () => void): void {
    this.#listeners[part].push(listener)
  }

  link (connected: boolean): void {
    this.connected = connected
    this.#tell('link')
  }

  snapshot (snapshot: Snapshot): void {
    this.version = snapshot.version
    this.startedAt = snapshot.startedAt
    this.can = snapshot.can
    this.now = snapshot.at
    this.total = snapshot.total
    this.pools = snapshot.pools
    this.routing = snapshot.routing
    // A gap in the plots would be a lie: they are fetched again.
    this.series.clear()
    this.rows.clear()
    for (const [i, view] of snapshot.upstreams.entries()) this.rows.set(keyOf(view), { key: keyOf(view), view, rates: [...snapshot.rates[i] ?? []] })
    this.#tell('link')
    this.#tell('state')
  }

  tick (tick: Tick): void {
    this.now = tick.at
    this.total = tick.total
    this.pools = tick.pools
    if (tick.routing !== undefined) this.routing = tick.routing
    for (const view of tick.removed) this.rows.delete(keyOf(view))
    for (const view of tick.upstreams) {
      const key = keyOf(view)
      const row = this.rows.get(key)
      if (row === undefined) this.rows.set(key, { key, view, rates: [] })
      else row.view = view
    }
    for (const { rates, view } of this.rows.values()) {
      rates.push(view.rate)
      if (rates.length > SPARK) rates.shift()
    }
    for (const [scope, series] of this.series) append(series, tick.at, tick.points[scope])
    this.#tell('state')
  }

  event (event: EventView): void {
    if (this.events.some(({ id, at }) => id === event.id && at === event.at)) return
    this.events.unshift(event)
    if (this.events.length > EVENTS) this.events.pop()
    this.#tell('events')
  }

  /** History of a pool, or of everything (''), as fetched; ticks go on from there. */
  load (scope: string, { at, step, points, series }: SeriesView): void {
    const times = Array.from({ length: points }, (_, i) => at - (points - 1 - i) * step)
    this.series.set(scope, { at: times, values: Object.fromEntries(Object.entries(series).map(([name, values]) => [name, [...values]])) as Series['values'] })
    this.#tell('state')
  }

  #tell (part: Part): void {
    for (const listener of this.#listeners[part]) listener()
  }
}

function append ({ at, values }: Series, now: number, point: Point | undefined): void {
  if (at.length > 0 && now <= at.at(-1)!) return
  at.push(now)
  for (const [name, list] of Object.entries(values) as [SeriesName, (number | null)[]][]) {
    list.push(point?.[name] ?? null)
    if (list.length > POINTS) list.shift()
  }
  if (at.length > POINTS) at.shift()
}
