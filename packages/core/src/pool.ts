import { EventEmitter } from 'node:events'
import { tellAttempt } from './attempt-message.ts'
import { channels } from './channels.ts'
import type { Environment, Timer } from './clock.ts'
import type { Deadlines } from './deadlines.ts'
import { type DiscoveryStatus, Follower } from './discovery/follow.ts'
import { DuplicateUpstreamError, UnknownUpstreamError } from './errors.ts'
import type { HealthChange } from './health.ts'
import { type Choice, Lease, type Outcome } from './lease.ts'
import { MemberList } from './member-list.ts'
import { refuse } from './options.ts'
import type { Selector } from './policies/contract.ts'
import { parsePool, parseUpstream, parseUpstreams } from './pool-options.ts'
import type { ParsedUpstream, PoolContext, PoolOptions, PoolSettings, UpstreamSpec } from './pool-options.ts'
import { type Ticket, WaitQueue, type Waiter } from './queue.ts'
import { RetryBudget } from './retry-budget.ts'
import { readySet } from './tiers.ts'
import type { PoolEvents } from './pool-events.ts'
import { httpPool, type PoolKind } from './transport/index.ts'
import { Upstream } from './upstream.ts'

/** Why there was no lease: nobody may be used now, or everybody who may is full. */
export type NoLease = 'none-ready' | 'saturated'

/** A request that waits in a pool's queue. */
export interface PoolWaiter extends Waiter {
  readonly context: PoolContext
}

/** So many upstreams that cannot be reached are passed over for one request: of a large pool that is gone, not each is asked. */
const PASSED_OVER = 32

// A POST may be lost in a trial, so trials wait for a repeatable request; but not for ever.
const TRIAL_PATIENCE = 5000

/** A named set of upstreams with one policy, its limits, its queue and its retry budget. */
export class Pool extends EventEmitter<PoolEvents> {
  readonly name: string
  readonly settings: PoolSettings
  readonly retryBudget: RetryBudget
  readonly environment: Environment
  readonly kind: PoolKind
  inFlight = 0

  readonly #members = new Map<string, Upstream>()
  readonly #byHref = new Map<string, Upstream>()
  readonly #selector: Selector<Upstream>
  readonly #queue: WaitQueue<PoolWaiter>
  readonly #freeSlots: number[] = []
  /** Those whose work has to end although they are members no more: another has taken their place. */
  readonly #departing = new Set<Upstream>()
  readonly #drains = new Map<Upstream, (() => void)[]>()
  #list: MemberList | undefined
  #follower: Follower | undefined
  #nextSlot = 0
  #ready: readonly Upstream[] = []
  #panic = false
  #trials: Upstream[] = []
  readonly #trialing = new Set<Upstream>()
  #timer: Timer = undefined
  #closed = false
  #hasApps = false
  #batches = 0
  #stale = false

