import { type Clock, Deadlines, type ForcedState, type Pool, UnknownPoolError, UnknownUpstreamError } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import { type HealthOptions, type HealthSettings, poolHealth } from './options.ts'
import { phases, PoolMonitor } from './pool-monitor.ts'
import { Quorum } from './quorum/quorum.ts'
import { type HealthSnapshot, type PoolSnapshot, poolSnapshot } from './snapshot.ts'

/** What `app.health` is: the health of all pools, for people and for code. */
export class AppHealth {
  readonly #options: HealthOptions
  readonly #settings: HealthSettings
  readonly #log: FastifyBaseLogger
  readonly #monitors = new Map<string, PoolMonitor>()
  /** One schedule for all that goes by the same clock. */
  readonly #deadlines = new Map<Clock, Deadlines>()
  readonly #phase = phases()
  readonly #quorum: Quorum | undefined
  #started = false
  #closing = false

  constructor (options: HealthOptions, settings: HealthSettings, log: FastifyBaseLogger) {
    this.#options = options
    this.#settings = settings
    this.#log = log
    this.#quorum = settings.quorum === undefined ? undefined : new Quorum(settings.quorum, log)
    if (options.sharing !== undefined) {
      options.sharing.taken = (result, past) => {
        for (const [upstream, { check }] of this.#monitors.get(result.pool)?.members ?? []) if (upstream.id === result.upstream) check?.taken(result, past)
      }
    }
  }

  /**
   * Watches a pool. The balancer's are watched by themselves; this is for pools that something else made. Throws for options
   * that cannot work for it.
   */
  watch (pool: Pool): void {
    if (this.#monitors.has(pool.name)) return
    const { clock } = pool.environment
    let deadlines = this.#deadlines.get(clock)
    if (deadlines === undefined) this.#deadlines.set(clock, deadlines = new Deadlines(clock))
    const monitor = new PoolMonitor(pool, poolHealth(this.#options, pool), deadlines, this.#log, this.#phase, this.#options.sharing, this.#quorum)
    this.#monitors.set(pool.name, monitor)
    if (this.#started) monitor.start()
  }

  /** This app can do its work: it is not closing, and there is a ready upstream in any (or all, see `need`) of the required pools. */
  get ready (): boolean {
    if (this.#closing) return false
    const pools = [...this.#monitors.values()].filter(({ pool }) => this.#required(pool.name))
    return this.#settings.need === 'all' ? pools.every(({ pool }) => pool.ready.length > 0) : pools.some(({ pool }) => pool.ready.length > 0)
  }

  get closing (): boolean { return this.#closing }

  /** All that is known, as plain data. */
  snapshot (): HealthSnapshot {
    const pools: Record<string, PoolSnapshot> = {}
    for (const [name, monitor] of this.#monitors) pools[name] = poolSnapshot(monitor, this.#required(name))
    return { ready: this.ready, pools }
  }

  /** Ready upstreams of each required pool. */
  requiredPools (): Record<string, number> {
    const pools: Record<string, number> = {}
    for (const [name, { pool }] of this.#monitors) if (this.#required(name)) pools[name] = pool.ready.length
    return pools
  }

  /**
   * An operator's word: `up`, `drain` or `maintenance` outrank all evidence until they are taken back with `undefined`. Throws
   * `HG_POOL_UNKNOWN` and `HG_UPSTREAM_UNKNOWN`.
   */
  force (poolName: string, upstreamId: string, state: ForcedState | undefined, reason: string = state === undefined ? 'no longer forced' : `forced: ${state}`): void {
    const pool = this.#monitors.get(poolName)?.pool
    if (pool === undefined) throw new UnknownPoolError(poolName, [...this.#monitors.keys()].join(', '))
    const upstream = pool.get(upstreamId)
    if (upstream === undefined) throw new UnknownUpstreamError(upstreamId, poolName)
    upstream.health.force(state, reason)
  }

  /** Begins to check; the plugin calls it. */
  start (): void {
    this.#started = true
    for (const monitor of this.#monitors.values()) monitor.start()
    this.#quorum?.start()
  }

  /** Not ready any more, and no checks; the plugin calls it. */
  close (): void {
    this.#closing = true
    for (const monitor of this.#monitors.values()) monitor.stop()
    this.#quorum?.stop()
  }

  /** Resolves when every pool whose members wait for their first check has a ready one, or when `readyTimeout` is over. */
  async settled (): Promise<void> {
    const waiting = [...this.#monitors.values()].filter(({ settings }) => settings.check?.initial === 'wait').map(({ pool }) => pool)
    if (waiting.length === 0 || this.#settings.readyTimeout === 0) return
    // The clock's timers let a process end that has nothing else to do, and here it has.
    const hold = setInterval(() => {}, 60_000)
    try {
      await Promise.all(waiting.map((pool) => this.#oneReady(pool)))
    } finally {
      clearInterval(hold)
    }
  }

  #oneReady (pool: Pool): Promise<void> {
    if (pool.ready.length > 0) return Promise.resolve()
    return new Promise((resolve) => {
      const { clock } = pool.environment
      const look = (): void => {
        // The pool works out who is ready after it has told of the change.
        if (pool.upstreams.some(({ ready }) => ready)) end()
      }
      const end = (): void => {
        clock.clearTimeout(timer)
        pool.off('state', look)
        resolve()
      }
      const timer = clock.setTimeout(() => {
        this.#log.warn({ pool: pool.name, readyTimeout: this.#settings.readyTimeout }, 'no upstream has passed its first check yet: the app starts all the same')
        end()
      }, this.#settings.readyTimeout)
      pool.on('state', look)
    })
  }

  #required (name: string): boolean {
    return this.#settings.required?.includes(name) ?? true
  }
}
