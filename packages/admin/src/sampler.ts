import type { Clock, Pool, Upstream } from '@headgate/core'
import { type PoolAdvice, type PoolRecord, type Recorder, RouteRecord, type UpstreamRecord } from '@headgate/metrics'
import type { Point, PoolView, RoutingView, SeriesView, Snapshot, Tick, TotalView, UpstreamView } from './model.ts'
import { Others } from './others.ts'
import { addAttempts, addClients, type Part, Teller } from './parts.ts'
import { Ring } from './ring.ts'
import { Track, rounded } from './track.ts'
import {
  cacheView, compressView, foreignView, merged, mergedCache, mergedCompress, poolView, total, type UpstreamGauges, upstreamGauges, upstreamView
} from './views.ts'

const SECOND = 1000
/** Fifteen minutes of seconds for pools; of five seconds each for upstreams, of which there may be thousands. */
const POOL_POINTS = 900
const UPSTREAM_POINTS = 180
const UPSTREAM_STEP = 5
/** Seconds of rates that a snapshot has of each upstream, and up to how many upstreams it has them. */
const RATES = 60
const MANY = 500

class PoolTrack {
  readonly track: Track
  readonly ring = new Ring(POOL_POINTS, SECOND)
  retries = 0

  constructor (record: PoolRecord) {
    this.track = new Track({ get count () { return record.count }, get errors () { return record.errors }, latencies: record.total })
  }
}

class UpstreamTrack {
  readonly track: Track
  readonly slow: Track
  readonly ring = new Ring(UPSTREAM_POINTS, UPSTREAM_STEP * SECOND)
  readonly pool: string
  readonly id: string
  readonly url: string
  /** The view as it was last sent. */
  sent = ''
  /** Rates of the last seconds. */
  readonly rates: number[] = []

  constructor (record: UpstreamRecord, pool: Pool) {
    const source = { get count () { return record.count }, get errors () { return record.errors }, latencies: record.total }
    this.track = new Track(source)
    this.slow = new Track(source)
    this.pool = pool.name
    this.id = record.upstream.id
    this.url = record.upstream.url
  }

  settle (): void {
    this.track.settle()
    this.slow.settle()
  }
}

/** Looks at the records once a second and keeps what became of them. */
export class Sampler {
  readonly startedAt: number
  readonly #recorder: Recorder
  readonly #clock: Clock
  readonly #advice: (pool: string) => PoolAdvice | undefined
  readonly #routing: () => RoutingView
  readonly #pools = new Map<PoolRecord, PoolTrack>()
  readonly #upstreams = new Map<UpstreamRecord, UpstreamTrack>()
  readonly #clients: RouteRecord
  readonly #total: Track
  readonly #totalRing = new Ring(POOL_POINTS, SECOND)
  readonly #others = new Others()
  readonly #teller: Teller
  /** Views of members that only others have, as they were last sent, by pool and id. */
  readonly #foreign = new Map<string, UpstreamView>()
  /** Etag of the routing that was sent last. */
  #routed = ''
  #steps = 0
  #last: number

