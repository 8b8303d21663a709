import { type Clock, type Pool, type Target, type Transport, type Upstream, isOwnFault } from '@headgate/core'
import type { ConnectionOptions } from 'node:tls'

/** What one check found. */
export interface ProbeResult {
  readonly ok: boolean
  /** In a few words: `status 503`, `connect-refused`. Shown in logs and history. */
  readonly reason: string
  /** It could not be made, for reasons of this process: it says nothing of the upstream. */
  readonly inconclusive?: boolean
}

/** Whom to check, and what with. */
export interface ProbeTarget {
  readonly pool: Pool
  readonly upstream: Upstream
  /** Where: the upstream's own address, or what the check's `port` or `url` says instead. */
  readonly address: Target
  /** The path of the check's `url`; `undefined` without one. */
  readonly path: string | undefined
  /** The pool's TLS settings with the check's own on top. */
  readonly tls: ConnectionOptions
  /** Milliseconds that the check may take; the signal says when they are over. */
  readonly timeout: number
  readonly clock: Clock
  /** Speaks HTTP/1.1 to `address`, on connections of its own; in-process members are reached without one. */
  readonly transport: Transport
}

/** One way of finding out whether an upstream is well. */
export interface Probe {
  readonly kind: string
  /** False for upstreams that it cannot reach at all (in-process ones by sockets): they are not checked. Called once for each. */
  applies (upstream: Upstream): boolean
  /**
   * Called by the schedule, never twice at a time for one upstream. May throw or reject: that is a failed check. Has to let go
   * of all that it holds when `signal` is aborted; what it says after that is not heard.
   */
  check (target: ProbeTarget, signal: AbortSignal): ProbeResult | Promise<ProbeResult>
}

/** Makes probes of one kind out of options. A new kind is one file with one of these, and a line in `index.ts`. */
export interface ProbeKind<Options> {
  readonly kind: string
  /** One sentence for the table of probes. */
  readonly describe: string
  /** JSON Schema of each of its options. */
  readonly properties: Readonly<Record<keyof Options, object>>
  readonly required: readonly (keyof Options & string)[]
  /** Throws `HG_HEALTH_INVALID_OPTION` with a path that starts with `path`, and what else makes it impossible. */
  create (options: Options, path: string): Probe
}

export const passed = (reason: string): ProbeResult => ({ ok: true, reason })
export const failed = (reason: string): ProbeResult => ({ ok: false, reason })

/** The reason that is in whatever was thrown. */
export function reasonOf (thrown: unknown): string {
  if (!(thrown instanceof Error)) return `threw ${String(thrown).slice(0, 200)}`
  const { code } = thrown as NodeJS.ErrnoException
  return (code !== undefined && !thrown.message.includes(code) ? `${code}: ${thrown.message}` : thrown.message || thrown.name).slice(0, 200)
}

/** A check that ended with what was thrown; where this process lacks what a connection needs, that is no failure of the upstream's. */
export function failedBy (thrown: unknown): ProbeResult {
  const result = failed(reasonOf(thrown))
  return thrown instanceof Error && isOwnFault(thrown) ? { ...result, inconclusive: true } : result
}

/** Upstreams with an address on the network. */
export const hasSocket = ({ target }: Upstream): boolean => target.protocol !== 'app:'
/** Those that understand a connection. */
export const hasStream = ({ target }: Upstream): boolean => target.protocol !== 'app:' && target.protocol !== 'udp:'
