import { type Channel, channel } from 'node:diagnostics_channel'
import {
  type Clock, type ComparisonMessage, type DiscoveryMessage, type HealthMessage, type HealthState, type MembershipMessage, type PanicMessage,
  type Pool, type RetryMessage, type ShedMessage, channels
} from '@headgate/core'
import type { PoolAdvice } from '@headgate/metrics'
import type { EventView, Severity } from './model.ts'

const LIMIT = 1000
const advices: Channel = channel('headgate:pool:advice')
/** Refused and shed requests come in floods: one event a second for each pool and kind says how many. */
const FLOOD = 1000

const severities: Readonly<Record<HealthState, Severity>> = {
  up: 'good', degraded: 'warn', ejected: 'bad', down: 'bad', draining: 'info', maintenance: 'info'
}

export type Draft = Partial<EventView> & Pick<EventView, 'kind' | 'severity' | 'text'>

/** Milliseconds in which the same news of several workers is one event. */
const SAME = 2000
/** Counts of one worker are its own; what becomes of members all see. */
const SEEN_BY_ALL: ReadonlySet<string> = new Set(['health', 'membership', 'panic', 'scaling'])

/** The last thousand things that happened, for people: from the channels, and what operators did. */
export class EventLog {
  readonly #clock: Clock
  readonly #owns: (pool: Pool) => boolean
  readonly #advised: (pool: string) => PoolAdvice | undefined
  readonly #heard: (event: EventView) => void
  readonly #events: EventView[] = []
  /** There are other workers that see the same. */
  shared = false
  /** Where events are numbered, if not here. */
  elsewhere: ((draft: Draft) => void) | undefined
  readonly #floods = new Map<string, { count: number; readonly text: (count: number) => string; readonly draft: Draft }>()
  #next = 1

  /**
   * `owns` tells the pools of this app from others of the process, `advised` gives what this app's own pools are advised; `heard` is
   * called for each event.
   */
  constructor (clock: Clock, owns: (pool: Pool) => boolean, advised: (pool: string) => PoolAdvice | undefined, heard: (event: EventView) => void) {
    this.#clock = clock
    this.#owns = owns
    this.#advised = advised
    this.#heard = heard
  }

