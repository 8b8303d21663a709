import type { Clock, HealthState, Pool, Upstream } from '@headgate/core'
import {
  type CacheRecord, type EncodingRecord, type PoolAdvice, type PoolRecord, type Recorder, RouteRecord, type UpstreamRecord
} from '@headgate/metrics'
import { etagOf, operatorOf, isLeaving } from './state.ts'
import type { AdviceView, CacheView, CompressView, Point, PoolView, Snapshot, Tick, TotalView, UpstreamView } from './model.ts'
import { Ring } from './ring.ts'
import { Track, rounded } from './track.ts'

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
  view: UpstreamView
  /** The view as it was last sent. */
  sent = ''
  /** Rates of the last seconds. */
  readonly rates: number[] = []

  constructor (record: UpstreamRecord, pool: Pool) {
    const source = { get count () { return record.count }, get errors () { return record.errors }, latencies: record.total }
    this.track = new Track(source)
    this.slow = new Track(source)
    this.view = upstreamView(pool, record, this.track)
  }
}

const limit = (value: number): number | null => value === Infinity ? null : value

function upstreamView (pool: Pool, { upstream, count, errors, sent, received }: UpstreamRecord, track: Track): UpstreamView {
  const { health } = upstream
  const { open, idle } = upstream.transport.stats
  return {
    pool: pool.name, id: upstream.id, url: upstream.url,
    state: health.state, reason: health.reason, since: health.since, operator: operatorOf(upstream), leaving: isLeaving(upstream),
    ready: upstream.ready, weight: rounded(upstream.weight) ?? 0, configuredWeight: upstream.configuredWeight,
    zone: upstream.zone ?? '', priority: upstream.priority, maxInFlight: limit(upstream.maxInFlight),
    inFlight: upstream.load.inFlight, connections: { open, idle }, requests: count, errors, sent, received,
    ...track.figures()
  }
}

function adviceView (advice: PoolAdvice | undefined): AdviceView | null {
  if (advice === undefined) return null
  const { desired, utilisation, arrivalRate, reason } = advice
  return { desired, utilisation: rounded(utilisation) ?? 0, arrivalRate: rounded(arrivalRate) ?? 0, reason }
}

function poolView ({ pool, count, errors, retried, budgetExhausted, shed }: PoolRecord, track: Track, advice: PoolAdvice | undefined): PoolView {
  const { upstreams } = pool
  const states: Record<HealthState, number> = { up: 0, degraded: 0, ejected: 0, down: 0, draining: 0, maintenance: 0 }
  for (const { health } of upstreams) states[health.state]++
  return {
    name: pool.name, policy: pool.settings.policy.name, etag: etagOf(pool), upstreams: upstreams.length, ready: pool.ready.length, states,
    panic: pool.panic, inFlight: pool.inFlight, maxInFlight: limit(pool.settings.maxInFlight), queued: pool.queued,
    requests: count, errors, retries: retried, budgetExhausted, shed: shed.total, retryBudget: pool.retryBudget.available,
    ...track.figures(), advice: adviceView(advice)
  }
}

/** Looks at the records once a second and keeps what became of them. */
export class Sampler {
  readonly startedAt: number
  readonly #recorder: Recorder
  readonly #clock: Clock
  readonly #advice: (pool: string) => PoolAdvice | undefined
  readonly #pools = new Map<PoolRecord, PoolTrack>()
  readonly #upstreams = new Map<UpstreamRecord, UpstreamTrack>()
  readonly #clients: RouteRecord
  readonly #total: Track
  readonly #totalRing = new Ring(POOL_POINTS, SECOND)
  #steps = 0
  #last: number

