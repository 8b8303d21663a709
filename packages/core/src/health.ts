import type { Environment } from './clock.ts'

/**
 * What an upstream may be used for. `up`: everything. `degraded`: a smaller share. `ejected`: nothing, by evidence of real
 * traffic, for a time, then one request at a time until one succeeds. `down`: nothing, by evidence of active checks, until
 * they succeed. `draining`: no new work but what is bound to it. `maintenance`: nothing, by an operator's word.
 */
export type HealthState = 'up' | 'degraded' | 'ejected' | 'down' | 'draining' | 'maintenance'

/** One flip of the verdict, as kept in the history and published. */
export interface HealthChange {
  readonly from: HealthState
  readonly to: HealthState
  readonly reason: string
  /** An operator's word decided, not evidence. */
  readonly forced: boolean
  /** Milliseconds since the Unix epoch. */
  readonly at: number
}

export interface EjectionTimes {
  /** Milliseconds of the first ejection; the n-th lasts n times as long. @default 30000 */
  readonly base: number
  /** Milliseconds that no ejection exceeds. @default 300000 */
  readonly max: number
}

/** Operator's words: `up` outranks all evidence; `drain` and `maintenance` end new work. */
export type ForcedState = 'up' | 'drain' | 'maintenance'

const HISTORY = 32

/**
 * The verdict on one upstream, with its reasons: the only writer of its state. Evidence comes in through the methods; each
 * returns whether the verdict flipped. Precedence: operator, removal (drain), active checks, passive ejection, degradation.
 */
export class Health {
  readonly #environment: Environment
  readonly #changed: (change: HealthChange | undefined) => void
  readonly history: HealthChange[] = []

  #state: HealthState = 'up'
  #reason = 'initial state'
  #since: number
  #forced: ForcedState | undefined
  #forcedReason = ''
  #removal: string | undefined
  #down: string | undefined
  #successes = 0
  #failures = 0
  #ejection: { reason: string; until: number; times: EjectionTimes } | undefined
  #ejections = 0
  #ejectedAt = 0
  #degraded: { factor: number; reason: string; until: number } | undefined

  /** `changed` is called on each flip, after the state has changed; with `undefined` when only `factor` or `ejectedUntil` did. */
  constructor (environment: Environment, changed: (change: HealthChange | undefined) => void) {
    this.#environment = environment
    this.#changed = changed
    this.#since = environment.clock.wall()
  }

