import { randomUUID } from 'node:crypto'
import type { Evidence, Pool, Timer, Upstream } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import type { Ballot, Vote } from './contract.ts'
import type { QuorumSettings } from './options.ts'
import { type Agreed, tally } from './tally.ts'

/** Who would eject more than this has a bad network rather than so many bad upstreams. */
const MAX_VOTES = 1000

/** Evidence for an ejection. */
export interface Suspicion {
  readonly reason: string
  readonly evidence: Evidence
  readonly checksLift: boolean
}

/** Ejects, if the pool can do without it. */
export type Take = (upstream: Upstream, suspicion: Suspicion) => void

interface Own extends Suspicion {
  readonly vote: Vote
  /** Clock time of the evidence. */
  readonly at: number
}

/**
 * What this instance would eject is a vote, and what enough instances would eject goes out of the pools of all. They agree on the way out
 * alone: each one's own trial decides when it takes an upstream back.
 */
export class Quorum {
  readonly #settings: QuorumSettings
  readonly #log: FastifyBaseLogger
  readonly #pools = new Map<string, { readonly pool: Pool; readonly take: Take }>()
  readonly #own = new Map<Upstream, Own>()
  /** Votes that have had their effect here. */
  readonly #used = new WeakMap<Upstream, ReadonlySet<string>>()
  /** The others cannot be reached, or have not been yet. */
  #away = true
  #running = false
  #again = false
  #stopped = false
  #timer: Timer

  constructor (settings: QuorumSettings, log: FastifyBaseLogger) {
    this.#settings = settings
    this.#log = log
  }

  watch (pool: Pool, take: Take): void {
    this.#pools.set(pool.name, { pool, take })
  }

  /** This instance's traffic speaks for an ejection. True: it is to be done here and now. */
  suspect (pool: Pool, upstream: Upstream, suspicion: Suspicion): boolean {
    const { clock, alone } = this.#settings
    const vote = { pool: pool.name, upstream: upstream.id, id: randomUUID(), reason: suspicion.reason, checksLift: suspicion.checksLift }
    // The last ones are the newest.
    this.#own.delete(upstream)
    this.#own.set(upstream, { ...suspicion, vote, at: clock.now() })
    if (this.#own.size > MAX_VOTES) this.#own.delete(this.#own.keys().next().value!)
    void this.#exchange()
    return this.#away || alone === 'avoid'
  }

  /** It works again here, or has left. */
  withdraw (upstream: Upstream): void {
    this.#own.delete(upstream)
  }

  start (): void {
    void this.#exchange()
  }

  stop (): void {
    this.#stopped = true
    this.#settings.clock.clearTimeout(this.#timer)
  }

  async #exchange (): Promise<void> {
    if (this.#running) {
      this.#again = true
      return
    }
    const { clock, store, interval } = this.#settings
    this.#running = true
    clock.clearTimeout(this.#timer)
    do {
      this.#again = false
      try {
        const ballots = await store.exchange(this.#standing())
        if (this.#stopped) return
        this.#reached(ballots)
      } catch (error) {
        if (this.#stopped) return
        this.#lost(error)
      }
    } while (this.#again)
    this.#running = false
    this.#timer = clock.setTimeout(() => { void this.#exchange() }, interval)
  }

  #standing (): Vote[] {
    const { clock, window } = this.#settings
    const over = clock.now() - window
    for (const [upstream, { at }] of this.#own) if (at <= over && upstream.health.state !== 'ejected') this.#own.delete(upstream)
    return Array.from(this.#own.values(), ({ vote }) => vote)
  }

  #reached (ballots: readonly Ballot[]): void {
    if (this.#away) {
      this.#away = false
      this.#log.info({ processes: ballots.length }, 'ejections are decided together with the other instances')
    }
    for (const agreed of tally(ballots, this.#settings.agree)) this.#obey(agreed)
  }

  #obey ({ pool: name, upstream: id, votes, agreed, instances }: Agreed): void {
    const { pool, take } = this.#pools.get(name) ?? {}
    const upstream = pool?.get(id)
    if (take === undefined || upstream === undefined || upstream.health.forced !== undefined) return
    const used = this.#used.get(upstream)
    // What has come back by its own trial here goes out again by new evidence alone.
    if (used !== undefined && votes.every((vote) => used.has(vote.id))) return
    this.#used.set(upstream, new Set(votes.map((vote) => vote.id)))
    if (!upstream.health.ready) return
    const own = this.#own.get(upstream)
    take(upstream, {
      reason: `${agreed} of ${instances} instances would eject it: ${own?.reason ?? votes[0]!.reason}`,
      evidence: { ...own?.evidence, agreed, instances },
      checksLift: votes.every((vote) => vote.checksLift)
    })
  }

  #lost (error: unknown): void {
    if (this.#away) return
    this.#away = true
    this.#log.warn({ err: error }, 'the other instances cannot be reached: ejections are decided alone')
    // What waited for the others' word waits no longer.
    for (const [upstream, own] of this.#own) {
      if (upstream.health.ready && upstream.health.forced === undefined) this.#pools.get(own.vote.pool)?.take(upstream, own)
    }
  }
}
