import type { Environment } from '../clock.ts'
import type { UpstreamOptions } from '../pool-options.ts'

/**
 * A member as a discovery names it: as in a pool's `upstreams`; `draining` for one that is about to go and shall get no new work but what
 * is bound to it. A member that a later list names by the very same object, or by an equal text, costs next to nothing.
 */
export type DiscoveredUpstream = string | (UpstreamOptions & { readonly draining?: boolean })

/** What a running discovery knows of its pool, and whom it tells. */
export interface DiscoverySite {
  /** The pool's name. */
  readonly pool: string
  readonly environment: Environment
  /** How addresses begin for this pool unless the options say otherwise. */
  readonly scheme: 'http' | 'tcp' | 'udp'
  /** Aborted when the pool closes: let go of everything. */
  readonly signal: AbortSignal
  /** Tells all members there are now. Never throws: a wrong list is reported, and the members before it stay. */
  update (members: readonly DiscoveredUpstream[]): void
  /** Tells that the source gave no answer, or one that nobody can read. The members stay. */
  failed (error: unknown): void
}

/** Finds the members of a pool, as long as it is there. */
export interface Discovery {
  /** How logs name it, in a word. */
  readonly name: string
  /** An empty list changes nothing: where a source says 'nobody' also when it is out of order. @default false */
  readonly keepWhenEmpty?: boolean
  /** Called once. Goes on by itself until `site.signal` is aborted; what it throws, or rejects with, is reported and ends it. */
  start (site: DiscoverySite): void | Promise<void>
}

/** Makes discoveries of one kind out of options. A new kind is one file with one of these, and a line in `index.ts`. */
export interface DiscoveryKind<Options> {
  readonly type: string
  /** One sentence for the documentation. */
  readonly describe: string
  /** JSON Schema of each of its options. */
  readonly properties: Readonly<Record<keyof Options, object>>
  readonly required: readonly (keyof Options & string)[]
  /** Whether an empty list changes nothing, unless the options say otherwise. */
  readonly keepWhenEmpty: boolean
  /** Checks what a schema cannot; throws `HG_POOL_INVALID_OPTION` with a path that begins with `path`. */
  create (options: Options, path: string): Discovery
}