  start (): void {
    channels.health.subscribe(this.#onHealth)
    channels.membership.subscribe(this.#onMembership)
    channels.discovery.subscribe(this.#onDiscovery)
    channels.panic.subscribe(this.#onPanic)
    channels.shed.subscribe(this.#onShed)
    channels.retry.subscribe(this.#onRetry)
    channels.comparison.subscribe(this.#onComparison)
    advices.subscribe(this.#onAdvice)
  }

  stop (): void {
    channels.health.unsubscribe(this.#onHealth)
    channels.membership.unsubscribe(this.#onMembership)
    channels.discovery.unsubscribe(this.#onDiscovery)
    channels.panic.unsubscribe(this.#onPanic)
    channels.shed.unsubscribe(this.#onShed)
    channels.retry.unsubscribe(this.#onRetry)
    channels.comparison.unsubscribe(this.#onComparison)
    advices.unsubscribe(this.#onAdvice)
  }

  add (draft: Draft): void {
    if (this.elsewhere !== undefined) return this.elsewhere(draft)
    const event: EventView = { at: this.#clock.wall(), pool: '', upstream: '', url: '', actor: '', ...draft, id: this.#next }
    this.take(event)
    this.#heard(event)
  }

  /** What another worker has seen; what was seen here, or by a third, just now is nothing new. */
  addSeen (draft: Draft): void {
    const since = this.#clock.wall() - SAME
    const known = this.shared && SEEN_BY_ALL.has(draft.kind) && this.#events.some(({ at, kind, text, pool, upstream }) =>
      at >= since && kind === draft.kind && text === draft.text && pool === (draft.pool ?? '') && upstream === (draft.upstream ?? ''))
    if (!known) this.add(draft)
  }

  /** An event that has its number. */
  take (event: EventView): void {
    if (event.id < this.#next) return
    this.#next = event.id + 1
    this.#events.push(event)
    if (this.#events.length > LIMIT) this.#events.shift()
  }

  /** Those after `id`, oldest first; at most the last `limit`. */
  after (id: number, limit: number): readonly EventView[] {
    return this.#events.filter((event) => event.id > id).slice(-limit)
  }

  #flood (key: string, draft: Draft, text: (count: number) => string): void {
    const running = this.#floods.get(key)
    if (running !== undefined) {
      running.count++
      return
    }
    this.#floods.set(key, { count: 0, text, draft })
    this.add({ ...draft, text: text(1) })
    this.#clock.setTimeout(() => {
      const { count } = this.#floods.get(key)!
      this.#floods.delete(key)
      if (count > 0) this.add({ ...draft, text: text(count) })
    }, FLOOD)
  }

  readonly #onHealth = (message: unknown): void => {
    const { source, pool, upstream, url, from, to, reason } = message as HealthMessage
    if (!this.#owns(source)) return
    this.addSeen({ kind: 'health', severity: severities[to], pool, upstream, url, text: `${from} → ${to}: ${reason}` })
  }

  readonly #onMembership = (message: unknown): void => {
    const { source, pool, upstream, url, change, weight } = message as MembershipMessage
    if (!this.#owns(source)) return
    const text = { added: 'joined the pool', removed: 'left the pool', drained: 'drained', weight: `weight is ${weight} now` }[change]
    this.addSeen({ kind: 'membership', severity: 'info', pool, upstream, url, text })
  }

  /** Who came and went is told member by member. */
  readonly #onDiscovery = (message: unknown): void => {
    const { source, pool, kind, result, error } = message as DiscoveryMessage
    if (!this.#owns(source) || result === 'changed') return
    const text = result === 'failed' ? `discovery (${kind}) failed: ${error}` : `discovery (${kind}) names nobody: the members stay`
    this.addSeen({ kind: 'membership', severity: 'warn', pool, text })
  }

  readonly #onPanic = (message: unknown): void => {
    const { source, pool, panic, ready, eligible } = message as PanicMessage
    if (!this.#owns(source)) return
    const text = panic
      ? `only ${ready} of ${eligible} upstreams are left: ejections are overridden`
      : 'enough upstreams are back: ejections count again'
    this.addSeen({ kind: 'panic', severity: panic ? 'bad' : 'good', pool, text })
  }

  readonly #onShed = (message: unknown): void => {
    const { source, pool, reason } = message as ShedMessage
    if (!this.#owns(source)) return
    const why = {
      'queue-full': 'the queue is full', 'queue-timeout': 'they waited too long', 'none-ready': 'no upstream is ready',
      'no-sockets': 'the proxy can open no more connections'
    }[reason]
    this.#flood(`shed ${pool} ${reason}`, { kind: 'shed', severity: 'bad', pool, text: '' }, (count) => `${requests(count)} answered 503: ${why}`)
  }

  readonly #onAdvice = (message: unknown): void => {
    const advice = message as PoolAdvice
    if (this.#advised(advice.pool) !== advice) return
    const { pool, desired, ready, reason } = advice
    this.addSeen({ kind: 'scaling', severity: 'info', pool, text: `${desired} ${desired === 1 ? 'upstream' : 'upstreams'} advised, ${ready} ready: ${reason}` })
  }

  readonly #onComparison = (message: unknown): void => {
    const { source, pool, result } = message as ComparisonMessage
    if (!this.#owns(source) || result !== 'different') return
    this.#flood(`shadow ${pool}`, { kind: 'shadow', severity: 'warn', pool, text: '' }, (count) => `${requests(count)} answered otherwise by this shadow than by clients' own upstreams`)
  }

  readonly #onRetry = (message: unknown): void => {
    const { source, pool, reason, refused } = message as RetryMessage
    if (!this.#owns(source)) return
    if (refused) {
      this.#flood(`budget ${pool}`, { kind: 'retry', severity: 'warn', pool, text: '' }, (count) => `${requests(count)} not retried: the retry budget is used up`)
    } else {
      this.#flood(`retry ${pool} ${reason}`, { kind: 'retry', severity: 'info', pool, text: '' }, (count) => `${requests(count)} tried again elsewhere (${reason})`)
    }
  }
}

const requests = (count: number): string => count === 1 ? '1 request' : `${count} requests`
