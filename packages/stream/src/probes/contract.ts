import type { Upstream } from '@headgate/core'

/** What a check found; `reason` in a few words, for logs and history. */
export interface CheckResult {
  readonly ok: boolean
  readonly reason: string
}

/**
 * Finds out whether an upstream is well: a function as `@headgate/health` takes it for `check`. It opens a connection of its own,
 * and lets go of it when `signal` is aborted.
 */
export type StreamCheck = (upstream: Upstream, signal: AbortSignal) => Promise<CheckResult>

/** A check that goes by a name, for programs that read files. */
export interface CheckKind<Options> {
  /** JSON Schema of each of its options. */
  readonly properties: Readonly<Record<keyof Options, object>>
  create (options: Options): StreamCheck
}

export const passed = (reason: string): CheckResult => ({ ok: true, reason })
export const failed = (reason: string): CheckResult => ({ ok: false, reason })

/** A few bytes of what came, fit to be shown. */
export function shown (bytes: Buffer): string {
  return JSON.stringify(bytes.toString('latin1', 0, 80))
}