  get state (): HealthState { return this.#state }
  get reason (): string { return this.#reason }
  /** When the state began, in milliseconds since the Unix epoch. */
  get since (): number { return this.#since }
  get forced (): ForcedState | undefined { return this.#forced }
  /** May be given new work by the policy. */
  get ready (): boolean { return this.#state === 'up' || this.#state === 'degraded' }
  /** Share of its weight that it should get: 1 unless degraded. */
  get factor (): number { return this.#state === 'degraded' ? this.#degraded!.factor : 1 }
  /** Ejections that still count for the length of the next one. */
  get ejections (): number { return this.#ejections }
  /** Clock time when the ejection ends; `Infinity` when it is not ejected. */
  get ejectedUntil (): number { return this.#state === 'ejected' ? this.#ejection!.until : Infinity }
  /** Consecutive results of active checks, the last one included. */
  get streak (): { readonly successes: number; readonly failures: number } {
    return { successes: this.#successes, failures: this.#failures }
  }

  /** Active checks will decide: down until they succeed (`wait` is for upstreams that were never checked). */
  startDown (reason: string): boolean {
    this.#down = reason
    return this.#settle()
  }

  /** An active check's result. `rise` successes in a row lift `down`; `fall` failures in a row cause it. */
  probed (ok: boolean, reason: string, thresholds: { readonly rise: number; readonly fall: number }): boolean {
    if (ok) {
      this.#failures = 0
      this.#successes++
      if (this.#successes >= thresholds.rise) {
        this.#down = undefined
        // As in Envoy: a passed series of checks is newer evidence than the errors that ejected it.
        this.#ejection = undefined
      }
    } else {
      this.#successes = 0
      this.#failures++
      if (this.#failures >= thresholds.fall) this.#down = reason
    }
    return this.#settle(ok ? reason : undefined)
  }

  /**
   * Takes the upstream out for a time, by evidence of real traffic: base × number of ejections, at most `max`, ± 10 % so
   * that many proxies do not come back at one moment. Good time is forgiven: the count falls by one per `base` ms spent in.
   */
  eject (reason: string, times: EjectionTimes = { base: 30_000, max: 300_000 }): boolean {
    const { clock, random } = this.#environment
    const now = clock.now()
    if (this.#ejection === undefined && this.#ejections > 0) {
      this.#ejections = Math.max(0, this.#ejections - Math.floor((now - this.#ejectedAt) / times.base))
    }
    this.#ejections++
    const length = Math.min(times.max, times.base * this.#ejections) * (0.9 + 0.2 * random())
    this.#ejection = { reason, until: now + length, times }
    this.#ejectedAt = now + length
    return this.#settle()
  }

  /** The half-open trial's result: back in, or out again for longer. */
  tried (ok: boolean, reason: string): boolean {
    const ejection = this.#ejection
    if (ejection === undefined) return false
    if (!ok) return this.eject(reason, ejection.times)
    this.#ejection = undefined
    return this.#settle(reason)
  }

  /** Lifts a passive ejection now. */
  readmit (reason: string): boolean {
    this.#ejection = undefined
    return this.#settle(reason)
  }

  /**
   * Lowers its share to `factor` (0 < factor < 1) of its weight for `ms` milliseconds, `Infinity` until told otherwise;
   * 1 restores it.
   */
  degrade (factor: number, reason: string, ms: number): boolean {
    this.#degraded = factor >= 1 ? undefined : { factor, reason, until: this.#environment.clock.now() + ms }
    return this.#settle(reason)
  }

  /** The upstream itself asked for a pause (429 or 503 with Retry-After): as an ejection, but not counted against it. */
  pause (reason: string, ms: number): boolean {
    this.#ejection = { reason, until: this.#environment.clock.now() + ms, times: this.#ejection?.times ?? { base: ms, max: ms } }
    return this.#settle()
  }

  /** An operator's word, or `undefined` to let evidence decide again. */
  force (state: ForcedState | undefined, reason: string): boolean {
    this.#forced = state
    this.#forcedReason = reason
    return this.#settle(reason)
  }

  /** It is leaving the pool (or `undefined`: it stays after all). */
  leave (reason: string | undefined): boolean {
    this.#removal = reason
    return this.#settle(reason)
  }

  /** Lets time take effect (a degradation that ended). The pool calls it when it looks at its members. */
  tick (): boolean {
    if (this.#degraded === undefined || this.#environment.clock.now() < this.#degraded.until) return false
    this.#degraded = undefined
    return this.#settle('degradation ended')
  }

  #verdict (): [HealthState, string] {
    if (this.#forced === 'maintenance') return ['maintenance', this.#forcedReason]
    if (this.#removal !== undefined) return ['draining', this.#removal]
    if (this.#forced === 'drain') return ['draining', this.#forcedReason]
    if (this.#forced === 'up') return ['up', this.#forcedReason]
    if (this.#down !== undefined) return ['down', this.#down]
    if (this.#ejection !== undefined) return ['ejected', this.#ejection.reason]
    if (this.#degraded !== undefined) return ['degraded', this.#degraded.reason]
    return ['up', '']
  }

  #settle (good = 'recovered'): boolean {
    const [state, why] = this.#verdict()
    if (state === this.#state) {
      // No flip, but its share or its return may have moved.
      if (state === 'degraded' || state === 'ejected') {
        this.#reason = why
        this.#changed(undefined)
      }
      return false
    }
    const reason = why === '' ? good : why
    const change: HealthChange = {
      from: this.#state, to: state, reason, forced: this.#forced !== undefined, at: this.#environment.clock.wall()
    }
    this.#state = state
    this.#reason = reason
    this.#since = change.at
    this.history.push(change)
    if (this.history.length > HISTORY) this.history.shift()
    this.#changed(change)
    return true
  }
}