  /** Throws `HG_POOL_INVALID_OPTION` and `HG_UPSTREAM_DUPLICATE`, naming options from `path` on. */
  constructor (name: string, options: PoolOptions, path: string, environment: Environment, deadlines: Deadlines, kind: PoolKind = httpPool) {
    super()
    this.name = name
    this.environment = environment
    this.kind = kind
    this.settings = parsePool(options, path)
    const members = parseUpstreams(options.upstreams ?? [], `${path}.upstreams`, this.settings, kind.parseTarget)
    if (members.length === 0 && this.settings.discovery === undefined) refuse(`${path}.upstreams`, 'must name at least one upstream', options.upstreams)
    this.retryBudget = new RetryBudget(environment.clock, this.settings.retryBudget)
    this.#queue = new WaitQueue(deadlines, this.settings.queueLimit, (ticket, outcome) => {
      if (!channels.queue.hasSubscribers) return
      channels.queue.publish({ pool: name, wait: environment.clock.now() - ticket.enteredAt, outcome, source: this })
    })
    this.#selector = this.settings.policy.create<Upstream>(environment)
    for (const member of members) this.#join(member)
    this.#refresh()
  }

  /** All members, in the order of configuration; those that drain included. */
  get upstreams (): readonly Upstream[] { return [...this.#members.values()] }
  /** Those that the policy chooses among now. */
  get ready (): readonly Upstream[] { return this.#ready }
  /** Passive ejections are overridden, since too few upstreams would be left. */
  get panic (): boolean { return this.#panic }
  /** Upstreams are, or were, Fastify apps of this process: what is sent to them runs here. */
  get hasApps (): boolean { return this.#hasApps }
  /** Requests that wait for a free upstream. */
  get queued (): number { return this.#queue.length }

  get (id: string): Upstream | undefined { return this.#members.get(id) }
  /** The member at an address in its normal form. */
  at (href: string): Upstream | undefined { return this.#byHref.get(href) }

  /** All members by their ids. */
  entries (): Iterable<[string, Upstream]> {
    return this.#members
  }

  /** Gives a lease, or says why not. The caller releases it exactly once. */
  pick (context: PoolContext): Lease | NoLease {
    if (this.#queue.length > 0 && context.attempts === 0) return this.#ready.length === 0 ? 'none-ready' : 'saturated'
    return this.#pick(context)
  }

  /** Is somebody ready, with room, who was not tried for this request? */
  hasUntried (context: PoolContext): boolean {
    for (const upstream of this.#ready) if (upstream.hasRoom && !context.hasTried(upstream)) return true
    return false
  }

  /** The same, or somebody who is taken when there is none such: of another tier, or not ready. */
  hasNext (context: PoolContext): boolean {
    if (this.hasUntried(context)) return true
    return (this.#ready.length === 0 ? this.#leftover(context) : this.#reserve(context) ?? this.#outcast(context)) !== undefined
  }

  /**
   * May a request go on to somebody else as if its last attempt had not been, which reached nobody? So it is not lost while anybody is
   * there, however many are not.
   */
  passesOver (context: PoolContext): boolean {
    return context.attempts <= PASSED_OVER && this.hasNext(context)
  }

  /** Waits for a lease; `undefined` when the queue is full. `granted` or `refused` is called later, never at once. */
  wait (waiter: PoolWaiter): Ticket | undefined {
    return this.#queue.enter(waiter, this.environment.clock.now(), this.settings.queueTimeout)
  }

  /** Adds an upstream at run time; it starts slowly. */
  add (spec: UpstreamSpec): Upstream {
    return this.join(parseUpstream(spec, `pool '${this.name}'.add()`, this.settings, this.kind.parseTarget))
  }

  /** {@link Pool.add} for what is checked already. */
  join (parsed: ParsedUpstream): Upstream {
    const { id, target } = parsed.settings
    const twin = this.#members.get(id) ?? this.#byHref.get(target.href)
    if (twin !== undefined) throw new DuplicateUpstreamError(`pool '${this.name}'.add()`, target.href, twin.id)
    const upstream = this.#join(parsed)
    this.#selector.joined?.(upstream)
    // Where nobody is, there is nobody who could take what a slow one leaves.
    if (this.settings.slowStart > 0 && this.#ready.length > 0) upstream.slowStartedAt = this.environment.clock.now()
    this.#announce(upstream, 'added')
    this.emit('added', upstream)
    this.#refresh()
    return upstream
  }

  /** Ends new work on an upstream; resolves when its last exchange has ended or after `timeout` ms. It stays a member. */
  drain (id: string, timeout: number = this.settings.drainTimeout): Promise<void> {
    const upstream = this.#member(id)
    upstream.health.force('drain', 'drained by an operator')
    return this.#emptied(upstream, timeout)
  }

  /** Drains an upstream, then closes its connections and forgets it. */
  async remove (id: string, timeout: number = this.settings.drainTimeout): Promise<void> {
    const upstream = this.#member(id)
    // Its address may come back under another id at once.
    if (this.#byHref.get(upstream.target.href) === upstream) this.#byHref.delete(upstream.target.href)
    upstream.health.leave('removed from the pool')
    await this.#emptied(upstream, timeout)
    // Somebody else may have finished the same removal meanwhile, or an update may have kept it after all.
    if (this.#members.get(id) !== upstream || !upstream.health.leaving) return
    this.#members.delete(id)
    this.#forget(upstream)
    this.#announce(upstream, 'removed')
    this.emit('removed', upstream)
  }

  /** A member that was about to leave stays; false when its address is another's by now. */
  keep (upstream: Upstream): boolean {
    const { href } = upstream.target
    if (!upstream.health.leaving) return true
    if (this.#byHref.has(href)) return false
    this.#byHref.set(href, upstream)
    upstream.health.leave(undefined)
    return true
  }

  /** Another takes a member's place, under the same id. What runs on the old one may end within the drain timeout. */
  replace (old: Upstream, parsed: ParsedUpstream): Upstream {
    this.#members.delete(old.id)
    if (this.#byHref.get(old.target.href) === old) this.#byHref.delete(old.target.href)
    this.#departing.add(old)
    old.health.leave('another took its place')
    this.#announce(old, 'removed')
    this.emit('removed', old)
    void this.#emptied(old, this.settings.drainTimeout).then(() => {
      this.#departing.delete(old)
      this.#forget(old)
    })
    return this.join(parsed)
  }

  /** Sets a member's tier, 0–255. */
  setPriority (upstream: Upstream, priority: number): void {
    upstream.priority = priority
    this.#refresh()
  }

  /** Changes many things at once: who is ready is worked out when `action` has ended. */
  batch (action: () => void): void {
    this.#batches++
    try {
      action()
    } finally {
      this.#batches--
      if (this.#batches === 0 && this.#stale) this.#refresh()
    }
  }

  /**
   * Begins to follow the pool's `discovery`, if it has one. Resolves after the first answer or failure, but after 5 s in any case.
   * Called by the plugin that made the pool, when the app gets ready.
   */
  async discover (): Promise<void> {
    const { discovery } = this.settings
    if (discovery === undefined || this.#follower !== undefined || this.#closed) return
    this.#follower = new Follower(this, discovery)
    await this.#follower.start()
  }

  /** How the discovery fares; `undefined` without one, and before {@link Pool.discover}. */
  get discovery (): DiscoveryStatus | undefined { return this.#follower?.status }

  /** Sets a weight, 0–65,535, at once; 0: no new work. */
  setWeight (id: string, weight: number): void {
    if (!(weight >= 0 && weight <= 65_535)) refuse(`weight of upstream '${id}'`, 'must be 0–65535', weight)
    const upstream = this.#member(id)
    upstream.configuredWeight = weight
    this.#announce(upstream, 'weight')
    this.#refresh()
  }

  /** Makes the members be `specs`: new ones join, missing ones are removed, survivors keep their state. */
  async update (specs: readonly UpstreamSpec[]): Promise<void> {
    this.#list ??= new MemberList(this, `pool '${this.name}'.update()`, { whole: true })
    await Promise.all(this.#list.apply(specs).leaving)
  }

  /** Resolves when all connections are closed; exchanges that run may end until then. */
  async close (): Promise<void> {
    this.#closed = true
    this.#follower?.stop()
    if (this.#timer !== undefined) this.environment.clock.clearTimeout(this.#timer)
    for (let ticket = this.#queue.peek(); ticket !== undefined; ticket = this.#queue.peek()) {
      ticket.leave('none-ready')
      ticket.waiter.refused('none-ready')
    }
    await Promise.all([...this.#members.values(), ...this.#departing].map((upstream) => upstream.transport.close()))
  }

  /** Breaks all connections at once, tunnels included. */
  destroy (): void {
    for (const upstream of [...this.#members.values(), ...this.#departing]) upstream.transport.destroy()
  }

  /** Called by {@link Lease.release} alone. */
  released (lease: Lease, outcome: Outcome, reason: string): void {
    const { upstream, startedAt } = lease
    const now = lease.endedAt = this.environment.clock.now()
    const answered = lease.headAt >= 0
    const ok = outcome === 'aborted' || outcome === 'shed' ? undefined : outcome === 'ok' && lease.status < 500
    const latency = (answered ? lease.headAt : now) - startedAt
    this.inFlight--
    upstream.load.finished(ok !== false, answered ? latency : -1)
    this.#selector.finished?.(upstream, now, startedAt, latency, ok, answered)
    if (lease.trial && !lease.proven) {
      this.#trialing.delete(upstream)
      if (ok !== undefined) this.#tried(upstream, ok, reason)
      else if (upstream.health.state === 'ejected') this.#trials.push(upstream)
    }
    if (this.listenerCount('outcome') > 0) this.emit('outcome', upstream, outcome, lease, reason)
    if (channels.attempt.hasSubscribers) tellAttempt(lease, outcome, reason)
    if (upstream.load.inFlight === 0 && upstream.health.state === 'draining') this.#drained(upstream)
    if (this.#queue.length > 0) this.#pump()
  }

  /** Called by {@link Lease.head} alone: the latency part of an attempt is over, its body may take long. */
  answered (lease: Lease, headers: readonly string[] | undefined): void {
    this.#selector.answered?.(lease.upstream, lease.headAt, lease.startedAt)
    if (headers !== undefined && this.listenerCount('head') > 0) this.emit('head', lease, headers)
  }

  /** Called by {@link Lease.trailers} alone: fields that came after the body, while the claim still stands. */
  trailed (lease: Lease, trailers: readonly string[]): void {
    if (this.listenerCount('trailers') > 0) this.emit('trailers', lease, trailers)
  }

  /** Called by {@link Lease.prove} alone. */
  proved (lease: Lease): void {
    if (!lease.trial) return
    this.#trialing.delete(lease.upstream)
    this.#tried(lease.upstream, true, '')
  }

  #pick (context: PoolContext): Lease | NoLease {
    if (this.inFlight >= this.settings.maxInFlight) return this.#ready.length === 0 ? 'none-ready' : 'saturated'
    const bound = context.affinity
    if (bound !== undefined) {
      const upstream = this.#members.get(bound.upstreamId)
      if (upstream !== undefined && upstream.hasRoom && !context.hasTried(upstream) &&
        (upstream.ready || (bound.whileDraining && (upstream.health.ready || upstream.health.state === 'draining')))) return this.#lease(upstream, context, 'affinity')
      // Not 'saturated': in the queue it would hold up those behind it, who may have others to go to.
      if (bound.strict) return 'none-ready'
    }
    // Not one that failed already: several that are due at once would use up its attempts, though others are ready.
    if (this.#trials.length > 0 && (context.attempts === 0 || this.#ready.length === 0)) {
      const upstream = this.#trials[0]!
      const patience = this.environment.clock.now() - upstream.health.ejectedUntil > TRIAL_PATIENCE
      if (context.repeatable || patience || this.#ready.length === 0) {
        this.#trials.shift()
        this.#trialing.add(upstream)
        return this.#lease(upstream, context, 'trial')
      }
    }
    if (this.#ready.length === 0) {
      const leftover = this.#leftover(context)
      return leftover === undefined ? 'none-ready' : this.#lease(leftover, context, 'last-resort')
    }
    const first = this.#selector.select(context)
    if (first.hasRoom && !(context.attempts > 0 && context.hasTried(first))) return this.#lease(first, context, 'policy')
    const other = this.#alternative(context, (upstream) => upstream.hasRoom && !context.hasTried(upstream)) ??
      (context.attempts > 0 ? this.#reserve(context) ?? this.#outcast(context) : undefined) ??
      this.#alternative(context, (upstream) => upstream.hasRoom)
    return other === undefined ? 'saturated' : this.#lease(other, context, 'alternative')
  }

  #alternative (context: PoolContext, usable: (upstream: Upstream) => boolean): Upstream | undefined {
    if (this.#selector.alternative !== undefined) return this.#selector.alternative(context, usable)
    for (let draw = 0; draw < 3; draw++) {
      const upstream = this.#selector.select(context)
      if (usable(upstream)) return upstream
    }
    let best: Upstream | undefined
    for (const upstream of this.#ready) {
      if (usable(upstream) && (best === undefined || upstream.load.inFlight / upstream.weight < best.load.inFlight / best.weight)) best = upstream
    }
    return best
  }

  /** All of the tier in use were tried: one of another tier that is ready, the nearest first. Its own is not down yet by anybody's word. */
  #reserve (context: PoolContext): Upstream | undefined {
    let best: Upstream | undefined
    for (const upstream of this.#members.values()) {
      if (upstream.ready && upstream.hasRoom && !context.hasTried(upstream) && (best === undefined || upstream.priority < best.priority)) best = upstream
    }
    return best
  }

  /**
   * All that are ready failed this request: one that was ejected some time ago is no worse than the one that failed a moment ago.
   * It is no trial: it stays ejected, so that two which fail in turns do not change places at each turn. Not one that asked for a pause.
   */
  #outcast (context: PoolContext): Upstream | undefined {
    for (const upstream of this.#members.values()) {
      const { state, decidedBy } = upstream.health
      if (state === 'ejected' && decidedBy === 'traffic' && upstream.configuredWeight > 0 && upstream.hasRoom && !context.hasTried(upstream)) return upstream
    }
    return undefined
  }

  /** Nobody is ready: one that is down, where such are to be tried. */
  #leftover (context: PoolContext): Upstream | undefined {
    if (this.settings.whenAllDown !== 'try-any') return undefined
    for (const upstream of this.#members.values()) {
      const { state } = upstream.health
      if ((state === 'down' || state === 'ejected') && upstream.hasRoom && !context.hasTried(upstream)) return upstream
    }
    return undefined
  }

  #lease (upstream: Upstream, context: PoolContext, choice: Choice): Lease {
    const now = this.environment.clock.now()
    this.inFlight++
    upstream.load.started()
    this.#selector.started?.(upstream, now)
    return new Lease(this, upstream, now, choice, context.attempts + 1)
  }

  #tried (upstream: Upstream, ok: boolean, reason: string): void {
    if (ok && this.settings.slowStart > 0) upstream.slowStartedAt = this.environment.clock.now()
    upstream.health.tried(ok, ok ? 'trial request succeeded' : `trial request failed: ${reason || 'server error'}`)
  }

  #pump (): void {
    for (let ticket = this.#queue.peek(); ticket !== undefined; ticket = this.#queue.peek()) {
      const lease = this.#pick(ticket.waiter.context)
      if (lease === 'saturated') return
      ticket.leave(lease === 'none-ready' ? 'none-ready' : 'granted')
      if (lease === 'none-ready') ticket.waiter.refused('none-ready')
      else ticket.waiter.granted(lease)
    }
  }

  #join ({ settings, app }: ParsedUpstream): Upstream {
    const slot = this.#freeSlots.pop() ?? this.#nextSlot++
    const { id, target } = settings
    this.#hasApps ||= app !== undefined
    const transport = this.kind.createTransport(app, target, this.settings.connection, this.environment.clock, (latency) => {
      this.#selector.connected?.(upstream, this.environment.clock.now(), latency)
      if (channels.connect.hasSubscribers) channels.connect.publish({ pool: this.name, upstream: id, url: target.href, latency, source: this })
    }, settings.protocol)
    const upstream: Upstream = new Upstream(settings, slot, transport, this.environment, this.#changed)
    this.#members.set(upstream.id, upstream)
    this.#byHref.set(settings.target.href, upstream)
    return upstream
  }

  #member (id: string): Upstream {
    const upstream = this.#members.get(id)
    if (upstream === undefined) throw new UnknownUpstreamError(id, this.name)
    return upstream
  }

  #announce (upstream: Upstream, change: 'added' | 'removed' | 'drained' | 'weight'): void {
    if (!channels.membership.hasSubscribers) return
    channels.membership.publish({ pool: this.name, upstream: upstream.id, url: upstream.url, change, weight: upstream.configuredWeight, source: this })
  }

  readonly #changed = (upstream: Upstream, change: HealthChange | undefined): void => {
    if (change !== undefined) {
      if (change.to === 'up' && (change.from === 'down' || change.from === 'ejected')) {
        this.#selector.recovered?.(upstream)
        if (this.settings.slowStart > 0) upstream.slowStartedAt = this.environment.clock.now()
      }
      if (channels.health.hasSubscribers) channels.health.publish({ ...change, pool: this.name, upstream: upstream.id, url: upstream.url, source: this })
      this.emit('state', upstream, change)
    }
    this.#refresh()
  }

  /** Cold: works out who is ready and with what weight, and when to look again. */
  readonly #refresh = (): void => {
    if (this.#closed) return
    this.#stale = this.#batches > 0
    if (this.#stale) return
    const { clock } = this.environment
    const now = clock.now()
    const members = [...this.#members.values()]
    let next = Infinity
    this.#trials = this.#trials.filter((upstream) => upstream.health.state === 'ejected')
    for (const upstream of members) {
      const { health } = upstream
      const until = health.ejectedUntil
      if (until > now) next = Math.min(next, until)
      else if (!this.#trialing.has(upstream) && !this.#trials.includes(upstream)) this.#trials.push(upstream)
      const grown = (now - upstream.slowStartedAt) / this.settings.slowStart
      const slow = grown < 1
      if (slow) next = Math.min(next, now + this.settings.slowStart / 10)
      upstream.weight = Math.max(upstream.configuredWeight * health.factor * (slow ? Math.max(0.1, grown) : 1), 1e-6)
      if (health.tick()) return
      if (health.state === 'degraded') next = Math.min(next, now + 1000)
    }
    const { tier, ready, panic, left, eligible } = readySet(members, this.settings.panicThreshold)
    this.#ready = ready
    if (ready.length > 0) this.#selector.rebuild(ready, tier)
    if (panic !== this.#panic) {
      this.#panic = panic
      if (channels.panic.hasSubscribers) channels.panic.publish({ pool: this.name, panic, ready: left, eligible, source: this })
      this.emit('panic', panic)
    }
    if (this.#timer !== undefined) clock.clearTimeout(this.#timer)
    this.#timer = next < Infinity ? clock.setTimeout(this.#refresh, Math.max(1, next - now)) : undefined
    if (this.#queue.length > 0) this.#pump()
  }

  #emptied (upstream: Upstream, timeout: number): Promise<void> {
    if (upstream.load.inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const { clock } = this.environment
      const waiting = this.#drains.get(upstream) ?? []
      const done = (): void => {
        clock.clearTimeout(timer)
        waiting.splice(waiting.indexOf(done), 1)
        if (waiting.length === 0) this.#drains.delete(upstream)
        resolve()
      }
      const timer = clock.setTimeout(done, timeout)
      waiting.push(done)
      this.#drains.set(upstream, waiting)
    })
  }

  #drained (upstream: Upstream): void {
    for (const done of this.#drains.get(upstream)?.slice() ?? []) done()
    this.emit('drained', upstream)
  }

  /** It has left for good. It was not ready any more, so that nobody's share changes. */
  #forget (upstream: Upstream): void {
    this.#selector.left?.(upstream)
    upstream.transport.destroy()
    this.#freeSlots.push(upstream.slot)
  }
}
