import { channels, Deadline, type Deadlines, type Lease, type LoadMessage, type Pool, type Upstream } from '@headgate/core'
import type { LoadSettings } from './load-options.ts'
import { readOrca, readOrcaBin } from './orca.ts'
import { readRetryAfter } from './retry-after.ts'

const ORCA = 'endpoint-load-metrics'
const ORCA_BIN = 'endpoint-load-metrics-bin'
const RETRY_AFTER = 'retry-after'
/** A busy upstream is idle again under this share of what made it busy: between the two nothing changes. */
const RELIEF = 0.8
/** Milliseconds that it stays busy at least. */
const HOLD = 5000

/** What one upstream says of its own load, and what follows from it. */
export class LoadReports extends Deadline {
  readonly #pool: Pool
  readonly #upstream: Upstream
  readonly #settings: LoadSettings
  readonly #deadlines: Deadlines
  readonly #mayPause: () => boolean
  #reportedAt = -Infinity
  #busySince = -1
  #refusals = 0
  /** The attempt whose answer was a polite refusal, which is no failure. */
  #refusal: Lease | undefined

  /** `mayPause` says whether one more upstream may be taken out of its pool. */
  constructor (pool: Pool, upstream: Upstream, settings: LoadSettings, deadlines: Deadlines, mayPause: () => boolean) {
    super()
    this.#pool = pool
    this.#upstream = upstream
    this.#settings = settings
    this.#deadlines = deadlines
    this.#mayPause = mayPause
  }

  /** Hot: takes what a response head says. */
  head (lease: Lease, headers: readonly string[]): void {
    const { status } = lease
    const refusing = (status === 503 || status === 429) && this.#settings.retryAfter !== false
    let retryAfter: string | undefined
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i]!
      if ((name.length === 21 || name.length === 25) && this.#settings.header) this.#field(name, headers[i + 1]!)
      else if (refusing && name.length === 11 && name.toLowerCase() === RETRY_AFTER) retryAfter = headers[i + 1]!
    }
    if (retryAfter === undefined) this.#refusals = 0
    else this.#refused(lease, retryAfter)
  }

  /** Takes what the fields after a body say: gRPC servers report there (gRFC A51). */
  trailers (trailers: readonly string[]): void {
    if (this.#settings.header) for (let i = 0; i < trailers.length; i += 2) this.#field(trailers[i]!, trailers[i + 1]!)
  }

  /** Was this attempt answered with a refusal that says when to come again? */
  wasRefused (lease: Lease): boolean {
    return this.#refusal === lease
  }

  /** It reported its utilization by another way (an agent). */
  reported (utilization: number): void {
    this.#upstream.load.reported = Math.min(1, utilization)
    this.#fresh()
  }

  stop (): void {
    this.#deadlines.cancel(this)
  }

  /** Too long ago: says nothing any more. */
  expired (now: number): void {
    const due = this.#reportedAt + this.#settings.expiry
    if (now < due) return this.#deadlines.schedule(this, due)
    this.#upstream.load.reported = undefined
    this.#relieve('its last load report is too old')
    this.#upstream.health.degrade(1, 'its last load report is too old', Infinity, undefined, 'agent')
  }

  #field (name: string, value: string): void {
    const lower = name.toLowerCase()
    if (lower === ORCA) this.#report(readOrca(value, this.#settings.metric))
    else if (lower === ORCA_BIN) this.#report(readOrcaBin(value, this.#settings.metric))
  }

  #report (utilization: number | undefined): void {
    if (utilization === undefined) return
    this.#upstream.load.reported = Math.min(1, utilization)
    this.#fresh()
    this.#publish('header', utilization)
    const { high, factor } = this.#settings
    const now = this.#reportedAt
    if (this.#busySince !== -1) {
      if (utilization < high * RELIEF && now - this.#busySince >= HOLD) this.#relieve(`utilization ${utilization} reported`)
    } else if (utilization >= high && factor < 1 && this.#pool.settings.policy.name !== 'reported-load') {
      // That policy follows the reports by itself.
      this.#busySince = now
      this.#upstream.health.degrade(factor, `busy: utilization ${utilization} reported`, Infinity, { utilization }, 'header')
    }
  }

  #relieve (reason: string): void {
    if (this.#busySince === -1) return
    this.#busySince = -1
    this.#upstream.health.degrade(1, reason, Infinity, undefined, 'header')
  }

  #fresh (): void {
    this.#reportedAt = this.#pool.environment.clock.now()
    if (this.deadlineBucket === -1) this.#deadlines.schedule(this, this.#reportedAt + this.#settings.expiry)
  }

  #refused (lease: Lease, value: string): void {
    const { retryAfter, factor } = this.#settings
    if (retryAfter === false) return
    const { clock } = this.#pool.environment
    const wait = Math.min(readRetryAfter(value, clock.wall()), retryAfter.max)
    if (wait === 0) {
      this.#refusals = 0
      return
    }
    this.#refusal = lease
    const { health } = this.#upstream
    // A trial's refusal is judged by the pool.
    if (lease.trial || ++this.#refusals < retryAfter.after || !health.ready) return
    const { status } = lease
    const evidence = { status, retryAfter: wait, refusals: this.#refusals }
    this.#publish('retry-after', -1)
    // 429 is mostly about one client, 503 about the server (RFC 6585 4, RFC 9110 15.6.4).
    if (status === 503 && this.#mayPause()) health.pause(`busy: ${this.#refusals} answers 503 with Retry-After`, wait, evidence)
    else if (factor < 1) health.degrade(factor, `busy: ${this.#refusals} answers ${status} with Retry-After`, wait, evidence, 'retry-after')
    this.#refusals = 0
  }

  #publish (from: LoadMessage['from'], utilization: number): void {
    if (!channels.load.hasSubscribers) return
    channels.load.publish({ pool: this.#pool.name, upstream: this.#upstream.id, url: this.#upstream.url, from, utilization, source: this.#pool })
  }
}
