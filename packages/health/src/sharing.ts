import type { ProbeResult } from './probes/contract.ts'

/** A check's result as other processes are told of it. */
export interface SharedResult extends ProbeResult {
  readonly pool: string
  readonly upstream: string
  /** Milliseconds. */
  readonly latency: number
  /** The checks so far say that it is down. */
  readonly down: boolean
}

/** Several processes of one machine check each upstream once: one does, the others take its results. */
export interface CheckSharing {
  /** This process checks; asked whenever a check is due. */
  readonly checks: boolean
  /** Called with each result of this process's own checks. */
  tell (result: SharedResult): void
  /** Set by the plugin: takes a result of another process; `past`: one of before this process began, so its verdict is taken at once. */
  taken: ((result: SharedResult, past: boolean) => void) | undefined
}
