import type { Environment } from './clock.ts'

/**
 * What an upstream may be used for. `up`: everything. `degraded`: a smaller share. `ejected`: nothing, by evidence of real
 * traffic, for a time, then one request at a time until one succeeds. `down`: nothing, by evidence of active checks, until
 * they succeed. `draining`: no new work but what is bound to it. `maintenance`: nothing, by an operator's word.
 */
export type HealthState = 'up' | 'degraded' | 'ejected' | 'down' | 'draining' | 'maintenance'

/**
 * Who decided: active checks, real traffic (trials included), the upstream's own reports of its load or state, an operator, or
 * the pool (removal, passing of time).
 */
export type EvidenceSource = 'check' | 'traffic' | 'report' | 'operator' | 'pool'

/** The figures behind a verdict: counts, ratios, milliseconds, statuses. */
export type Evidence = Readonly<Record<string, string | number>>

/** One flip of the verdict, as kept in the history and published. */
export interface HealthChange {
  readonly from: HealthState
  readonly to: HealthState
  readonly reason: string
  readonly decidedBy: EvidenceSource
  readonly evidence: Evidence
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
  /** `rise` passed checks end it early: right for failures that a check would meet as well (no connection, no answer). @default false */
  readonly checksLift?: boolean
}

/** Operator's words: `up` outranks all evidence; `drain` and `maintenance` end new work. */
export type ForcedState = 'up' | 'drain' | 'maintenance'

/** What an upstream may say of itself, through an agent for example. */
export type ReportedState = 'draining' | 'maintenance' | 'down'

const HISTORY = 32
const NOTHING: Evidence = Object.freeze({})

interface Word {
  readonly reason: string
  readonly decidedBy: EvidenceSource
  readonly evidence: Evidence
}

interface Ejection extends Word {
  readonly until: number
  readonly times: EjectionTimes
}

interface Degradation extends Word {
  readonly factor: number
  readonly until: number
}

/**
 * The verdict on one upstream, with its reasons: the only writer of its state. Evidence comes in through the methods; each
 * returns whether the verdict flipped. Precedence: operator, removal (drain), its source's word that it is about to go, the
 * upstream's own word of maintenance, active checks, its own word of being down or draining, passive ejection, degradation.
 */
export class Health {
  readonly #environment: Environment
  readonly #changed: (change: HealthChange | undefined) => void
  readonly history: HealthChange[] = []

  #state: HealthState = 'up'
  #reason = 'initial state'
  #decidedBy: EvidenceSource = 'pool'
  #since: number
  #forced: ForcedState | undefined
  #forcedReason = ''
  #removal: string | undefined
  #retired: string | undefined
  #down: Word | undefined
  #said: (Word & { readonly state: ReportedState }) | undefined
  #successes = 0
  #failures = 0
  #successesSinceEjection = 0
  #ejection: Ejection | undefined
  #relapses = 0
  #failedTrials = 0
  /** Clock time since when it has been back from its last ejection. */
  #backAt = 0
  readonly #degradations = new Map<string, Degradation>()

  /** `changed` is called on each flip, after the state has changed; with `undefined` when only `factor` or `ejectedUntil` did. */
  constructor (environment: Environment, changed: (change: HealthChange | undefined) => void) {
    this.#environment = environment
    this.#changed = changed
    this.#since = environment.clock.wall()
  }

