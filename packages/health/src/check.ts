import { channels, type Deadlines, type Pool, type Transport, type Upstream } from '@headgate/core'
import type { CheckSettings } from './check-options.ts'
import { Loop } from './loop.ts'
import type { CheckSharing, SharedResult } from './sharing.ts'
import { Steadiness } from './steadiness.ts'
import type { ProbeResult, ProbeTarget } from './probes/contract.ts'

/** The last result of an active check. */
export interface LastCheck {
  /** Milliseconds since the Unix epoch. */
  readonly at: number
  readonly ok: boolean
  readonly reason: string
  /** Milliseconds that it took. */
  readonly latency: number
}

/** Share of its weight that one keeps that flaps where there is nobody better: while its checks pass, and while they fail. */
const DOUBTED = 0.5
const FAILING = 0.05
/** No number of checks changes the verdict. */
const HELD = { rise: Infinity, fall: Infinity }

/** What a check has to know of the pool around its upstream. */
export interface CheckContext {
  /** No request came for long. */
  idle (now: number): boolean
  /** Enough others than this one are ready, and do not flap, to do its work. */
  steady (upstream: Upstream): boolean
  readonly sharing: CheckSharing | undefined
}

/** Checks one upstream over and over, and hands the results to its health. */
export class Check extends Loop {
  last: LastCheck | undefined
  checks: number = 0
  failures: number = 0
  /** Clock time of the last success of real traffic; −Infinity after a failure. */
  goodAt: number = -Infinity
  protected readonly limit: number
  readonly #pool: Pool
  readonly #upstream: Upstream
  readonly #settings: CheckSettings
  readonly #context: CheckContext
  readonly #target: ProbeTarget
  readonly #transport: Transport
  readonly steadiness: Steadiness
  #doubted = false
  #hurried = false
  #everPassed = false
  #phase: number

  /** `phase` (0–1) shifts its first interval, so that checks that began together do not stay together. */
  constructor (pool: Pool, upstream: Upstream, settings: CheckSettings, deadlines: Deadlines, phase: number, transport: (target: ReturnType<CheckSettings['addressOf']>) => Transport, context: CheckContext) {
    super(deadlines)
    this.#pool = pool
    this.#upstream = upstream
    this.#settings = settings
    this.steadiness = new Steadiness(settings.initial === 'up')
    this.#context = context
    this.#phase = phase
    this.limit = settings.timeout
    const where = settings.addressOf(upstream)
    this.#transport = transport(where)
    this.#target = { pool, upstream, ...where, tls: settings.tls, timeout: settings.timeout, clock: pool.environment.clock, transport: this.#transport }
  }

  /** Begins with the first check in `delay` ms, and with the state that the options ask for. */
  override start (delay: number): void {
    const { initial } = this.#settings
    if (initial !== 'up') this.#upstream.health.startDown(initial === 'wait' ? 'waits for its first passed check' : 'not checked yet')
    super.start(delay)
  }

  override stop (): void {
    super.stop()
    if (this.#transport !== this.#upstream.transport) this.#transport.destroy()
  }

  /** Real traffic failed, or woke the pool: the next check comes soon, if all seemed well. */
  hurry (now: number): void {
    if (this.#hurried || this.running || this.#upstream.health.checkedDown) return
    this.#hurried = true
    this.bringForward(Math.max(now, this.startedAt + this.#settings.transitionInterval))
  }

  /** Nobody is ready: whoever can do the work is looked for at once. */
  urge (now: number): void {
    this.#hurried = true
    this.bringForward(now)
  }

  protected now (): number { return this.#pool.environment.clock.now() }

  protected run (signal: AbortSignal): ProbeResult | Promise<ProbeResult> {
    this.#hurried = false
    return this.#settings.probe.check(this.#target, signal)
  }

  protected ended (result: ProbeResult, latency: number): void {
    if (result.inconclusive === true) return
    this.#note(result, latency)
    const { sharing } = this.#context
    const { ok, reason } = result
    sharing?.tell({ pool: this.#pool.name, upstream: this.#upstream.id, ok, reason, latency, down: this.#upstream.health.checkedDown })
  }

  /** A result of the process that checks for all of this machine. */
  taken (result: SharedResult, past: boolean): void {
    if (past && result.down) this.#upstream.health.startDown(result.reason)
    else this.#note(result, result.latency)
  }

  #note ({ ok, reason }: ProbeResult, latency: number): void {
    const { clock } = this.#pool.environment
    const { kind } = this.#settings.probe
    const { health, id, url } = this.#upstream
    this.checks++
    if (!ok) this.failures++
    this.last = { at: clock.wall(), ok, reason, latency: Math.round(latency * 100) / 100 }
    if (channels.probe.hasSubscribers) {
      channels.probe.publish({ pool: this.#pool.name, upstream: id, url, kind, ok, reason, latency, at: this.last.at, source: this.#pool })
    }
    const now = clock.now()
    this.steadiness.checked(ok, now, this.#settings)
    const hold = this.steadiness.hold(now)
    const held = hold > 0 && (health.ready ? !ok : ok) && this.#context.steady(this.#upstream) === ok
    health.probed(ok, `${kind} check: ${reason}`, held ? HELD : this.#thresholds(), { latency: Math.round(latency) })
    if (ok) this.#everPassed = true
    if (held && ok) health.heldDown(`flaps: has to pass its checks for ${Math.ceil(hold / 1000)} s more`)
    this.#doubt(ok, held, now)
  }

  /**
   * One that flaps where there are not enough steady ones stays in: to take it out would only hand the work to another that flaps, and
   * by the time that it has it, it may be its turn to fail. It gets less, and least while its checks fail.
   */
  #doubt (ok: boolean, held: boolean, now: number): void {
    const { health } = this.#upstream
    if (held && !ok) this.#doubted = true
    if (!this.#doubted) return
    this.#doubted = this.steadiness.flaps(now) && !health.checkedDown
    const factor = ok ? DOUBTED : FAILING
    health.degrade(this.#doubted ? factor : 1, this.#doubted ? 'flaps, and others do as well' : 'steady again', Infinity, undefined, 'checks', 'check')
  }

  protected interval (): number {
    const { interval, transitionInterval, downInterval, idleInterval, jitter, rise, fall } = this.#settings
    const { health } = this.#upstream
    const { successes, failures } = health.streak
    let base: number
    // Who is held although its checks are of one mind needs no haste.
    if (health.checkedDown) base = successes > 0 && successes < rise ? transitionInterval : downInterval
    else if (failures > 0) base = failures < fall ? transitionInterval : downInterval
    else base = this.#context.idle(this.now()) ? idleInterval : interval
    const shift = 1 - this.#phase / 2
    this.#phase = 0
    return base * shift * (1 + jitter * (2 * this.#pool.environment.random() - 1))
  }

  /** Evidence saves probes: an upstream that just answered real requests need not be asked, for a bounded time. */
  protected override postponedUntil (now: number): number {
    if (this.#context.sharing?.checks === false) return now + this.#settings.interval
    if (this.#hurried || this.last?.ok !== true || this.#upstream.health.checkedDown) return now
    return Math.min(this.goodAt + this.#settings.interval, this.startedAt + this.#settings.postponeMax)
  }

  /** It fell more often of late than it should. */
  get flapping (): boolean { return this.steadiness.flaps(this.now()) }

  /** `rise` and `fall`; one passed check is enough for an upstream that waits for its first. */
  #thresholds (): { readonly rise: number; readonly fall: number } {
    const { initial, fall } = this.#settings
    return initial === 'wait' && !this.#everPassed ? { rise: 1, fall } : this.#settings
  }
}
