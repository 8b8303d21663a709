import { createTransport, Deadline, type Deadlines, type HealthChange, type Lease, type Outcome, type Pool, type Target, type Transport, type Upstream } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import { AgentCheck } from './agent.ts'
import { Check, type CheckContext } from './check.ts'
import { LoadReports } from './load-reports.ts'
import type { PoolHealthSettings } from './options.ts'
import { judge, mayTakeOut, type OutlierContext, Outliers } from './outliers.ts'
import { failureStatuses } from './passive-options.ts'
import type { Quorum, Suspicion } from './quorum/quorum.ts'
import type { CheckSharing } from './sharing.ts'

/** Milliseconds over which the first checks are spread, where the interval is not shorter. */
const START_SPREAD = 1000
/** The golden ratio's fraction: multiples of it fall evenly into [0, 1) however many there are. */
const GOLDEN = 0.618_033_988_749_895
/** Milliseconds until an upstream that could not be removed is looked at again. */
const REMOVAL_RETRY = 60_000

/** Removes an upstream that stays down. */
class Removal extends Deadline {
  readonly #due: () => void

  constructor (due: () => void) {
    super()
    this.#due = due
  }

  expired (): void { this.#due() }
}

/** What is known of one member beside its health. */
export interface Member {
  readonly upstream: Upstream
  readonly check: Check | undefined
  readonly agent: AgentCheck | undefined
  readonly reports: LoadReports | undefined
  readonly removal: Removal
  /** Ejections since it joined, and those that were forbidden. */
  ejections: number
  spared: number
}

/** Watches one pool: each member has its checks, whenever it joined, and its traffic is judged. */
export class PoolMonitor implements CheckContext, OutlierContext {
  readonly pool: Pool
  readonly settings: PoolHealthSettings
  readonly members: Map<Upstream, Member> = new Map()
  readonly #deadlines: Deadlines
  readonly #log: FastifyBaseLogger
  readonly #outliers: Outliers | undefined
  readonly #phase: () => number
  readonly #quorum: Quorum | undefined
  readonly sharing: CheckSharing | undefined
  #started = false
  #stopped = false
  #trafficAt: number

  /** `phase` gives another number in [0, 1) for each check of the app. */
  constructor (
    pool: Pool, settings: PoolHealthSettings, deadlines: Deadlines, log: FastifyBaseLogger, phase: () => number, sharing?: CheckSharing, quorum?: Quorum
  ) {
    this.pool = pool
    this.settings = settings
    this.#deadlines = deadlines
    this.#log = log
    this.#phase = phase
    this.sharing = sharing
    this.#trafficAt = pool.environment.clock.now()
    this.#quorum = quorum
    if (settings.passive === undefined) return
    const outliers = this.#outliers = new Outliers(pool, settings.passive, this)
    quorum?.watch(pool, (upstream, suspicion) => { outliers.take(upstream, suspicion) })
  }

