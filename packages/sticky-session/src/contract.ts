import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock, Pool } from '@headgate/core'
import type { HiddenCookies } from './hidden-cookies.ts'
import type { Keyring } from './keyring.ts'
import type { StickyReport } from './report.ts'
import type { MaybePromise } from './store.ts'
import type { Table } from './table.ts'

/** What is known of a client in one pool. */
export interface Session {
  /** Where it belongs; `undefined`: nowhere yet. */
  readonly upstreamId: string | undefined
  /** Names the client among those of the pool; '' where the kind gives it no name. */
  readonly key: string
}

/** An answer of which nothing is written yet. */
export interface Answer {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly status: number
  /** The upstream's fields, a flat list of names and values; may be changed in place. */
  readonly headers: string[]
  /** Who gave it. */
  readonly upstreamId: string
}

/** One kind of affinity, with one set of options, in one pool: reads and writes whom a client belongs to. */
export interface Binding<S extends Session = Session> {
  /** Called once per request and pool. `undefined`: the request says nothing of who it is. */
  find (request: FastifyRequest): MaybePromise<S | undefined>
  /** From this answer on the client belongs to `answer.upstreamId`. False: that could not be kept. */
  bind (session: S | undefined, answer: Answer): boolean
  /** The client still belongs where it did; `answer` may have come from somebody else all the same. */
  renew (session: S, answer: Answer): void
  /** Changes the fields that an upstream gets; called per attempt. */
  sending? (headers: string[]): void
}

/** What a kind gets to make a {@link Binding} of. */
export interface KindContext {
  readonly pool: Pool
  readonly clock: Clock
  readonly report: StickyReport
  /** Throws `HG_STICKY_NO_KEY` when there is none. */
  readonly keyring: Keyring | undefined
  /** Cookies that no upstream gets to see. */
  readonly hidden: HiddenCookies
  /** Paths of the balancer's routes. */
  readonly paths: ReadonlySet<string>
  /** `Set-Cookie`'s value, by `@fastify/cookie`. */
  serialize (name: string, value: string, attributes: object): string
  /** The path of a request's route, as the client sees it. */
  pathOf (request: FastifyRequest): string
  /** The rule's own part of the stick table. */
  table (namespace: string): Table
}

/** What all kinds take. */
export interface CommonOptions {
  /**
   * When the client's upstream is down, ejected or full. `rebind`: another is chosen and the client stays there. `borrow`:
   * another answers, and the client returns when its own is back within `borrowTime`. `strict`: 503.
   * @default 'rebind'
   */
  readonly failover?: 'rebind' | 'borrow' | 'strict'
  /** Milliseconds that `borrow` waits for an upstream to come back before the client stays elsewhere, 1–86,400,000. @default 60000 */
  readonly borrowTime?: number
  /** What a draining upstream's clients do: stay until the drain ends, or move with their next request. @default 'keep' */
  readonly drain?: 'keep' | 'move'
  /** Share of the clients that may move to newly added or returned upstreams per minute, 0 (none) – 1. @default 0 */
  readonly rebalance?: number
  /** Milliseconds without a request after which a client is forgotten, 1000–31,536,000,000. @default none for cookies, 1800000 in the table */
  readonly idleTimeout?: number
  /** Milliseconds after which a client is forgotten in any case, 1000–31,536,000,000. @default none */
  readonly lifetime?: number
}