  /** `advice`: how many upstreams a pool should have, where somebody says so. */
  constructor (recorder: Recorder, clock: Clock, advice: (pool: string) => PoolAdvice | undefined) {
    this.#recorder = recorder
    this.#clock = clock
    this.#advice = advice
    this.startedAt = clock.wall()
    this.#last = clock.now()
    const clients = this.#clients = new RouteRecord(recorder.bounds)
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

  /** One step; called once a second. */
  step (): Tick {
    const now = this.#clock.now()
    const seconds = Math.max(0.001, (now - this.#last) / SECOND)
    this.#last = now
    this.#steps++
    const at = this.#clock.wall()
    const records = this.#recorder.current()
    const points: Record<string, Point> = {}
    const removed = this.#forget(records)
    const changed: UpstreamView[] = []
    const pools = records.map((record) => {
      const found = this.#pool(record)
      found.track.step(seconds)
      const point = pointOf(found.track, record.pool.inFlight, record.pool.queued, (record.retried - found.retries) / seconds)
      found.retries = record.retried
      found.ring.push(at, point)
      points[record.pool.name] = point
      for (const upstream of record.upstreams.values()) this.#stepUpstream(record.pool, upstream, seconds, at, changed)
      return this.#poolView(record)
    })
    this.#total.step(seconds)
    const total = this.#totalView(pools)
    const retries = Object.values(points).reduce((sum, point) => sum + (point.retries ?? 0), 0)
    points[''] = pointOf(this.#total, total.inFlight, total.queued, retries)
    this.#totalRing.push(at, points['']!)
    return { at, total, pools, upstreams: changed, removed, points }
  }

  /** Everything as it is now, without a step. */
  snapshot (): Omit<Snapshot, 'version' | 'can'> {
    const records = this.#recorder.current()
    const pools = records.map((record) => this.#poolView(record))
    const tracks = records.flatMap((record) => [...record.upstreams.values()].map((upstream) => this.#upstream(record.pool, upstream)))
    const upstreams = records.flatMap((record) => [...record.upstreams.values()].map((upstream) => this.upstream(record.pool, upstream)))
    const rates = upstreams.length > MANY ? [] : tracks.map(({ rates }) => rates)
    return { at: this.#clock.wall(), startedAt: this.startedAt, total: this.#totalView(pools), pools, upstreams, rates }
  }

  pool (pool: Pool): PoolView {
    return this.#poolView(this.#recorder.pool(pool)!)
  }

  upstream (pool: Pool, record: UpstreamRecord): UpstreamView {
    return upstreamView(pool, record, this.#upstream(pool, record).track)
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

  #stepUpstream (pool: Pool, record: UpstreamRecord, seconds: number, at: number, changed: UpstreamView[]): void {
    const found = this.#upstream(pool, record)
    found.track.step(seconds)
    if (this.#steps % UPSTREAM_STEP === 0) {
      found.slow.step(seconds * UPSTREAM_STEP)
      found.ring.push(at, pointOf(found.slow, record.upstream.load.inFlight, 0, 0))
    }
    const view = upstreamView(pool, record, found.track)
    found.rates.push(view.rate)
    if (found.rates.length > RATES) found.rates.shift()
    const text = JSON.stringify(view)
    if (text === found.sent) return
    found.sent = text
    changed.push(view)
  }

  #forget (records: readonly PoolRecord[]): { pool: string; id: string }[] {
    const removed: { pool: string; id: string }[] = []
    const living = new Set(records.flatMap((record) => [...record.upstreams.values()]))
    for (const [record, { view }] of this.#upstreams) {
      if (living.has(record)) continue
      this.#upstreams.delete(record)
      // One with the same name may have come in its place.
      if (![...living].some(({ upstream }) => upstream.id === view.id && upstream.url === view.url)) removed.push({ pool: view.pool, id: view.id })
    }
    return removed
  }

  #poolView (record: PoolRecord): PoolView {
    return poolView(record, this.#pool(record).track, this.#advice(record.pool.name))
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
      inFlight: sum(pools.map(({ inFlight }) => inFlight)),
      queued: sum(pools.map(({ queued }) => queued)),
      cache: cacheView(cache),
      compress: compressView([...compress.values()])
    }
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** `null` until the cache says something: there may be none. */
function cacheView (cache: CacheRecord): CacheView | null {
  if (cache.lookups.total + cache.stored + cache.refused === 0) return null
  const { hitRatio, lookups, servedBytes, storedBytes, evictions } = cache
  return { hitRatio: rounded(hitRatio), lookups: Object.fromEntries(lookups.entries()), servedBytes, storedBytes, evictions }
}

function compressView (encodings: readonly EncodingRecord[]): CompressView | null {
  if (encodings.length === 0) return null
  return {
    bytesIn: sum(encodings.map(({ bytesIn }) => bytesIn)),
    bytesOut: sum(encodings.map(({ bytesOut }) => bytesOut)),
    responses: sum(encodings.map(({ responses }) => responses))
  }
}

function pointOf (track: Track, inFlight: number, queued: number, retries: number): Point {
  return {
    rate: rounded(track.rate), errors: rounded(track.errors), p50: track.last(0.5), p95: track.last(0.95), p99: track.last(0.99),
    inFlight, queued, retries: rounded(retries)
  }
}
