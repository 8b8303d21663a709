import {
  type AttemptMessage, type ComparisonMessage, type ConnectMessage, type HealthMessage, type MembershipMessage, type MirrorMessage, type Pool,
  type QueueMessage, type RetryMessage, type ShedMessage, type StickyMessage, type Upstream, channels
} from '@headgate/core'
import { PluginRecords } from './plugin-records.ts'
import { PoolRecord, RouteRecord, UpstreamRecord, WordCounts } from './records.ts'

export interface RecorderOptions {
  /** Upper bounds of the latency histograms in milliseconds, ascending. */
  readonly bounds: readonly number[]
  /** Upstreams of one pool that get figures of their own; those beyond count in their pool's alone. */
  readonly upstreamLimit: number
  /** Routes that get figures of their own; those beyond count as `other`. */
  readonly routeLimit: number
}

/** The pools whose messages are taken: those of one app, though channels are the process's. */
export type Pools = () => ReadonlyMap<string, Pool> | undefined

/** Listens to the channels and adds up. Nothing is published by the others until `start`, nor after `stop`. */
export class Recorder {
  readonly bounds: readonly number[]
  readonly pools: Map<Pool, PoolRecord> = new Map()
  readonly routes: Map<string, RouteRecord> = new Map()
  readonly plugins: PluginRecords
  readonly #source: Pools
  readonly #upstreamLimit: number
  readonly #routeLimit: number

  constructor (source: Pools, options: RecorderOptions) {
    this.#source = source
    this.bounds = options.bounds
    this.#upstreamLimit = options.upstreamLimit
    this.#routeLimit = options.routeLimit
    this.plugins = new PluginRecords(this)
  }

  start (): void {
    channels.attempt.subscribe(this.#onAttempt)
    channels.connect.subscribe(this.#onConnect)
    channels.queue.subscribe(this.#onQueue)
    channels.health.subscribe(this.#onHealth)
    channels.membership.subscribe(this.#onMembership)
    channels.retry.subscribe(this.#onRetry)
    channels.shed.subscribe(this.#onShed)
    channels.sticky.subscribe(this.#onSticky)
    channels.mirror.subscribe(this.#onMirror)
    channels.comparison.subscribe(this.#onComparison)
    this.plugins.start()
  }

  stop (): void {
    channels.attempt.unsubscribe(this.#onAttempt)
    channels.connect.unsubscribe(this.#onConnect)
    channels.queue.unsubscribe(this.#onQueue)
    channels.health.unsubscribe(this.#onHealth)
    channels.membership.unsubscribe(this.#onMembership)
    channels.retry.unsubscribe(this.#onRetry)
    channels.shed.unsubscribe(this.#onShed)
    channels.sticky.unsubscribe(this.#onSticky)
    channels.mirror.unsubscribe(this.#onMirror)
    channels.comparison.unsubscribe(this.#onComparison)
    this.plugins.stop()
  }

  /** A response of the app to a client went out. */
  response (route: string | undefined, method: string, status: number, duration: number): void {
    let name = route ?? 'unmatched'
    let record = this.routes.get(name)
    if (record === undefined) {
      if (this.routes.size >= this.#routeLimit) name = 'other'
      record = this.routes.get(name)
      if (record === undefined) this.routes.set(name, record = new RouteRecord(this.bounds))
    }
    record.requests.add(method, status)
    record.duration.observe(duration)
  }

  /** The record of each pool of the app, quiet ones included. */
  current (): PoolRecord[] {
    const records: PoolRecord[] = []
    for (const pool of this.#source()?.values() ?? []) {
      const record = this.pool(pool)!
      for (const upstream of pool.upstreams) this.upstream(record, upstream)
      records.push(record)
    }
    return records
  }

  /** `undefined` for a pool of another app. */
  pool (pool: Pool): PoolRecord | undefined {
    let record = this.pools.get(pool)
    if (record !== undefined) return record
    if (this.#source()?.get(pool.name) !== pool) return undefined
    this.pools.set(pool, record = new PoolRecord(pool, this.bounds))
    return record
  }

  /** `undefined` when it has left the pool, or is beyond the limit. */
  upstream (pool: PoolRecord, upstream: Upstream): UpstreamRecord | undefined {
    const record = pool.upstreams.get(upstream)
    if (record !== undefined) return record
    // An attempt that outlived its upstream must not bring its figures back.
    if (pool.upstreams.size >= this.#upstreamLimit || pool.pool.get(upstream.id) !== upstream) return undefined
    const created = new UpstreamRecord(upstream, this.bounds)
    pool.upstreams.set(upstream, created)
    return created
  }

  /** By pool and id, as messages name them. */
  member (source: Pool, id: string): UpstreamRecord | undefined {
    const upstream = source.get(id)
    const pool = upstream === undefined ? undefined : this.pool(source)
    return pool === undefined ? undefined : this.upstream(pool, upstream!)
  }

  readonly #onAttempt = (message: unknown): void => {
    const attempt = message as AttemptMessage
    const pool = this.pool(attempt.source)
    if (pool === undefined) return
    pool.add(attempt)
    this.upstream(pool, attempt.lease.upstream)?.add(attempt)
  }

  readonly #onConnect = (message: unknown): void => {
    const { source, upstream: id, latency } = message as ConnectMessage
    this.member(source, id)?.connect.observe(latency)
  }

  readonly #onQueue = (message: unknown): void => {
    const { source, wait, outcome } = message as QueueMessage
    const pool = this.pool(source)
    pool?.queueWait.observe(wait)
    pool?.departures.add(outcome)
  }

  readonly #onHealth = (message: unknown): void => {
    const { source, upstream: id, to } = message as HealthMessage
    this.member(source, id)?.transitions.add(to)
  }

  readonly #onMembership = (message: unknown): void => {
    const { source, upstream: id, change } = message as MembershipMessage
    if (change !== 'removed') return
    const pool = this.pools.get(source)
    for (const upstream of pool?.upstreams.keys() ?? []) if (upstream.id === id && source.get(id) !== upstream) pool!.upstreams.delete(upstream)
  }

  readonly #onRetry = (message: unknown): void => {
    const { source, reason, refused } = message as RetryMessage
    const pool = this.pool(source)
    if (pool === undefined) return
    if (refused) pool.budgetExhausted++
    else pool.retries.add(reason)
  }

  readonly #onShed = (message: unknown): void => {
    const { source, reason } = message as ShedMessage
    this.pool(source)?.shed.add(reason)
  }

  readonly #onMirror = (message: unknown): void => {
    const { source, result, reason } = message as MirrorMessage
    const pool = this.pool(source)
    pool?.mirrored.add(result)
    if (result === 'dropped') pool?.undelivered.add(reason)
  }

  readonly #onComparison = (message: unknown): void => {
    const { source, result } = message as ComparisonMessage
    this.pool(source)?.compared.add(result)
  }

  readonly #onSticky = (message: unknown): void => {
    const { source, by, result } = message as StickyMessage
    const sticky = this.pool(source)?.sticky
    if (sticky === undefined) return
    let counts = sticky.get(by)
    // Kinds of affinity are few; a user's own ones are bounded all the same.
    if (counts === undefined && sticky.size < 16) sticky.set(by, counts = new WordCounts())
    counts?.add(result)
  }
}
