import type { Environment } from '../clock.ts'
import type { Load } from '../load.ts'

/** A place on Earth in degrees: latitude −90 to 90, longitude −180 to 180. */
export interface Location {
  readonly latitude: number
  readonly longitude: number
}

/** What a policy may know of an upstream. */
export interface Candidate {
  /** Opaque and stable; unique in its pool. What hashes are made of. */
  readonly id: string
  /**
   * A small integer that no other member of the pool has while this one is in it: the index for a policy's own arrays.
   * Slots of upstreams that left are given out again.
   */
  readonly slot: number
  /** Effective weight, > 0: what was configured, times the slow start's share, times what its health allows. */
  readonly weight: number
  /** Weight that it would have if all were well; 0: no new work. */
  readonly configuredWeight: number
  readonly zone: string | undefined
  readonly location: Location | undefined
  readonly load: Load
}

/** What a policy may know of a request. One object per request, reused over its attempts: never keep it. */
export interface PickContext {
  /**
   * 32-bit unsigned hash of the request's key: what the pool's `hashOn` says (header, cookie, query, path, a function),
   * else the client's address. Computed at the first read.
   */
  readonly keyHash: number
  /** The client's address as Fastify's `trustProxy` sees it; '' when unknown. */
  readonly clientAddress: string
  /** The client's place, when the pool knows how to find it. */
  readonly clientLocation: Location | undefined
}

/**
 * Chooses among the ready upstreams of one pool. The pool calls it; it never sees health, cookies, retries or limits.
 * `T` is the pool's upstream type: a selector gives back the very objects that it was given.
 */
export interface Selector<T extends Candidate = Candidate> {
  /**
   * The ready set or a weight changed. Cold: may allocate and take O(n log n). `ready` is never empty, is in the order of
   * configuration, must not be changed, and may be kept until the next call. `tier` is all that could be ready: what the whole would be.
   */
  rebuild (ready: readonly T[], tier?: readonly T[]): void
  /** Hot: called once per attempt, after `rebuild`; must not allocate. */
  select (context: PickContext): T
  /**
   * The best choice after `select` gave one that the pool cannot use (already tried, or full). `usable` answers for one
   * candidate. `undefined` when nobody is usable. Without this method the pool draws again a few times and then takes the
   * usable one with the fewest requests in flight per weight.
   */
  alternative? (context: PickContext, usable: (candidate: T) => boolean): T | undefined
  /** An upstream joined the pool while it runs (not at its creation) and may soon be in `ready`: start it with care. */
  joined? (candidate: T): void
  /** An upstream left the pool for good; its slot may be given to another. Late `finished` calls do not come. */
  left? (candidate: T): void
  /** A lease was given; `load.inFlight` already counts it. `now` is the clock's `now()`. */
  started? (candidate: T, now: number): void
  /**
   * The response head of a lease is here; its body, or the tunnel that it opened, may go on for hours. At most once per
   * lease, before its `finished`: who judges by the age of what is in flight must not count these.
   */
  answered? (candidate: T, now: number, startedAt: number): void
  /**
   * A lease came back; `load.inFlight` counts it no more. `startedAt` is the `now` of its `started`; `latency` is in
   * milliseconds to the response head, or to the failure; `ok` is false for no answer and for 5xx. Not called with a verdict
   * for attempts that the client aborted or that were shed: those come with `ok` undefined. `answered` is true when the
   * method of that name was called for this lease.
   */
  finished? (
    candidate: T, now: number, startedAt: number, latency: number, ok: boolean | undefined, answered?: boolean
  ): void
  /** A connection to an upstream was opened, after `latency` ms. */
  connected? (candidate: T, now: number, latency: number): void
  /** Evidence from outside (an active check) says that the upstream is as good as new: forget what was held against it. */
  recovered? (candidate: T): void
}

/** Makes selectors. A policy with options is a function that returns one of these. */
export interface Policy {
  /** How options and metrics name it, in kebab case. */
  readonly name: string
  /** One sentence for the table of policies. */
  readonly describe?: string
  create<T extends Candidate> (environment: Environment): Selector<T>
}
