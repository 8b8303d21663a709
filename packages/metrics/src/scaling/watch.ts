import { type Channel, channel } from 'node:diagnostics_channel'
import type { Clock } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import type { PoolRecord } from '../records.ts'
import type { Recorder } from '../recorder.ts'
import { type Advice, type AdviceOptions, Advisor } from './advisor.ts'

/** Advice for one pool; also published on the channel `headgate:pool:advice` whenever `desired` changes. */
export interface PoolAdvice extends Advice {
  readonly pool: string
}

/** Starts and stops upstreams. */
export interface Scaler {
  /**
   * Makes `advice.desired` upstreams of the `advice.ready` that there are. Called when they differ, never again for a pool before
   * the last call has ended and `cooldown` has passed. What it rejects with is logged, and it is called again after the cooldown.
   */
  scale (advice: PoolAdvice): Promise<void> | void
}

export interface ScalingOptions extends AdviceOptions {
  /** By pool: what differs there; `false`: no advice. */
  readonly pools?: Readonly<Record<string, AdviceOptions | false>>
  /** Who acts on the advice. @default nobody */
  readonly scaler?: Scaler
  /** Milliseconds between two calls of the scaler for one pool, 0–3,600,000. @default 30000 */
  readonly cooldown?: number
}

const SECOND = 1000
const advices: Channel = channel('headgate:pool:advice')

interface Watched {
  readonly advisor: Advisor
  advice: PoolAdvice | undefined
  begun: number
  ended: number
  busy: number
  scaling: boolean
  calmUntil: number
}

/** Looks at the pools once a second, advises, and lets the scaler act. */
export class ScalingWatch {
  readonly #recorder: Recorder
  readonly #options: ScalingOptions
  readonly #clock: Clock
  readonly #log: FastifyBaseLogger
  readonly #watched = new Map<PoolRecord, Watched>()
  #stopped = false

  constructor (recorder: Recorder, options: ScalingOptions, clock: Clock, log: FastifyBaseLogger) {
    this.#recorder = recorder
    this.#options = options
    this.#clock = clock
    this.#log = log
  }

  start (): void {
    this.#clock.setTimeout(() => {
      if (this.#stopped) return
      this.start()
      for (const record of this.#recorder.current()) this.#look(record)
    }, SECOND)
  }

  stop (): void {
    this.#stopped = true
  }

  /** The present advice for each pool; `undefined` for pools without, and in the first second. */
  get (pool: string): PoolAdvice | undefined {
    for (const [record, { advice }] of this.#watched) if (record.pool.name === pool) return advice
    return undefined
  }

  all (): PoolAdvice[] {
    return [...this.#watched.values()].flatMap(({ advice }) => advice ?? [])
  }

  #look (record: PoolRecord): void {
    const watched = this.#watch(record)
    if (watched === undefined) return
    const { pool } = record
    const begun = record.count + pool.inFlight + pool.queued + record.shed.total
    const ended = record.count - watched.ended
    const serviceTime = ended === 0 ? NaN : (record.total.sum - watched.busy) / ended
    const arrivals = Math.max(0, begun - watched.begun)
    watched.begun = begun
    watched.ended = record.count
    watched.busy = record.total.sum
    const before = watched.advice?.desired
    const advice = { pool: pool.name, ...watched.advisor.sample({ now: this.#clock.now(), arrivals, serviceTime, ready: pool.ready.length }) }
    watched.advice = advice
    if (before !== undefined && before !== advice.desired) {
      this.#log.info({ advice }, 'another number of upstreams is advised')
      if (advices.hasSubscribers) advices.publish(advice)
    }
    if (advice.desired !== advice.ready) void this.#scale(watched, advice)
  }

  #watch (record: PoolRecord): Watched | undefined {
    const own = this.#options.pools?.[record.pool.name]
    if (own === false) return undefined
    let watched = this.#watched.get(record)
    if (watched === undefined) {
      watched = { advisor: new Advisor({ ...this.#options, ...own }), advice: undefined, begun: 0, ended: 0, busy: 0, scaling: false, calmUntil: -Infinity }
      this.#watched.set(record, watched)
    }
    return watched
  }

  async #scale (watched: Watched, advice: PoolAdvice): Promise<void> {
    const { scaler, cooldown = 30_000 } = this.#options
    if (scaler === undefined || watched.scaling || this.#clock.now() < watched.calmUntil) return
    watched.scaling = true
    try {
      await scaler.scale(advice)
    } catch (error) {
      this.#log.error({ err: error, advice }, 'the scaler failed')
    }
    watched.scaling = false
    watched.calmUntil = this.#clock.now() + cooldown
  }
}