  /** `advice`: how many upstreams a pool should have, where somebody says so. `routing`: shares and closed routes as they are. */
  constructor (recorder: Recorder, clock: Clock, advice: (pool: string) => PoolAdvice | undefined, routing: () => RoutingView) {
    this.#recorder = recorder
    this.#clock = clock
    this.#advice = advice
    this.#routing = routing
    this.startedAt = clock.wall()
    this.#last = clock.now()
    const clients = this.#clients = new RouteRecord(recorder.bounds)
    this.#teller = new Teller(recorder, clients)
    this.#total = new Track({
      get count () { return clients.requests.total },
      get errors () { return clients.requests.ofClass(5) },
      latencies: clients.duration
    })
  }

  /** A response to a client went out. */
  response (method: string, status: number, duration: number): void {
    this.#clients.requests.add(method, status)
    this.#clients.duration.observe(duration)
  }

  /** Somebody watches a stream of another worker. */
  get watched (): boolean { return this.#others.watching }

  /** What this worker has to tell the one that speaks; `anew`: one that knows nothing of it yet. */
  part (anew: boolean, watching: boolean, counting: boolean): Part {
    if (anew) this.#teller.anew()
    return this.#teller.part(watching, counting)
  }

  /** What another worker tells: what it counted is added to what was counted here. */
  take (from: number, part: Part): void {
    // What it counted before belongs to no second of ours.
    const before = part.fresh && !this.#others.knows(from)
    this.#others.take(from, part)
    addClients(this.#clients, part.clients)
    if (before) this.#total.settle()
    const records = new Map(this.#recorder.current().map((record) => [record.pool.name, record]))
    for (const { name, sums, upstreams } of part.pools) {
      const record = records.get(name)
      if (record === undefined) continue
      addAttempts(record, sums)
      const found = this.#pool(record)
      if (before) {
        found.track.settle()
        found.retries = record.retried
      }
      for (const { gauges, sums } of upstreams) {
        const upstream = sums.length === 0 ? undefined : record.pool.get(gauges.id)
        const one = upstream && this.#recorder.upstream(record, upstream)
        if (one === undefined) continue
        addAttempts(one, sums)
        if (before) this.#upstream(record.pool, one).settle()
      }
    }
  }

  left (worker: number): void {
    this.#others.left(worker)
  }

  /** The past, for a worker that has just come. */
  past (): Record<string, SeriesView> {
    const pools = this.#recorder.current().map((record) => [record.pool.name, this.#pool(record).ring.view()] as const)
    return { ...Object.fromEntries(pools), '': this.#totalRing.view() }
  }

  remember (past: Readonly<Record<string, SeriesView>>): void {
    this.#eachRing((name, ring) => { if (past[name] !== undefined) ring.load(past[name]) })
  }

  /** The points of a second, from the one that speaks: whoever speaks next has them. */
  points (at: number, points: Readonly<Record<string, Point>>): void {
    this.#eachRing((name, ring) => { if (points[name] !== undefined) ring.push(at, points[name]) })
  }

  /** Steps as {@link step} does, and leaves it to another to tell of it. */
  follow (): void {
    const seconds = this.#elapsed()
    for (const record of this.#recorder.current()) {
      const found = this.#pool(record)
      found.track.step(seconds)
      found.retries = record.retried
      for (const upstream of record.upstreams.values()) this.#stepTracks(record.pool, upstream, seconds, this.#clock.wall())
    }
    this.#total.step(seconds)
  }

  /** One step; called once a second. */
  step (): Tick {
    const seconds = this.#elapsed()
    const at = this.#clock.wall()
    const records = this.#recorder.current()
    const points: Record<string, Point> = {}
    const removed = this.#forget(records)
    const changed: UpstreamView[] = []
    const pools = records.map((record) => {
      const found = this.#pool(record)
      found.track.step(seconds)
      const view = this.#poolView(record)
      const point = pointOf(found.track, view.inFlight, view.queued, (record.retried - found.retries) / seconds)
      found.retries = record.retried
      found.ring.push(at, point)
      points[record.pool.name] = point
      for (const upstream of record.upstreams.values()) this.#stepUpstream(record.pool, upstream, seconds, at, changed)
      return view
    })
    this.#stepForeign(changed, removed)
    this.#total.step(seconds)
    const total = this.#totalView(pools)
    const retries = Object.values(points).reduce((sum, point) => sum + (point.retries ?? 0), 0)
    points[''] = pointOf(this.#total, total.inFlight, total.queued, retries)
    this.#totalRing.push(at, points['']!)
    const routing = this.#routing()
    const rerouted = routing.etag !== this.#routed
    this.#routed = routing.etag
    return { at, total, pools, upstreams: changed, removed, points, ...rerouted && { routing } }
  }

  /** Everything as it is now, without a step. */
  snapshot (): Omit<Snapshot, 'version' | 'can'> {
    const records = this.#recorder.current()
    const pools = records.map((record) => this.#poolView(record))
    const tracks = records.flatMap((record) => [...record.upstreams.values()].map((upstream) => this.#upstream(record.pool, upstream)))
    const upstreams = records.flatMap((record) => [...record.upstreams.values()].map((upstream) => this.upstream(record.pool, upstream)))
    const foreign = records.flatMap(({ pool }) => this.foreign(pool))
    const rates = upstreams.length > MANY ? [] : [...tracks.map(({ rates }) => rates), ...foreign.map(() => [])]
    upstreams.push(...foreign)
    return { at: this.#clock.wall(), startedAt: this.startedAt, total: this.#totalView(pools), pools, upstreams, rates, routing: this.#routing() }
  }

  pool (pool: Pool): PoolView {
    return this.#poolView(this.#recorder.pool(pool)!)
  }

  upstream (pool: Pool, record: UpstreamRecord): UpstreamView {
    return upstreamView(this.#gauges(pool, record), record, this.#upstream(pool, record).track.figures())
  }

  /** `undefined` beyond the limit of upstreams with figures. */
  find (pool: Pool, upstream: Upstream): UpstreamRecord | undefined {
    return this.#recorder.upstream(this.#recorder.pool(pool)!, upstream)
  }

  series (pool: Pool | undefined): ReturnType<Ring['view']> {
    return (pool === undefined ? this.#totalRing : this.#pool(this.#recorder.pool(pool)!).ring).view()
  }

  upstreamSeries (pool: Pool, record: UpstreamRecord): ReturnType<Ring['view']> {
    return this.#upstream(pool, record).ring.view()
  }

  /** Members that only other workers have: on their way out there, or in. */
  foreign (pool: Pool): UpstreamView[] {
    return this.#others.size === 0 ? [] : this.#others.foreign(pool.name, (id) => pool.get(id) !== undefined).map(foreignView)
  }

  #elapsed (): number {
    const now = this.#clock.now()
    const seconds = Math.max(0.001, (now - this.#last) / SECOND)
    this.#last = now
    this.#steps++
    return seconds
  }

  #eachRing (visit: (name: string, ring: Ring) => void): void {
    visit('', this.#totalRing)
    for (const record of this.#recorder.current()) visit(record.pool.name, this.#pool(record).ring)
  }

  #stepForeign (changed: UpstreamView[], removed: { pool: string; id: string }[]): void {
    const now = new Set<string>()
    for (const { pool } of this.#recorder.current()) {
      for (const view of this.foreign(pool)) {
        const key = `${view.pool}\n${view.id}`
        now.add(key)
        this.#foreign.set(key, view)
        changed.push(view)
        // It has left here, not everywhere.
        const index = removed.findIndex((gone) => gone.pool === view.pool && gone.id === view.id)
        if (index >= 0) removed.splice(index, 1)
      }
    }
    for (const [key, { pool, id }] of this.#foreign) {
      if (now.has(key)) continue
      this.#foreign.delete(key)
      if (this.#recorder.current().find((record) => record.pool.name === pool)?.pool.get(id) === undefined) removed.push({ pool, id })
    }
  }

  #stepUpstream (pool: Pool, record: UpstreamRecord, seconds: number, at: number, changed: UpstreamView[]): void {
    const found = this.#stepTracks(pool, record, seconds, at)
    const view = this.upstream(pool, record)
    found.rates.push(view.rate)
    if (found.rates.length > RATES) found.rates.shift()
    const text = JSON.stringify(view)
    if (text === found.sent) return
    found.sent = text
    changed.push(view)
  }

  #stepTracks (pool: Pool, record: UpstreamRecord, seconds: number, at: number): UpstreamTrack {
    const found = this.#upstream(pool, record)
    found.track.step(seconds)
    if (this.#steps % UPSTREAM_STEP === 0) {
      found.slow.step(seconds * UPSTREAM_STEP)
      found.ring.push(at, pointOf(found.slow, this.#gauges(pool, record).inFlight, 0, 0))
    }
    return found
  }

  #forget (records: readonly PoolRecord[]): { pool: string; id: string }[] {
    const removed: { pool: string; id: string }[] = []
    const living = new Set(records.flatMap((record) => [...record.upstreams.values()]))
    for (const [record, { pool, id, url }] of this.#upstreams) {
      if (living.has(record)) continue
      this.#upstreams.delete(record)
      // One with the same name may have come in its place.
      if (![...living].some(({ upstream }) => upstream.id === id && upstream.url === url)) removed.push({ pool, id })
    }
    return removed
  }

  #poolView (record: PoolRecord): PoolView {
    const { pool } = record
    const figures = this.#pool(record).track.figures()
    const advice = this.#advice(pool.name)
    if (this.#others.size === 0) return poolView(record, figures, advice, [], undefined)
    const members = [...record.upstreams.values()].map((one) => this.#gauges(pool, one))
    return poolView(record, figures, advice, this.#others.pool(pool.name), [...members, ...this.foreign(pool)])
  }

  #pool (record: PoolRecord): PoolTrack {
    let found = this.#pools.get(record)
    if (found === undefined) this.#pools.set(record, found = new PoolTrack(record))
    return found
  }

  #upstream (pool: Pool, record: UpstreamRecord): UpstreamTrack {
    let found = this.#upstreams.get(record)
    if (found === undefined) this.#upstreams.set(record, found = new UpstreamTrack(record, pool))
    return found
  }

  #totalView (pools: readonly PoolView[]): TotalView {
    const { cache, compress } = this.#recorder.plugins
    return {
      ...this.#total.figures(),
      requests: this.#clients.requests.total,
      errors: this.#clients.requests.ofClass(5),
      inFlight: total(pools, ({ inFlight }) => inFlight),
      queued: total(pools, ({ queued }) => queued),
      cache: mergedCache([cacheView(cache), ...this.#others.caches]),
      compress: mergedCompress([compressView([...compress.values()]), ...this.#others.compress])
    }
  }

  #gauges (pool: Pool, record: UpstreamRecord): UpstreamGauges {
    const own = upstreamGauges(pool, record)
    return this.#others.size === 0 ? own : merged(own, this.#others.upstream(pool.name, own.id))
  }
}

function pointOf (track: Track, inFlight: number, queued: number, retries: number): Point {
  return {
    rate: rounded(track.rate), errors: rounded(track.errors), p50: track.last(0.5), p95: track.last(0.95), p99: track.last(0.99),
    inFlight, queued, retries: rounded(retries)
  }
}