  start (): void {
    this.#started = true
    const { pool, settings } = this
    pool.on('added', this.#onAdded)
    pool.on('removed', this.#onRemoved)
    pool.on('state', this.#onState)
    for (const upstream of pool.upstreams) this.#join(upstream)
    // Who is not listened to costs nothing.
    if (settings.passive !== undefined || settings.check !== undefined) pool.on('outcome', this.#onOutcome)
    if (settings.load !== undefined) pool.on('head', this.#onHead)
    if (settings.load?.header === true) pool.on('trailers', this.#onTrailers)
  }

  /** Ends all checks. Verdicts stay as they are. */
  stop (): void {
    if (!this.#started || this.#stopped) return
    this.#stopped = true
    const { pool } = this
    pool.off('added', this.#onAdded)
    pool.off('removed', this.#onRemoved)
    pool.off('state', this.#onState)
    pool.off('outcome', this.#onOutcome)
    pool.off('head', this.#onHead)
    pool.off('trailers', this.#onTrailers)
    for (const member of this.members.values()) this.#end(member)
  }

  /** The peak-sensitive mean latency of an upstream in milliseconds; −1 when it is not known. */
  latencyOf (upstream: Upstream): number {
    return this.#outliers?.latencyOf(upstream) ?? -1
  }

  idle (now: number): boolean {
    return now - this.#trafficAt > (this.settings.check?.idleAfter ?? Infinity)
  }

  steady (upstream: Upstream): boolean {
    let steady = 0
    for (const [other, { check }] of this.members) if (other !== upstream && other.ready && check?.flapping !== true) steady++
    return steady > 0 && steady * 2 >= this.members.size - 1
  }

  needed (upstream: Upstream): boolean {
    return this.members.get(upstream)?.check?.flapping === true && !this.steady(upstream)
  }

  decides (upstream: Upstream, suspicion: Suspicion): boolean {
    return this.#quorum === undefined || this.#quorum.suspect(this.pool, upstream, suspicion)
  }

  silent (upstream: Upstream): void {
    this.members.get(upstream)?.check?.steadiness.fell(this.pool.environment.clock.now())
  }

  spared (upstream: Upstream, reason: string): void {
    const member = this.members.get(upstream)
    if (member === undefined) return
    if (member.spared++ === 0) this.#log.warn({ pool: this.pool.name, upstream: upstream.url, reason }, 'not ejected, since too many others are, or flap')
  }

  #join (upstream: Upstream): void {
    const { pool, settings } = this
    const { check, load, agent } = settings
    const warn = (message: string): void => { this.#log.warn({ pool: pool.name, upstream: upstream.url }, message) }
    const reports = load === undefined
      ? undefined
      : new LoadReports(pool, upstream, load, this.#deadlines, () => mayTakeOut(pool, settings.passive?.maxEjectionPercent ?? 50))
    const checked = check !== undefined && check.probe.applies(upstream)
    const member: Member = {
      upstream,
      check: checked ? new Check(pool, upstream, check, this.#deadlines, this.#phase(), this.#transport(upstream), this) : undefined,
      agent: agent === undefined || (upstream.target.protocol === 'app:' && agent.host === undefined) ? undefined : new AgentCheck(pool, upstream, agent, this.#deadlines, reports, warn),
      reports,
      removal: new Removal(() => { this.#remove(upstream) }),
      ejections: 0,
      spared: 0
    }
    this.members.set(upstream, member)
    member.check?.start(this.#phase() * Math.min(START_SPREAD, check!.interval))
    member.agent?.start(this.#phase() * Math.min(START_SPREAD, agent!.interval))
  }

  /** Connections of the checks' own: a check has to find out whether new ones are accepted. */
  #transport (upstream: Upstream): (where: { address: Target }) => Transport {
    const { check } = this.settings
    const { connection } = this.pool.settings
    return ({ address }) => address.protocol === 'app:'
      ? upstream.transport
      : createTransport(undefined, httpAddress(address), {
        ...connection, tls: check!.tls, keepAliveTimeout: 0, readBufferSize: 16_384, connectTimeout: Math.min(connection.connectTimeout ?? 2000, check!.timeout)
      }, this.pool.environment.clock, undefined, address.protocol === upstream.target.protocol ? upstream.protocol : 'auto')
  }

  #end (member: Member): void {
    member.check?.stop()
    member.agent?.stop()
    member.reports?.stop()
    this.#deadlines.cancel(member.removal)
  }

  readonly #onAdded = (upstream: Upstream): void => {
    try {
      this.#join(upstream)
    } catch (error) {
      // A `url` that makes no address for this one: the pool has it all the same.
      this.#log.error({ err: error, pool: this.pool.name, upstream: upstream.url }, 'the added upstream cannot be checked')
    }
  }

  readonly #onRemoved = (upstream: Upstream): void => {
    const member = this.members.get(upstream)
    if (member === undefined) return
    this.#end(member)
    this.members.delete(upstream)
    this.#outliers?.left(upstream)
    this.#quorum?.withdraw(upstream)
  }

  readonly #onState = (upstream: Upstream, { from, to }: HealthChange): void => {
    const member = this.members.get(upstream)
    if (member === undefined) return
    if (to === 'ejected') member.ejections++
    else if (from === 'ejected' && to === 'up') member.check?.steadiness.recovered()
    if (to === 'ejected' || from === 'ejected' || from === 'down') this.#outliers?.forget(upstream)
    if (upstream.health.ready && (from === 'ejected' || from === 'down')) this.#quorum?.withdraw(upstream)
    if (!this.pool.upstreams.some(({ ready }) => ready)) {
      const now = this.pool.environment.clock.now()
      for (const { check } of this.members.values()) check?.urge(now)
    }
    const { removeAfter = 0 } = this.settings.check ?? {}
    if (from === 'down') this.#deadlines.cancel(member.removal)
    else if (to === 'down' && removeAfter > 0) this.#deadlines.schedule(member.removal, this.pool.environment.clock.now() + removeAfter)
  }

  readonly #onHead = (lease: Lease, headers: readonly string[]): void => {
    this.members.get(lease.upstream)?.reports?.head(lease, headers)
  }

  readonly #onTrailers = (lease: Lease, trailers: readonly string[]): void => {
    this.members.get(lease.upstream)?.reports?.trailers(trailers)
  }

  readonly #onOutcome = (upstream: Upstream, outcome: Outcome, lease: Lease, reason: string): void => {
    const member = this.members.get(upstream)
    if (member === undefined) return
    const now = this.pool.environment.clock.now()
    if (this.idle(now)) for (const { check } of this.members.values()) check?.hurry(now)
    this.#trafficAt = now
    if (member.reports?.wasRefused(lease) === true) return
    const outliers = this.#outliers
    const judgement = judge(outcome, lease.status, reason, this.settings.passive?.statuses ?? failureStatuses)
    if (judgement === 'nothing') return
    outliers?.observe(upstream, judgement, lease, reason, now)
    if (member.check === undefined) return
    member.check.goodAt = judgement === 'good' ? now : -Infinity
    if (judgement !== 'good') member.check.hurry(now)
  }

  #remove (upstream: Upstream): void {
    const { pool, settings } = this
    const member = this.members.get(upstream)
    if (member === undefined) return
    // With nobody ready the fault may be on our side, and an empty pool comes back from nothing.
    if (!pool.upstreams.some((other) => other !== upstream && other.ready)) {
      return this.#deadlines.schedule(member.removal, pool.environment.clock.now() + REMOVAL_RETRY)
    }
    this.#log.warn({ pool: pool.name, upstream: upstream.url, downFor: settings.check!.removeAfter }, 'upstream stayed down: it is removed from the pool')
    pool.remove(upstream.id).catch((error: unknown) => { this.#log.error({ err: error, pool: pool.name, upstream: upstream.url }, 'the upstream could not be removed') })
  }
}

/** HTTP is spoken to members of layer 4 pools too, where a check asks for it. */
function httpAddress (address: Target): Target {
  return address.protocol === 'tls:' ? { ...address, protocol: 'https:' } : address
}

/** A sequence of numbers in [0, 1) that never come close to one another. */
export function phases (): () => number {
  let count = 0
  return () => (++count * GOLDEN) % 1
}