  get state (): HealthState { return this.#state }
  get reason (): string { return this.#reason }
  /** Who decided on the state. */
  get decidedBy (): EvidenceSource { return this.#decidedBy }
  /** When the state began, in milliseconds since the Unix epoch. */
  get since (): number { return this.#since }
  get forced (): ForcedState | undefined { return this.#forced }
  /** May be given new work by the policy. */
  get ready (): boolean { return this.#state === 'up' || this.#state === 'degraded' }
  /** Share of its weight that it should get: 1 unless degraded. */
  get factor (): number { return this.#state === 'degraded' ? this.#worst()!.factor : 1 }
  /** Ejections that still count for the length of the next one. */
  get ejections (): number { return this.#relapses + (this.#ejection === undefined ? 0 : this.#failedTrials) }
  /** Clock time when the ejection ends; `Infinity` when it is not ejected. */
  get ejectedUntil (): number { return this.#state === 'ejected' ? this.#ejection!.until : Infinity }
  /** Active checks say that it is down, whatever outranks them. */
  get checkedDown (): boolean { return this.#down !== undefined }
  /** Consecutive results of active checks, the last one included. */
  get streak (): { readonly successes: number; readonly failures: number } {
    return { successes: this.#successes, failures: this.#failures }
  }

  /** Active checks will decide: down until they succeed (`wait` is for upstreams that were never checked). */
  startDown (reason: string): boolean {
    this.#down = { reason, decidedBy: 'check', evidence: NOTHING }
    return this.#settle('check')
  }

  /** Nobody checks any more: what active checks said is forgotten. */
  unchecked (reason: string): boolean {
    this.#down = undefined
    this.#successes = this.#failures = 0
    return this.#settle('pool', reason)
  }

  /** An active check's result. `rise` successes in a row lift `down`; `fall` failures in a row cause it. */
  probed (ok: boolean, reason: string, thresholds: { readonly rise: number; readonly fall: number }, evidence: Evidence = NOTHING): boolean {
    if (ok) {
      this.#failures = 0
      this.#successes++
      this.#successesSinceEjection++
      // Passed checks after an outage, or after failures of the same kind, are newer evidence than what ejected it. A server
      // that answers checks and fails real requests is left to its trial.
      if (this.#successesSinceEjection >= thresholds.rise && (this.#ejection?.times.checksLift === true || this.#down !== undefined)) this.#lift()
      if (this.#successes >= thresholds.rise) this.#down = undefined
    } else {
      this.#successes = this.#successesSinceEjection = 0
      this.#failures++
      if (this.#failures >= thresholds.fall) this.#down = { reason, decidedBy: 'check', evidence: { ...evidence, failures: this.#failures } }
    }
    return ok ? this.#settle('check', reason, { ...evidence, successes: this.#successes }) : this.#settle('check')
  }

  /** Its checks pass, and it stays down all the same: says why. */
  heldDown (reason: string): void {
    if (this.#down === undefined) return
    this.#down = { ...this.#down, reason }
    if (this.#state === 'down') this.#reason = reason
  }

  /**
   * Takes the upstream out for a time, by evidence of real traffic: base × number of ejections, at most `max`, ± 10 % so
   * that many proxies do not come back at one moment. A failed trial counts as one more until it is back. Good time is forgiven:
   * the count falls by one per `max` ms spent in, so that one that is good and bad in shorter turns than that is out for longer each time.
   */
  eject (reason: string, times: EjectionTimes = { base: 30_000, max: 300_000 }, evidence: Evidence = NOTHING): boolean {
    const { clock, random } = this.#environment
    const now = clock.now()
    if (this.#ejection === undefined) {
      this.#relapses = Math.max(0, this.#relapses - Math.floor((now - this.#backAt) / times.max)) + 1
      this.#failedTrials = 0
    } else this.#failedTrials++
    const ejections = this.#relapses + this.#failedTrials
    const length = Math.min(times.max, times.base * ejections * (0.9 + 0.2 * random()))
    this.#ejection = { reason, decidedBy: 'traffic', evidence: { ...evidence, ejections, milliseconds: Math.round(length) }, until: now + length, times }
    this.#successesSinceEjection = 0
    return this.#settle('traffic')
  }

  /** The half-open trial's result: back in, or out again for longer. */
  tried (ok: boolean, reason: string): boolean {
    const ejection = this.#ejection
    if (ejection === undefined) return false
    if (!ok) return this.eject(reason, ejection.times)
    this.#lift()
    return this.#settle('traffic', reason)
  }

  /** Lifts a passive ejection now. */
  readmit (reason: string): boolean {
    this.#lift()
    return this.#settle('operator', reason)
  }

  /**
   * Lowers its share to `factor` (0 < factor < 1) of its weight for `ms` milliseconds, `Infinity` until told otherwise;
   * 1 restores it. Each `key` is a voice of its own; the lowest factor counts.
   */
  degrade (factor: number, reason: string, ms: number, evidence: Evidence = NOTHING, key = '', decidedBy: EvidenceSource = 'report'): boolean {
    if (factor >= 1) this.#degradations.delete(key)
    else this.#degradations.set(key, { factor, reason, decidedBy, evidence: { ...evidence, factor }, until: this.#environment.clock.now() + ms })
    return this.#settle(decidedBy, reason, evidence)
  }

  /** The upstream itself asked for a pause (429 or 503 with Retry-After): as an ejection, but not counted against it. */
  pause (reason: string, ms: number, evidence: Evidence = NOTHING): boolean {
    this.#ejection = {
      reason, decidedBy: 'report', evidence: { ...evidence, milliseconds: ms },
      until: this.#environment.clock.now() + ms, times: this.#ejection?.times ?? { base: ms, max: ms }
    }
    this.#successesSinceEjection = 0
    return this.#settle('report')
  }

  /** The upstream's own word on its state, or `undefined`: it has nothing to say any more. */
  say (state: ReportedState | undefined, reason: string): boolean {
    this.#said = state === undefined ? undefined : { state, reason, decidedBy: 'report', evidence: NOTHING }
    return this.#settle('report', reason)
  }

  /** An operator's word, or `undefined` to let evidence decide again. */
  force (state: ForcedState | undefined, reason: string): boolean {
    this.#forced = state
    this.#forcedReason = reason
    return this.#settle('operator', reason)
  }

  /** It is about to leave the pool. */
  get leaving (): boolean { return this.#removal !== undefined }

  /** It is leaving the pool (or `undefined`: it stays after all). */
  leave (reason: string | undefined): boolean {
    this.#removal = reason
    return this.#settle('pool', reason)
  }

  /** Who named it as a member says that it is about to go (or `undefined`: not any more): no new work but what is bound to it. */
  retire (reason: string | undefined): boolean {
    this.#retired = reason
    return this.#settle('pool', 'stays after all')
  }

  /** Lets time take effect (a degradation that ended). The pool calls it when it looks at its members. */
  tick (): boolean {
    const now = this.#environment.clock.now()
    let ended = false
    for (const [key, { until }] of this.#degradations) if (now >= until) ended = this.#degradations.delete(key)
    return ended && this.#settle('pool', 'degradation ended')
  }

  #lift (): void {
    if (this.#ejection !== undefined) this.#backAt = this.#environment.clock.now()
    this.#ejection = undefined
  }

  #worst (): Degradation | undefined {
    let worst: Degradation | undefined
    for (const degradation of this.#degradations.values()) if (worst === undefined || degradation.factor < worst.factor) worst = degradation
    return worst
  }

  #verdict (): [HealthState, Word | undefined] {
    const operator: Word = { reason: this.#forcedReason, decidedBy: 'operator', evidence: NOTHING }
    const said = this.#said
    if (this.#forced === 'maintenance') return ['maintenance', operator]
    if (this.#removal !== undefined) return ['draining', { reason: this.#removal, decidedBy: 'pool', evidence: NOTHING }]
    if (this.#forced === 'drain') return ['draining', operator]
    if (this.#forced === 'up') return ['up', operator]
    if (this.#retired !== undefined) return ['draining', { reason: this.#retired, decidedBy: 'pool', evidence: NOTHING }]
    if (said?.state === 'maintenance') return ['maintenance', said]
    if (this.#down !== undefined) return ['down', this.#down]
    if (said !== undefined) return [said.state, said]
    if (this.#ejection !== undefined) return ['ejected', this.#ejection]
    const worst = this.#worst()
    return worst === undefined ? ['up', undefined] : ['degraded', worst]
  }

  #settle (decidedBy: EvidenceSource, good = 'recovered', evidence: Evidence = NOTHING): boolean {
    const [state, word = { reason: good, decidedBy, evidence }] = this.#verdict()
    if (state === this.#state) {
      // No flip, but its share or its return may have moved.
      if (state === 'degraded' || state === 'ejected') {
        this.#reason = word.reason
        this.#decidedBy = word.decidedBy
        this.#changed(undefined)
      }
      return false
    }
    const change: HealthChange = {
      from: this.#state, to: state, reason: word.reason, decidedBy: word.decidedBy, evidence: word.evidence,
      forced: word.decidedBy === 'operator' && this.#forced !== undefined, at: this.#environment.clock.wall()
    }
    this.#state = state
    this.#reason = word.reason
    this.#decidedBy = word.decidedBy
    this.#since = change.at
    this.history.push(change)
    if (this.history.length > HISTORY) this.history.shift()
    this.#changed(change)
    return true
  }
}
